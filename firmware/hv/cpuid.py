"""What a guest's CPUID answers: only what its world can honour.

The tables name the bits a guest may see; everything else is hidden. They follow
the Intel SDM vol. 2A (CPUID) and the AMD APM vol. 3 appendix E. The answers are
computed once, from the physical CPU, and packed for the core (struct cpuid_entry),
so an exit is a table look-up.
"""

import struct

from hv.rules.answers import REGISTERS

# struct cpuid_entry of virt/guest.h: leaf, subleaf, flags, reserved, mask[4], fixed[4].
ENTRY = "<12I"
ANY_SUBLEAF = 1
OSXSAVE = 2  # ECX bit 27 mirrors CR4.OSXSAVE
XSAVE_SIZE = 4  # EBX follows XCR0
APIC_ID = 8  # EBX 31-24 and EDX 9 (leaf 1), EDX (leaf 0xB)

VENDOR = b"ViperVisorHV"
ABI = 1
CRYSTAL_MAX = 25_000_000
MAX_BASIC = 0x16  # up to the frequency leaf, whatever the CPU's own largest leaf is
MAX_EXTENDED = 0x8000_0008
HYPERVISOR = 0x4000_0000
# A second hypervisor interface, which stock kernels know (Documentation/virt/kvm/x86/
# cpuid.rst): no port 0x80 delays, and the clock of virt/pvclock.h with one time everywhere.
KVM = 0x4000_0100
KVM_SIGNATURE = b"KVMKVMKVM\0\0\0"
KVM_NOP_IO_DELAY, KVM_CLOCKSOURCE2, KVM_CLOCKSOURCE_STABLE = 1 << 1, 1 << 3, 1 << 24

LEAF_1_ECX = {
    "sse3": 0, "pclmulqdq": 1, "ssse3": 9, "fma": 12, "cx16": 13, "sse4.1": 19,
    "sse4.2": 20, "movbe": 22, "popcnt": 23, "aes": 25, "xsave": 26, "avx": 28, "f16c": 29,
}
# Made by us, whatever the machine has.
LEAF_1_ECX_OWN = {"x2apic": 21}
LEAF_1_EDX = {
    "fpu": 0, "vme": 1, "de": 2, "pse": 3, "tsc": 4, "msr": 5, "pae": 6, "mce": 7, "cx8": 8,
    "sep": 11, "mtrr": 12, "pge": 13, "mca": 14, "cmov": 15, "pat": 16, "pse36": 17,
    "clflush": 19, "mmx": 23, "fxsr": 24, "sse": 25, "sse2": 26, "ss": 27,
}
LEAF_7_EBX = {
    "fsgsbase": 0, "bmi1": 3, "avx2": 5, "smep": 7, "bmi2": 8, "erms": 9,
    "avx512f": 16, "avx512dq": 17, "adx": 19, "smap": 20, "avx512ifma": 21, "pcommit": 22,
    "clflushopt": 23, "clwb": 24, "avx512cd": 28, "sha": 29, "avx512bw": 30, "avx512vl": 31,
}
LEAF_7_ECX = {
    "avx512vbmi": 1, "umip": 2, "avx512vbmi2": 6, "gfni": 8, "vaes": 9, "vpclmulqdq": 10,
    "avx512vnni": 11, "avx512bitalg": 12, "avx512vpopcntdq": 14, "rdpid": 22,
}
LEAF_7_EDX = {"fsrm": 4, "md_clear": 10}
LEAF_7_1_EAX = {"avx_vnni": 4, "avx512_bf16": 5}
# x87, SSE, AVX and the three AVX-512 states. MPX and PKRU stay hidden in 0xD as in 7.
XCR0 = {"x87": 0, "sse": 1, "avx": 2, "opmask": 5, "zmm_hi256": 6, "hi16_zmm": 7}
# XSAVEC and XSAVES stay hidden: Bochs' leaf 0xD contradicts itself and its XSAVEC
# writes AVX state over the header.
LEAF_D_1_EAX = {"xsaveopt": 0}
LEAF_80000001_ECX = {
    "lahf": 0, "abm": 5, "sse4a": 6, "misalignsse": 7, "prefetchw": 8, "xop": 11, "fma4": 16,
    "tbm": 21,
}
LEAF_80000001_EDX = {
    "fpu": 0, "vme": 1, "de": 2, "pse": 3, "tsc": 4, "msr": 5, "pae": 6, "mce": 7, "cx8": 8,
    "syscall": 11, "mtrr": 12, "pge": 13, "mca": 14, "cmov": 15, "pat": 16, "pse36": 17,
    "nx": 20, "mmxext": 22, "mmx": 23, "fxsr": 24, "fxsr_opt": 25, "gbpages": 26, "rdtscp": 27,
    "lm": 29, "3dnowext": 30, "3dnow": 31,
}
LEAF_80000008_EBX = {"clzero": 0, "xsaveerptr": 2}

