"""SMBIOS of a guest: what machine it is told it runs on (DSP0134 version 2.8)."""

import struct

from hv.loaders import layout

ENTRY = 0xF0040  # searched for from 0xF0000 on 16-byte boundaries (5.2.1)
TABLE = 0xF0060
TABLE_END = 0xF1000
ENTRY_SIZE, INTERMEDIATE_AT = 0x1F, 0x10
MAKER, PRODUCT = "Vipervisor", "PC"

BIOS, SYSTEM, PROCESSOR, MEMORY_ARRAY, MEMORY_DEVICE, MEMORY_RANGE = 0, 1, 4, 16, 17, 19
BOOT, END = 32, 127
NO_HANDLE, NO_ERRORS = 0xFFFF, 0xFFFE
BIOS_UNSUPPORTED = 1 << 3  # no characteristics are told ...
BIOS_VIRTUAL = 1 << 4  # ... but this one, in the second extension byte
OTHER = 1
CENTRAL_PROCESSOR = 3
POPULATED_ENABLED = 0x41
WIDE = 1 << 2  # 64-bit capable
POWER_SWITCH = 6
SYSTEM_MEMORY, NO_ECC = 3, 3
DIMM, RAM = 9, 7
SIZE_EXTENDED = 0x7FFF
UNKNOWN_WIDTH = 0xFFFF


class _Structures:
    def __init__(self):
        self.data = bytearray()
        self.count = 0
        self.largest = 0

    def add(self, kind, form, *values, strings=()):
        """One structure; its handle is its number. `form` is the part after the header."""
        start = len(self.data)
        body = struct.pack("<" + form, *values)
        self.data += struct.pack("<BBH", kind, 4 + len(body), self.count) + body
        for text in strings:
            self.data += text.encode() + b"\0"
        self.data += b"\0" if strings else b"\0\0"
        self.largest = max(self.largest, len(self.data) - start)
        self.count += 1
        return self.count - 1


def structures(memory, vcpus, signature, features, mhz):
    out = _Structures()
    out.add(BIOS, "BBHBBQBBBBBB", 1, 2, 0xE000, 3, 0, BIOS_UNSUPPORTED, 0, BIOS_VIRTUAL, 0, 0,
            0xFF, 0xFF, strings=(MAKER, "1", "01/01/2024"))
    out.add(SYSTEM, "BBBB16sBBB", 1, 2, 3, 0, bytes(16), POWER_SWITCH, 0, 0,
            strings=(MAKER, PRODUCT, "1"))
    out.add(PROCESSOR, "BBBBIIBBHHHBBHHHBBBBBBHH", 1, CENTRAL_PROCESSOR, OTHER, 2, signature,
            features, 0, 0, 0, mhz & 0xFFFF, mhz & 0xFFFF, POPULATED_ENABLED, OTHER, NO_HANDLE,
            NO_HANDLE, NO_HANDLE, 0, 0, 0, vcpus, vcpus, vcpus, WIDE, OTHER,
            strings=("CPU 0", MAKER))
    array = out.add(MEMORY_ARRAY, "BBBIHH", OTHER, SYSTEM_MEMORY, NO_ECC, memory >> 10,
                    NO_ERRORS, 1)
    mib = memory >> 20
    out.add(MEMORY_DEVICE, "HHHHHBBBBBHHBBBBBIHHHH", array, NO_ERRORS, UNKNOWN_WIDTH,
            UNKNOWN_WIDTH, min(mib, SIZE_EXTENDED), DIMM, 0, 1, 0, RAM, 1 << 1, 0, 0, 0, 0, 0, 0,
            mib if mib >= SIZE_EXTENDED else 0, 0, 0, 0, 0, strings=("DIMM 0",))
    for base, size in layout.ram(memory):
        out.add(MEMORY_RANGE, "IIHB", base >> 10, (base + size >> 10) - 1, array, 1)
    out.add(BOOT, "6sB", bytes(6), 0)
    out.add(END, "")
    return out


def build(memory, vcpus, signature, features, mhz):
    """Entry point and structures as (address, bytes)."""
    table = structures(memory, vcpus, signature, features, mhz)
    if TABLE + len(table.data) > TABLE_END:
        raise ValueError("the SMBIOS structures have %d bytes" % len(table.data))
    entry = bytearray(struct.pack(
        "<4sBBBBHB5s5sBHIHB", b"_SM_", 0, ENTRY_SIZE, 2, 8, table.largest, 0, bytes(5), b"_DMI_",
        0, len(table.data), TABLE, table.count, 0x28))
    entry[INTERMEDIATE_AT + 5] = -sum(entry[INTERMEDIATE_AT:]) & 0xFF
    entry[4] = -sum(entry) & 0xFF
    return [(ENTRY, bytes(entry)), (TABLE, bytes(table.data))]
