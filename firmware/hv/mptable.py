"""The table of the MultiProcessor Specification 1.4, for guests older than ACPI."""

import struct

from hv import acpi

POINTER = 0xF0030  # searched for from 0xF0000 on 16-byte boundaries (4)
TABLE = 0xF1000
REVISION = 4
HEADER_SIZE = 44
LOCAL_APIC_VERSION, IO_APIC_VERSION = 0x14, 0x11

PROCESSOR, BUS, IO_APIC, IO_INTERRUPT, LOCAL_INTERRUPT = range(5)
ENABLED, BOOT_PROCESSOR = 1, 2
INT, NMI, EXT_INT = 0, 1, 3
CONFORMING, LEVEL_HIGH, LEVEL_LOW = 0, 0xD, 0xF
PCI_BUS, ISA_BUS = 0, 1
ISA_IRQS, CASCADE = 16, 2
ALL_CPUS = 0xFF


def _interrupts(chip):
    for irq in range(ISA_IRQS):
        if irq != CASCADE:
            flags = LEVEL_HIGH if irq == acpi.SCI else CONFORMING
            pin = acpi.TIMER_GSI if irq == 0 else irq
            yield struct.pack("<BBHBBBB", IO_INTERRUPT, INT, flags, ISA_BUS, irq, chip, pin)
    for slot in range(1, acpi.PCI_SLOTS):
        for pin in range(acpi.PCI_PINS):
            yield struct.pack("<BBHBBBB", IO_INTERRUPT, INT, LEVEL_LOW, PCI_BUS, slot << 2 | pin,
                              chip, acpi.pci_gsi(slot, pin))
    for line, kind in ((0, EXT_INT), (1, NMI)):
        yield struct.pack(
            "<BBHBBBB", LOCAL_INTERRUPT, kind, CONFORMING, ISA_BUS, 0, ALL_CPUS, line)


def entries(vcpus, signature, features):
    """The entries in the order that the specification asks for, by type."""
    for cpu in range(vcpus):
        flags = ENABLED | (BOOT_PROCESSOR if cpu == 0 else 0)
        yield struct.pack("<BBBBIIQ", PROCESSOR, cpu, LOCAL_APIC_VERSION, flags, signature,
                          features, 0)
    yield struct.pack("<BB6s", BUS, PCI_BUS, b"PCI   ")
    yield struct.pack("<BB6s", BUS, ISA_BUS, b"ISA   ")
    yield struct.pack("<BBBBI", IO_APIC, vcpus, IO_APIC_VERSION, ENABLED, acpi.IO_APIC)
    yield from _interrupts(vcpus)


def build(vcpus, signature, features):
    """Floating pointer and configuration table as (address, bytes)."""
    rows = list(entries(vcpus, signature, features))
    body = b"".join(rows)
    table = bytearray(struct.pack(
        "<4sHBB8s12sIHHIHBB", b"PCMP", HEADER_SIZE + len(body), REVISION, 0, b"VIPERVSR",
        b"PC          ", 0, 0, len(rows), acpi.LOCAL_APIC, 0, 0, 0))
    table += body
    table[7] = acpi.checksum(table)
    pointer = bytearray(struct.pack("<4sIBBBB4s", b"_MP_", TABLE, 1, REVISION, 0, 0, bytes(4)))
    pointer[10] = acpi.checksum(pointer)
    return [(POINTER, bytes(pointer)), (TABLE, bytes(table))]
