"""Where things lie in a guest's memory, and the map it is told about.

RAM from 0, with a hole from 3 GiB to 4 GiB; what does not fit below the hole goes
on at 4 GiB. The loaders keep their tables from LOADER_LOW to LOADER_TOP, or LOADER_SHIFT
higher where the image itself lies there; a kernel has copied them before it uses that
memory for anything else.
"""

import struct

from hv.rules.fitting import MIB, PCI_HOLE

FOUR_GIB = 1 << 32
PAGE = 4096

GDT = 0x1000
INFO = 0x2000  # multiboot information or PVH start_info
TABLES = 0x3000  # memory map and module lists
STRINGS = 0x4000
STRINGS_END = 0x7000
ZERO_PAGE = 0x7000
CMDLINE = 0x8000
PAGE_TABLES = 0x9000  # PML4, PDPT, four page directories
STACK_TOP = 0x10000

BDA_EBDA = 0x40E
BDA_BASE_KIB = 0x413
EBDA = 0x9FC00
LOW_RESERVED = 0xA0000
FIRMWARE = 0xC0000

E820_RAM, E820_RESERVED = 1, 2

CODE, DATA = 0x10, 0x18  # selectors; the boot protocol of Linux asks for these
# Descriptors: flat code (64-bit or 32-bit) and flat data.
DESCRIPTOR_CODE64 = 0x00AF_9B00_0000_FFFF
DESCRIPTOR_CODE32 = 0x00CF_9B00_0000_FFFF
DESCRIPTOR_DATA = 0x00CF_9300_0000_FFFF

PTE_PRESENT, PTE_WRITE, PTE_LARGE = 1, 2, 1 << 7


def ram(size):
    """The RAM of a guest with `size` bytes: (address, size) extents."""
    if size <= PCI_HOLE:
        return [(0, size)]
    return [(0, PCI_HOLE), (FOUR_GIB, size - PCI_HOLE)]


def e820(size):
    """The map that a guest is told: (address, size, type)."""
    out = [
        (0, EBDA, E820_RAM),
        (EBDA, LOW_RESERVED - EBDA, E820_RESERVED),
        (FIRMWARE, MIB - FIRMWARE, E820_RESERVED),
    ]
    for base, length in ram(size):
        if base == 0:
            base, length = MIB, length - MIB
        out.append((base, length, E820_RAM))
    return out


def bios_data(g):
    """The words of the BIOS data area that kernels read: EBDA segment, base memory."""
    g.write(BDA_EBDA, struct.pack("<H", EBDA >> 4))
    g.write(BDA_BASE_KIB, struct.pack("<H", EBDA >> 10))


def descriptors(g, wide):
    """A flat GDT at GDT; the size of its limit is returned."""
    code = DESCRIPTOR_CODE64 if wide else DESCRIPTOR_CODE32
    table = struct.pack("<QQQQ", 0, 0, code, DESCRIPTOR_DATA)
    g.write(g.shift + GDT, table)
    return len(table) - 1


def identity_tables(g):
    """Page tables that map the first 4 GiB onto themselves in 2 MiB pages."""
    link = PTE_PRESENT | PTE_WRITE
    tables = g.shift + PAGE_TABLES
    table = bytearray(PAGE)
    struct.pack_into("<Q", table, 0, (tables + PAGE) | link)
    g.write(tables, table)
    for i in range(4):
        struct.pack_into("<Q", table, 8 * i, (tables + (2 + i) * PAGE) | link)
    g.write(tables + PAGE, table)
    for directory in range(4):
        for i in range(512):
            page = (directory << 30) + (i << 21)
            struct.pack_into("<Q", table, 8 * i, page | link | PTE_LARGE)
        g.write(tables + (2 + directory) * PAGE, table)
    return tables


def strings(g, texts):
    """Writes NUL-ended strings into the string area; their addresses."""
    at, out = g.shift + STRINGS, []
    for text in texts:
        data = text.encode() + b"\0"
        if at + len(data) > g.shift + STRINGS_END:
            raise ValueError(
                "command lines are too long together: %d bytes, %d fit"
                % (sum([len(t) + 1 for t in texts]), STRINGS_END - STRINGS))
        g.write(at, data)
        out.append(at)
        at += len(data)
    return out


def align(value, to=PAGE):
    return (value + to - 1) // to * to
