"""The ACPI tables of a guest: what plain PC it is (ACPI 6.5).

`build(vcpus)` gives the bytes of each table with its place; they lie in the
RAM that the memory map reserves below 1 MiB, the RSDP where a search finds it.
"""

import struct

from hv import aml

RSDP = 0xF0000  # searched for from 0xE0000 to 0xFFFFF on 16-byte boundaries (5.2.5.1)
FACS, XSDT, RSDT = 0xE0000, 0xE0040, 0xE0080
TABLES, TABLES_END = 0xE00C0, 0xF0000  # the others, one after the other
FACS_SIZE, FACS_VERSION = 64, 2
TABLE_ALIGN = 16

OEM, OEM_TABLE, CREATOR = b"VIPERV", b"VIPERVSR", b"VIPR"
HEADER = "<4sIBB6s8sI4sI"
HEADER_SIZE = 36
CHECKSUM_AT = 9
RSDP_SIZE, RSDP_SHORT = 36, 20  # the first checksum covers the short part

# The devices of hypervisor/dev.
SCI = 9
PM1_EVENT, PM1_EVENT_SIZE = 0x600, 4
PM1_CONTROL, PM1_CONTROL_SIZE = 0x604, 2
PM_TIMER, PM_TIMER_SIZE = 0x608, 4
RESET_PORT, RESET_VALUE = 0xCF9, 6
RTC_CENTURY = 0x32
S5 = 0  # SLP_TYP that powers off
LOCAL_APIC, IO_APIC = 0xFEE0_0000, 0xFEC0_0000
TIMER_GSI = 2  # the PIT's line at the I/O APIC
PCI_GSIS = (10, 11)  # where the functions' INTx lines end, in both interrupt modes
PCI_SLOTS, PCI_PINS = 32, 4
PCI_MEMORY, PCI_MEMORY_END = 0xC000_0000, 0xFEBF_FFFF

# FADT (5.2.9).
FADT_SIZE, FADT_REVISION = 276, 6
SPACE_IO = 1
NO_LATENCY = 0x0FFF  # above 1000: the C state is not there
# Boot architecture flags: devices on the ISA bus beside the 8042, which tells that it
# is not there (kbc.c); no VGA registers.
BOOT_LEGACY_DEVICES, BOOT_NO_VGA = 1 << 0, 1 << 2
# Fixed feature flags: WBINVD works, C1 on all CPUs, no fixed power or sleep button, no
# wake-up by the clock, a reset register. TMR_VAL_EXT is clear: 24 bits count.
FEATURES = 1 << 0 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 10

# MADT entries (5.2.12).
MADT_LOCAL_APIC, MADT_IO_APIC, MADT_OVERRIDE, MADT_NMI = 0, 1, 2, 4
MADT_8259, MADT_ENABLED = 1, 1
EDGE_HIGH, LEVEL_HIGH = 0x5, 0xD
ALL_CPUS, LINT1 = 0xFF, 1


def pci_gsi(slot, pin):
    """Where a PCI function's interrupt line ends."""
    return PCI_GSIS[(slot + pin) % len(PCI_GSIS)]


def checksum(data):
    """The byte that makes the sum of all bytes 0."""
    return -sum(data) & 0xFF


def table(signature, revision, body):
    """A table with its header, length and checksum (5.2.6)."""
    out = bytearray(struct.pack(
        HEADER, signature, HEADER_SIZE + len(body), revision, 0, OEM, OEM_TABLE, 1, CREATOR, 1))
    out += body
    out[CHECKSUM_AT] = checksum(out)
    return bytes(out)


def _port(address, size, width=None):
    """A generic address structure (5.2.3.2) of a register in I/O space."""
    access = {1: 1, 2: 2, 4: 3}[width or size]
    return struct.pack("<BBBBQ", SPACE_IO, 8 * size, 0, access, address)


def fadt(facs, dsdt):
    none = bytes(12)
    body = struct.pack("<IIBBHIBBBB", facs, dsdt, 0, 0, SCI, 0, 0, 0, 0, 0)
    body += struct.pack("<8I", PM1_EVENT, 0, PM1_CONTROL, 0, 0, PM_TIMER, 0, 0)
    body += struct.pack("<8B", PM1_EVENT_SIZE, PM1_CONTROL_SIZE, 0, PM_TIMER_SIZE, 0, 0, 0, 0)
    body += struct.pack("<4H", NO_LATENCY, NO_LATENCY, 0, 0)
    body += struct.pack("<5B", 0, 0, 0, 0, RTC_CENTURY)
    body += struct.pack("<HBI", BOOT_LEGACY_DEVICES | BOOT_NO_VGA, 0, FEATURES)
    body += _port(RESET_PORT, 1) + struct.pack("<BHB", RESET_VALUE, 0, 0)
    body += struct.pack("<QQ", 0, dsdt)
    body += _port(PM1_EVENT, PM1_EVENT_SIZE, 2) + none
    body += _port(PM1_CONTROL, PM1_CONTROL_SIZE) + none + none
    body += _port(PM_TIMER, PM_TIMER_SIZE) + none + none
    body += none + none + b"ViperHyp"  # sleep control and status; the hypervisor's name
    out = table(b"FACP", FADT_REVISION, body)
    if len(out) != FADT_SIZE:
        raise ValueError("the FADT has %d bytes" % len(out))
    return out


