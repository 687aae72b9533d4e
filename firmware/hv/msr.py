"""What a guest's model-specific registers do.

One row is an index, how a read and how a write is answered, the value and the
bits a write may change. An index in no row raises #GP, as on a CPU without the
register. The order of things that stock kernels read at boot is in docs/python.md.
"""

import struct

# enum msr_action of virt/guest.h.
FAULT, FIXED, STORED, IGNORE, NATIVE, CORE = range(6)
# struct msr_entry: index, count, read, write, value, write_mask.
ENTRY = "<IIIIQQ"

ALL = 0xFFFF_FFFF_FFFF_FFFF

# Intel SDM vol. 4 and AMD APM vol. 2 appendix A names.
IA32_TIME_STAMP_COUNTER = 0x10
IA32_PLATFORM_ID = 0x17
IA32_APIC_BASE = 0x1B
IA32_FEATURE_CONTROL = 0x3A
IA32_TSC_ADJUST = 0x3B
IA32_BIOS_SIGN_ID = 0x8B
MSR_PLATFORM_INFO = 0xCE
IA32_MTRRCAP = 0xFE
IA32_SYSENTER_CS = 0x174
IA32_MCG_CAP = 0x179
IA32_MISC_ENABLE = 0x1A0
IA32_DEBUGCTL = 0x1D9
IA32_MTRR_PHYSBASE0 = 0x200
IA32_MTRR_FIX64K_00000 = 0x250
IA32_MTRR_FIX16K_80000 = 0x258
IA32_MTRR_FIX16K_A0000 = 0x259
IA32_MTRR_FIX4K_C0000 = 0x268
IA32_PAT = 0x277
IA32_MTRR_DEF_TYPE = 0x2FF
IA32_TSC_DEADLINE = 0x6E0
X2APIC, X2APIC_TPR, X2APIC_EOI, X2APIC_ICR, X2APIC_END = 0x800, 0x808, 0x80B, 0x830, 0x840
IA32_XSS = 0xDA0
EFER = 0xC000_0080
STAR = 0xC000_0081
FS_BASE = 0xC000_0100
TSC_AUX = 0xC000_0103
KVM_WALL_CLOCK = 0x4B56_4D00  # and the system time after it (virt/pvclock.h)
SYSCFG = 0xC001_0010
HWCR = 0xC001_0015
NB_CFG = 0xC001_001F
INT_PENDING = 0xC001_0055
VM_CR = 0xC001_0114

MTRR_VARIABLE = 8
MTRRCAP_FIX = 1 << 8
MTRRCAP_WC = 1 << 10
MTRR_ENABLED = 1 << 11
MTRR_FIXED_ENABLED = 1 << 10
TYPE_WRITE_BACK = 6
TYPE_UNCACHED = 0
FIXED_WRITE_BACK = 0x0606_0606_0606_0606
FIXED_UNCACHED = 0
FEATURE_CONTROL_LOCKED = 1  # VMX off for good
MISC_FAST_STRINGS = 1 << 0
MISC_BTS_UNAVAILABLE = 1 << 11
MISC_PEBS_UNAVAILABLE = 1 << 12
HWCR_TSC_FREQ_SEL = 1 << 24  # the TSC counts at the P0 frequency
VM_CR_LOCKED_OFF = 1 << 3 | 1 << 4  # LOCK and SVMDIS
MICROCODE_INTEL = 1 << 32  # the revision is in the upper half
MICROCODE_AMD = 0x0100_0065
HOLE = 0xC000_0000
TOP_4G = 0x1_0000_0000


def rows(amd, phys_bits, rdtscp, paravirt=True):
    """The rows (index, count, read, write, value, write mask), sorted."""
    address = (1 << phys_bits) - 1 & ~0xFFF
    misc = MISC_FAST_STRINGS | MISC_BTS_UNAVAILABLE | MISC_PEBS_UNAVAILABLE
    table = [
        (IA32_TIME_STAMP_COUNTER, 1, CORE, CORE, 0, ALL),
        (IA32_APIC_BASE, 1, CORE, CORE, 0, ALL),
        (IA32_TSC_DEADLINE, 1, CORE, CORE, 0, ALL),
        (IA32_TSC_ADJUST, 1, CORE, CORE, 0, ALL),
        (IA32_BIOS_SIGN_ID, 1, FIXED, IGNORE, MICROCODE_AMD if amd else MICROCODE_INTEL, 0),
        (IA32_MTRRCAP, 1, FIXED, FAULT, MTRR_VARIABLE | MTRRCAP_FIX | MTRRCAP_WC, 0),
        (IA32_SYSENTER_CS, 3, NATIVE, NATIVE, 0, ALL),  # CS, ESP, EIP
        # No bank of machine-check registers; MCG_CAP, STATUS and CTL read 0 because
        # kernels panic when they fault although CPUID shows MCA.
        (IA32_MCG_CAP, 3, FIXED, IGNORE, 0, 0),
        (IA32_MISC_ENABLE, 1, STORED, STORED, misc, ALL),  # emulators show AMD guests one, too
        (IA32_DEBUGCTL, 1, FIXED, IGNORE, 0, 0),
        (IA32_PAT, 1, CORE, CORE, 0, ALL),
        (EFER, 1, CORE, CORE, 0, ALL),
        (STAR, 4, NATIVE, NATIVE, 0, ALL),  # STAR, LSTAR, CSTAR, SFMASK
        (FS_BASE, 3, NATIVE, NATIVE, 0, ALL),  # FS, GS, KernelGS
    ]
    if rdtscp:
        table.append((TSC_AUX, 1, NATIVE, NATIVE, 0, ALL))
    if paravirt:
        table.append((KVM_WALL_CLOCK, 2, CORE, CORE, 0, ALL))
    # In pieces that begin with what is used most: the core finds a row's first at once.
    edges = (X2APIC, X2APIC_TPR, X2APIC_EOI, X2APIC_ICR, X2APIC_ICR + 1, X2APIC_END)
    for i in range(len(edges) - 1):
        table.append((edges[i], edges[i + 1] - edges[i], CORE, CORE, 0, ALL))
    table += _mtrr(address)
    table += _amd() if amd else _intel()
    return sorted(table)


