"""What a guest's CPUID answers: only what its world can honour.

rules/features.py names the bits a guest may see; everything else is hidden. The answers are
computed once, from the physical CPU, and packed for the core (struct cpuid_entry),
so an exit is a table look-up.
"""

import struct

from hv.rules.answers import REGISTERS
from hv.rules.features import (
    LEAF_1_ECX, LEAF_1_ECX_OWN, LEAF_1_EDX, LEAF_7_1_EAX, LEAF_7_EBX, LEAF_7_ECX, LEAF_7_EDX,
    LEAF_80000001_ECX, LEAF_80000001_EDX, LEAF_80000008_EBX, LEAF_D_1_EAX, WHERE, XCR0,
)

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