def facs():
    out = struct.pack("<4s5IQB", b"FACS", FACS_SIZE, 0, 0, 0, 0, 0, FACS_VERSION)
    return out + bytes(FACS_SIZE - len(out))


def madt(vcpus):
    """Processors 0 to n-1, the I/O APIC after them, and what the ISA lines become."""
    body = struct.pack("<II", LOCAL_APIC, MADT_8259)
    for cpu in range(vcpus):
        body += struct.pack("<BBBBI", MADT_LOCAL_APIC, 8, cpu, cpu, MADT_ENABLED)
    body += struct.pack("<BBBBII", MADT_IO_APIC, 12, vcpus, 0, IO_APIC, 0)
    for source, gsi, flags in ((0, TIMER_GSI, EDGE_HIGH), (SCI, SCI, LEVEL_HIGH)):
        body += struct.pack("<BBBBIH", MADT_OVERRIDE, 10, 0, source, gsi, flags)
    body += struct.pack("<BBBHB", MADT_NMI, 6, ALL_CPUS, EDGE_HIGH, LINT1)
    return table(b"APIC", 5, body)


def dsdt():
    """What cannot be found by asking: sleep states, the PCI root, the ISA devices."""
    return table(b"DSDT", 2, _sleep() + aml.scope("\\_SB", _pci_root(), _isa()))


def _sleep():
    kind = aml.integer(S5)
    return aml.name("\\_S5", aml.package([kind, kind, aml.integer(0), aml.integer(0)]))


def _pci_root():
    return aml.device(
        "PCI0",
        aml.name("_HID", aml.eisa_id("PNP0A03")),
        aml.name("_UID", aml.integer(0)),
        aml.name("_BBN", aml.integer(0)),
        aml.resources(
            aml.bus_range(0, 0),
            aml.io(0xCF8, 8),
            aml.io_range(0, 0xCF7),
            aml.io_range(0xD00, 0xFFFF),
            aml.memory_range(0xA_0000, 0xB_FFFF),
            aml.memory_range(PCI_MEMORY, PCI_MEMORY_END),
        ),
        aml.name("_PRT", aml.package([
            aml.package([
                aml.integer(slot << 16 | 0xFFFF),
                aml.integer(pin),
                aml.integer(0),
                aml.integer(pci_gsi(slot, pin)),
            ])
            for slot in range(1, PCI_SLOTS)
            for pin in range(PCI_PINS)
        ])),
    )


def _isa():
    def isa(label, hid, unit, *what):
        return aml.device(
            label, aml.name("_HID", aml.eisa_id(hid)), aml.name("_UID", aml.integer(unit)),
            aml.resources(*what))

    return (
        isa("COM1", "PNP0501", 1, aml.io(0x3F8, 8), aml.irq(4))
        + isa("RTC", "PNP0B00", 0, aml.io(0x70, 2), aml.irq(8))
        + isa("TIMR", "PNP0100", 0, aml.io(0x40, 4), aml.irq(0))
        + isa("PIC", "PNP0000", 0, aml.io(0x20, 2), aml.io(0xA0, 2), aml.io(0x4D0, 2))
    )


def rsdt(addresses):
    return table(b"RSDT", 1, struct.pack("<%dI" % len(addresses), *addresses))


def xsdt(addresses):
    return table(b"XSDT", 1, struct.pack("<%dQ" % len(addresses), *addresses))


def pointer():
    """The RSDP: a checksum over its ACPI 1.0 part and one over all (5.2.5.3)."""
    out = bytearray(struct.pack(
        "<8sB6sBIIQI", b"RSD PTR ", 0, OEM, 2, RSDT, RSDP_SIZE, XSDT, 0))
    out[8] = checksum(out[:RSDP_SHORT])
    out[32] = checksum(out)
    return bytes(out)


def build(vcpus):
    """All tables as (address, bytes)."""
    root = dsdt()
    places, out = [], [(FACS, facs()), (TABLES, root)]
    at = TABLES + len(root)
    for data in (fadt(FACS, TABLES), madt(vcpus)):
        at = (at + TABLE_ALIGN - 1) // TABLE_ALIGN * TABLE_ALIGN
        places.append(at)
        out.append((at, data))
        at += len(data)
    if at > TABLES_END:
        raise ValueError("the ACPI tables end at %#x" % at)
    return out + [(RSDT, rsdt(places)), (XSDT, xsdt(places)), (RSDP, pointer())]