def _mtrr(address):
    out = []
    for i in range(MTRR_VARIABLE):
        base = mask = 0
        if i == 0:  # the hole below 4 GiB, as a BIOS sets it up
            base = HOLE | TYPE_UNCACHED
            mask = address & ~(TOP_4G - HOLE - 1) | MTRR_ENABLED
        index = IA32_MTRR_PHYSBASE0 + 2 * i
        out.append((index, 1, STORED, STORED, base, address | 0xFF))
        out.append((index + 1, 1, STORED, STORED, mask, address | MTRR_ENABLED))
    fixed = [IA32_MTRR_FIX64K_00000, IA32_MTRR_FIX16K_80000, IA32_MTRR_FIX16K_A0000]
    fixed += list(range(IA32_MTRR_FIX4K_C0000, IA32_MTRR_FIX4K_C0000 + 8))
    for index in fixed:
        uncached = index == IA32_MTRR_FIX16K_A0000
        value = FIXED_UNCACHED if uncached else FIXED_WRITE_BACK
        out.append((index, 1, STORED, STORED, value, ALL))
    default = MTRR_ENABLED | MTRR_FIXED_ENABLED | TYPE_WRITE_BACK
    mask = MTRR_ENABLED | MTRR_FIXED_ENABLED | 0xFF
    out.append((IA32_MTRR_DEF_TYPE, 1, STORED, STORED, default, mask))
    return out


def _intel():
    return [
        (IA32_PLATFORM_ID, 1, FIXED, FAULT, 0, 0),
        (IA32_FEATURE_CONTROL, 1, FIXED, FAULT, FEATURE_CONTROL_LOCKED, 0),
        (MSR_PLATFORM_INFO, 1, FIXED, IGNORE, 0, 0),
        # Linux clears it although XSAVES is hidden.
        (IA32_XSS, 1, FIXED, IGNORE, 0, 0),
    ]


def _amd():
    return [
        (SYSCFG, 1, FIXED, IGNORE, 0, 0),
        (HWCR, 1, STORED, STORED, HWCR_TSC_FREQ_SEL, 0xFFFF_FFFF),
        (NB_CFG, 1, STORED, STORED, 0, ALL),
        # Kernels read it unguarded on family 15 parts.
        (INT_PENDING, 1, FIXED, IGNORE, 0, 0),
        (VM_CR, 1, FIXED, IGNORE, VM_CR_LOCKED_OFF, 0),
    ]


def pack(table):
    """Rows as the bytes that `_hv.guest_set_msrs` takes."""
    out = bytearray()
    for row in table:
        out += struct.pack(ENTRY, *row)
    return bytes(out)


def changed(table, entry):
    """The rows with an entry of a partition file (rules/answers.py) in the place of theirs."""
    first, last = entry["index"], entry["index"] + entry["count"] - 1
    out = []
    for row in table:
        low, high = row[0], row[0] + row[1] - 1
        if high < first or last < low:
            out.append(row)
            continue
        if low < first:
            out.append((low, first - low) + row[2:])
        if last < high:
            out.append((last + 1, high - last) + row[2:])
    stored = entry["write"] == "store"
    read = FAULT if entry["read"] == "refuse" else STORED if stored else FIXED
    write = STORED if stored else IGNORE if entry["write"] == "ignore" else FAULT
    out.append((first, entry["count"], read, write, entry.get("value", 0), ALL if stored else 0))
    return sorted(out)


def build(amd, phys_bits=40, rdtscp=True, paravirt=True, own=()):
    """The packed table for `_hv.guest_set_msrs`."""
    table = rows(amd, phys_bits, rdtscp, paravirt)
    for entry in own:
        table = changed(table, entry)
    return pack(table)