ECX_XSAVE = 1 << 26
ECX_HYPERVISOR = 1 << 31
EBX_TSC_ADJUST = 1 << 1
EBX_CLFLUSH_SIZE = 0xFF00
ECX_TSC_DEADLINE = 1 << 24
EDX_APIC, EDX_HTT = 1 << 9, 1 << 28
EAX_ARAT = 1 << 2  # leaf 6: the APIC timer never stops
ECX_CMP_LEGACY = 1 << 1  # leaf 0x80000001: leaf 0x80000008 counts the cores
EDX_INVARIANT_TSC = 1 << 8
EDX_RDTSCP = 1 << 27
ECX_RDPID = 1 << 22
LEVEL_SMT, LEVEL_CORE = 1, 2  # leaf 0xB, ECX 15-8
LEGACY_AREA = 576  # x87 and SSE state, and the XSAVE header
# Leaf 4: type, level, flags; without the counts of CPUs and cores in 31-14.
CACHE_TYPE_BITS = 0x3FFF


def _bits(names):
    mask = 0
    for bit in names.values():
        mask |= 1 << bit
    return mask


def _words(text):
    return struct.unpack("<3I", text)


class _Answers:
    """Collects answers; `packed()` is what `_hv.guest_set_cpuid` takes."""

    def __init__(self):
        self.rows = []

    def add(self, leaf, eax=0, ebx=0, ecx=0, edx=0, subleaf=None, flags=0):
        if subleaf is None:
            subleaf, flags = 0, flags | ANY_SUBLEAF
        self.rows.append((leaf, subleaf, flags, eax, ebx, ecx, edx))

    def packed(self):
        out = bytearray()
        for leaf, subleaf, flags, eax, ebx, ecx, edx in sorted(self.rows):
            # Mask 0: nothing of the physical answer is used, the core need not execute CPUID.
            out += struct.pack(ENTRY, leaf, subleaf, flags, 0, 0, 0, 0, 0, eax, ebx, ecx, edx)
        return bytes(out)


# Where the features of each list are: leaf, subleaf, register (EAX 0 to EDX 3).
WHERE = (
    (1, 0, 2, LEAF_1_ECX), (1, 0, 2, LEAF_1_ECX_OWN), (1, 0, 3, LEAF_1_EDX),
    (7, 0, 1, LEAF_7_EBX), (7, 0, 2, LEAF_7_ECX),
    (7, 0, 3, LEAF_7_EDX), (7, 1, 0, LEAF_7_1_EAX), (0xD, 1, 0, LEAF_D_1_EAX),
    (0x8000_0001, 0, 2, LEAF_80000001_ECX), (0x8000_0001, 0, 3, LEAF_80000001_EDX),
    (0x8000_0008, 0, 1, LEAF_80000008_EBX),
)
# XSAVE states that go with a feature.
STATES = {"avx": 1 << 2, "avx512f": 0x7 << 5}


def without(cpuid, hide):
    """The machine's CPUID as if it lacked the features in `hide`."""
    masks = {}
    for leaf, subleaf, register, names in WHERE:
        for name in hide:
            if name in names:
                key = leaf, subleaf, register
                masks[key] = masks.get(key, 0) | 1 << names[name]
    for name, states in STATES.items():
        if name in hide:
            masks[0xD, 0, 0] = masks.get((0xD, 0, 0), 0) | states

    def masked(leaf, subleaf):
        words = cpuid(leaf, subleaf)
        at = subleaf if leaf in (7, 0xD) else 0
        return tuple([word & ~masks.get((leaf, at, i), 0) for i, word in enumerate(words)])

    return masked


