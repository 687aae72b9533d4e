"""`cpuid` and `msr` of a guest: answers of single CPUID leaves and model-specific registers,
in place of those that firmware/hv/cpuid.py and msr.py give. Read here, applied there."""

from .values import is_int

REGISTERS = ("eax", "ebx", "ecx", "edx")
CPUID_KEYS = ("leaf", "subleaf") + REGISTERS + tuple(["hide_" + r for r in REGISTERS])
MSR_KEYS = ("index", "count", "value", "read", "write")
READS, WRITES = ("answer", "refuse"), ("refuse", "ignore", "store")
ROWS_MAX = 16  # the core keeps CPUID_ENTRIES and MSR_ENTRIES of virt/guest.h, ours included
WORD, LONG = 1 << 32, 1 << 64

# Leaves whose answers differ by subleaf.
BY_SUBLEAF = (0x4, 0x7, 0xB)
XSAVE_LEAF = 0xD
# Registers of feature bits: a bit more would promise what the guest's world cannot keep.
FEATURES = {
    0x1: ("ecx", "edx"), 0x6: ("eax",), 0x7: REGISTERS, 0xA: REGISTERS,
    0x14: REGISTERS, 0x4000_0101: ("eax",), 0x8000_0001: ("ecx", "edx"),
    0x8000_0007: ("edx",), 0x8000_0008: ("ebx",),
}
# The bits of features.NEEDED.
NEEDED = {(0x1, "edx"): 0x0700_A179, (0x8000_0001, "edx"): 0x2010_0800}
# What the core itself keeps for each vCPU (CORE and NATIVE of firmware/hv/msr.py).
CORE_MSRS = (
    (0x10, 0x10), (0x1B, 0x1B), (0x3B, 0x3B), (0x174, 0x176), (0x277, 0x277), (0x6E0, 0x6E0),
    (0x800, 0x83F), (0x4B56_4D00, 0x4B56_4D01), (0xC000_0080, 0xC000_0084),
    (0xC000_0100, 0xC000_0103),
)


def _tables(reader, value, path, keys):
    """(path, table) of the entries that are tables whose first key is a number; findings for
    the others."""
    rule = path[-1] + "-table"
    if not isinstance(value, list):
        reader.find(rule, path, "%s is %s" % (
            path[-1], "one table" if isinstance(value, dict) else repr(value)))
        return []
    if len(value) > ROWS_MAX:
        reader.find(path[-1] + "-many", path, "%d entries" % len(value))
        return []
    out = []
    for i, row in enumerate(value):
        at, key = path + (i,), keys[0]
        if not isinstance(row, dict):
            reader.find(rule, at, "an entry is %r" % (row,))
            continue
        reader._keys(row, keys, at)
        if _number(row, key, WORD):
            out.append((at, row))
        else:
            reader.find("%s-%s" % (path[-1], key), at + ((key,) if key in row else ()),
                        "%s is %r" % (key, row.get(key)))
    return out


def _number(row, key, limit):
    """True for a number that is there and fits."""
    value = row.get(key)
    return is_int(value) and 0 <= value < limit


def cpuid(reader, value, path):
    """The entries of `cpuid`, as far as they are right."""
    out, seen = [], []
    for at, row in _tables(reader, value, path, CPUID_KEYS):
        leaf, subleaf = row["leaf"], row.get("subleaf")
        if leaf == XSAVE_LEAF:
            reader.find("cpuid-xsave", at + ("leaf",), "leaf 0xd is changed")
            continue
        if subleaf is not None and (leaf not in BY_SUBLEAF or not _number(row, "subleaf", WORD)):
            reader.find("cpuid-subleaf", at + ("subleaf",),
                        "subleaf %r of leaf %#x" % (subleaf, leaf))
            continue
        for other, part in seen:
            if leaf == other and (part is None or subleaf is None or part == subleaf):
                reader.find("cpuid-twice", at + ("leaf",), "leaf %#x is there twice" % leaf)
                break
        seen.append((leaf, subleaf))
        good = {"leaf": leaf}
        if subleaf is not None:
            good["subleaf"] = subleaf
        out.append(_registers(reader, row, good, at))
    return out


def _registers(reader, row, good, at):
    leaf, said = good["leaf"], 0
    for register in REGISTERS:
        hide = "hide_" + register
        for key in (register, hide):
            if key not in row:
                continue
            said += 1
            if not _number(row, key, WORD):
                reader.find("cpuid-register", at + (key,), "%s is %r" % (key, row[key]))
            elif key == register and register in FEATURES.get(leaf, ()):
                reader.find("cpuid-shown", at + (key,),
                            "%s of leaf %#x is fixed" % (key, leaf), "write %s" % hide)
            elif key == hide and row[key] & NEEDED.get((leaf, register), 0):
                reader.find("cpuid-needed", at + (key,), "%s of leaf %#x has %#x" % (
                    key, leaf, row[key] & NEEDED[leaf, register]))
            else:
                good[key] = row[key]
        if register in row and hide in row:
            reader.find("cpuid-both", at + (hide,), "%s and %s" % (register, hide))
    if not said:
        reader.find("cpuid-none", at, "leaf %#x without a register" % leaf)
    return good


def msr(reader, value, path):
    """The entries of `msr`, as far as they are right."""
    out, seen = [], []
    for at, row in _tables(reader, value, path, MSR_KEYS):
        first, count = row["index"], row.get("count", 1)
        if not is_int(count) or not 0 < count <= WORD - first:
            reader.find("msr-count", at + ("count",), "count is %r" % (count,))
            continue
        last = first + count - 1
        for low, high in CORE_MSRS:
            if first <= high and low <= last:
                reader.find("msr-core", at + ("index",), "MSR %#x" % max(low, first))
                break
        for low, high in seen:
            if first <= high and low <= last:
                what = "MSR %#x is there twice" % max(low, first)
                reader.find("msr-twice", at + ("index",), what)
                break
        seen.append((first, last))
        good = {"index": first, "count": count}
        _actions(reader, row, good, at)
        out.append(good)
    return out


def _actions(reader, row, good, at):
    for key, words in (("read", READS), ("write", WRITES)):
        good[key] = row.get(key, words[0])
        if good[key] not in words:
            reader.find("msr-word", at + (key,), "%s is %r" % (key, good[key]),
                        "write one of %s" % ", ".join(['"%s"' % word for word in words]))
            good[key] = words[0]
    if "value" in row:
        if not _number(row, "value", LONG):
            reader.find("msr-value", at + ("value",), "value is %r" % (row["value"],))
        elif good["read"] == "refuse":
            reader.find("msr-unread", at + ("value",), "value is given and reads are refused")
        else:
            good["value"] = row["value"]
    if good["write"] == "store" and (good["read"] == "refuse" or good["count"] > 1):
        what = "reads are refused" if good["read"] == "refuse" else "count is %d" % good["count"]
        reader.find("msr-store", at + ("write",), 'write is "store" and %s' % what)