def answers(cpuid, caps, tsc_hz, guest_id, vcpus=1, paravirt=True, hide=(), own=()):
    """The rows (leaf, subleaf, flags, eax, ebx, ecx, edx) of a guest's CPUID.

    `cpuid(leaf, subleaf)` asks the machine, `caps` is `_hv.caps()`, `own` are answers of a
    partition file (rules/answers.py).
    """
    if hide:
        cpuid = without(cpuid, hide)
    hide_7 = caps.get("cpuid_hide_7_ebx", 0)
    hide_ext = caps.get("cpuid_hide_80000001_edx", 0)
    hide_d1 = caps.get("cpuid_hide_d1_eax", 0)
    made = _bits({name: bit for name, bit in LEAF_1_ECX_OWN.items() if name not in hide})
    table = _Answers()
    highest, b, c, d = cpuid(0, 0)
    intel = struct.pack("<3I", b, d, c) == b"GenuineIntel"

    def physical(leaf, subleaf=0):
        return cpuid(leaf, subleaf) if leaf <= highest else (0, 0, 0, 0)

    table.add(0, MAX_BASIC, b, c, d)
    eax, ebx, ecx, edx = physical(1)
    xsave = bool(ecx & ECX_XSAVE)
    table.add(
        1,
        eax,
        ebx & EBX_CLFLUSH_SIZE | vcpus << 16,
        ecx & _bits(LEAF_1_ECX) | made | ECX_HYPERVISOR | ECX_TSC_DEADLINE,
        edx & _bits(LEAF_1_EDX) | EDX_APIC | (EDX_HTT if vcpus > 1 else 0),
        flags=APIC_ID | OSXSAVE,
    )
    if intel:
        table.add(2, *physical(2))
    _caches(table, physical, intel, vcpus)
    table.add(5)
    table.add(6, EAX_ARAT)
    rdtscp = bool(cpuid(0x8000_0001, 0)[3] & EDX_RDTSCP & ~hide_ext)
    _leaf_7(table, physical, hide_7, rdtscp)
    table.add(0xA)
    _topology(table, vcpus)
    _xsave(table, physical, xsave, hide_d1)
    table.add(0x14)
    _frequency(table, tsc_hz)
    _hypervisor(table, guest_id, vcpus)
    if paravirt:
        features = KVM_NOP_IO_DELAY | KVM_CLOCKSOURCE2 | KVM_CLOCKSOURCE_STABLE
        table.add(KVM, KVM + 1, *_words(KVM_SIGNATURE))
        table.add(KVM + 1, features)
    _extended(table, cpuid, hide_ext, intel, vcpus)
    for entry in own:
        table.rows = _changed(table.rows, entry)
    return table


def _changed(rows, entry):
    """The rows with the registers of an entry fixed, or without the bits that it hides."""
    leaf, only = entry["leaf"], entry.get("subleaf")
    out, there = [], False
    for row in rows:
        if row[0] == leaf and (row[2] & ANY_SUBLEAF or only is None or row[1] == only):
            there = True
            words = [entry.get(name, word) & ~entry.get("hide_" + name, 0)
                     for name, word in zip(REGISTERS, row[3:])]
            if only is None or not row[2] & ANY_SUBLEAF:
                row = row[:3] + tuple(words)
            else:  # a leaf that had one answer, zeroes: the other subleaves read 0 all the same
                row = (leaf, only, row[2] & ~ANY_SUBLEAF) + tuple(words)
        out.append(row)
    if not there:
        words = [entry.get(name, 0) for name in REGISTERS]
        out.append((leaf, only or 0, ANY_SUBLEAF if only is None else 0) + tuple(words))
    return out


def identity(cpuid):
    """Signature and feature bits of leaf 1, as firmware tables repeat them."""
    eax, _, _, edx = cpuid(1, 0)
    return eax, edx & _bits(LEAF_1_EDX) | EDX_APIC


def build(cpuid, caps, tsc_hz, guest_id, vcpus=1, paravirt=True, hide=(), own=()):
    """The packed table for `_hv.guest_set_cpuid`."""
    return answers(cpuid, caps, tsc_hz, guest_id, vcpus, paravirt, hide, own).packed()


def _caches(table, physical, intel, vcpus):
    if not intel:
        table.add(4)
        return
    for subleaf in range(8):
        eax, ebx, ecx, edx = physical(4, subleaf)
        if not eax & 0x1F:  # type 0: no more caches
            break
        # Each core has its own caches, the largest too.
        cores = (1 << _id_bits(vcpus)) - 1 << 26
        table.add(4, eax & CACHE_TYPE_BITS | cores, ebx, ecx, edx, subleaf=subleaf)


def _leaf_7(table, physical, hide, rdtscp):
    eax, ebx, ecx, edx = physical(7)
    ecx &= _bits(LEAF_7_ECX)
    if not rdtscp:
        ecx &= ~ECX_RDPID
    last = min(eax, 1)
    table.add(
        7,
        last,
        ebx & _bits(LEAF_7_EBX) & ~hide | EBX_TSC_ADJUST,
        ecx,
        edx & _bits(LEAF_7_EDX),
        subleaf=0,
    )
    if last:
        table.add(7, physical(7, 1)[0] & _bits(LEAF_7_1_EAX), subleaf=1)


def _id_bits(vcpus):
    """How many bits of an APIC id number the cores of the package."""
    bits = 0
    while 1 << bits < vcpus:
        bits += 1
    return bits


def _topology(table, vcpus):
    # One package of as many cores as vCPUs, with one thread each.
    table.add(0xB, 0, 1, LEVEL_SMT << 8, 0, subleaf=0, flags=APIC_ID)
    table.add(
        0xB, _id_bits(vcpus), vcpus, LEVEL_CORE << 8 | 1, 0, subleaf=1, flags=APIC_ID)


def _xsave(table, physical, xsave, hide):
    if not xsave:
        table.add(0xD)
        return
    states = physical(0xD)[0] & _bits(XCR0)
    largest = LEGACY_AREA
    for state in range(2, 10):
        if states >> state & 1:
            size, offset, flags, _ = physical(0xD, state)
            largest = max(largest, offset + size)
            table.add(0xD, size, offset, flags & 2, 0, subleaf=state)
    table.add(0xD, states, largest, largest, 0, subleaf=0, flags=XSAVE_SIZE)
    table.add(0xD, physical(0xD, 1)[0] & _bits(LEAF_D_1_EAX) & ~hide, subleaf=1)


def _frequency(table, tsc_hz):
    # Leaf 0x15 in our own words, a crystal that the TSC is a multiple of and the local
    # APIC's timer counts (LAPIC_CRYSTAL_MAX); the physical leaf may be wrong.
    ratio = max(1, (tsc_hz + CRYSTAL_MAX - 1) // CRYSTAL_MAX)
    table.add(0x15, 1, ratio, tsc_hz // ratio)
    mhz = tsc_hz // 1_000_000
    table.add(0x16, mhz, mhz)


def _hypervisor(table, guest_id, vcpus):
    table.add(HYPERVISOR, HYPERVISOR + 1, *_words(VENDOR))
    table.add(HYPERVISOR + 1, ABI, guest_id, vcpus)


def _extended(table, cpuid, hide, intel, vcpus):
    highest, b, c, d = cpuid(0x8000_0000, 0)
    # The invariant-TSC leaf and the address sizes are always there.
    table.add(0x8000_0000, MAX_EXTENDED, b, c, d)
    eax, _, ecx, edx = cpuid(0x8000_0001, 0)
    cores = 0
    ecx &= _bits(LEAF_80000001_ECX)
    if vcpus > 1 and not intel:
        ecx |= ECX_CMP_LEGACY
        cores = _id_bits(vcpus) << 12 | vcpus - 1  # leaf 8: ApicIdSize and NC
    table.add(0x8000_0001, eax, 0, ecx, edx & _bits(LEAF_80000001_EDX) & ~hide)
    for leaf in range(0x8000_0002, 0x8000_0007):
        if leaf <= highest:
            table.add(leaf, *cpuid(leaf, 0))
        else:
            table.add(leaf)
    table.add(0x8000_0007, 0, 0, 0, EDX_INVARIANT_TSC)
    if highest >= 0x8000_0008:
        eax, ebx, _, _ = cpuid(0x8000_0008, 0)
        features = 0 if intel else ebx & _bits(LEAF_80000008_EBX)
        table.add(0x8000_0008, eax & 0xFFFF, features, cores)
    else:
        # AMD APM vol. 3: 36 physical and 32 virtual bits are what a CPU without the leaf has.
        table.add(0x8000_0008, 32 << 8 | 36, 0, cores)
