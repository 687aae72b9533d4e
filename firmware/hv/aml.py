"""A writer of AML, the byte code of ACPI's DSDT (ACPI 6.5 chapter 20). Every function
returns bytes; objects that hold others take them joined."""

import struct

# Opcodes (20.3).
ZERO, ONE, NAME, BYTE, WORD, DWORD, STRING, QWORD = 0x00, 0x01, 0x08, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E
SCOPE, BUFFER, PACKAGE, ROOT, EXTENDED, DEVICE = 0x10, 0x11, 0x12, 0x5C, 0x5B, 0x82

# Resource descriptors (6.4).
IRQ_FLAGS, IO, END, END_CHECKSUM = 0x23, 0x47, 0x79, 0
DWORD_SPACE, WORD_SPACE = 0x87, 0x88
DECODE_16 = 1
IRQ_EDGE_HIGH = 1 << 0
SPACE_MEMORY, SPACE_IO, SPACE_BUS = 0, 1, 2
PRODUCER_FIXED = 0x0C  # minimum and maximum are fixed, the device hands the range on
BUS_FLAGS, IO_FLAGS, MEMORY_FLAGS = 0, 3, 1  # I/O: the entire range; memory: read and write


def segment(name):
    """One name of four characters, padded as the specification asks; "\\" is the root."""
    root = b""
    if name.startswith("\\"):
        root, name = bytes([ROOT]), name[1:]
    if not 1 <= len(name) <= 4:
        raise ValueError("%r is not an ACPI name" % name)
    return root + (name + "____")[:4].encode()


def length(size):
    """PkgLength (20.2.4) of an object whose content has `size` bytes, itself included."""
    if size + 1 < 1 << 6:
        return bytes([size + 1])
    for more in (1, 2, 3):
        total = size + 1 + more
        if total < 1 << 4 + 8 * more:
            return bytes([more << 6 | total & 0xF]) + struct.pack("<I", total >> 4)[:more]
    raise ValueError("an AML object of %d bytes" % size)


def integer(value):
    """The shortest form of a number."""
    if value < 2:
        return bytes([value])
    for opcode, form, bits in ((BYTE, "<B", 8), (WORD, "<H", 16), (DWORD, "<I", 32)):
        if value < 1 << bits:
            return bytes([opcode]) + struct.pack(form, value)
    return bytes([QWORD]) + struct.pack("<Q", value)


def eisa_id(text):
    """A PNP id such as "PNP0A03" as the number that _HID holds (19.3.4)."""
    letters = 0
    for c in text[:3]:
        letters = letters << 5 | ord(c) - 0x40
    packed = struct.pack(">HH", letters, int(text[3:], 16))
    return integer(struct.unpack("<I", packed)[0])


def name(label, value):
    return bytes([NAME]) + segment(label) + value


def _block(opcode, content):
    return opcode + length(len(content)) + content


def package(items):
    return _block(bytes([PACKAGE]), bytes([len(items)]) + b"".join(items))


def buffer(data):
    return _block(bytes([BUFFER]), integer(len(data)) + data)


def scope(label, *content):
    return _block(bytes([SCOPE]), segment(label) + b"".join(content))


def device(label, *content):
    return _block(bytes([EXTENDED, DEVICE]), segment(label) + b"".join(content))


def resources(*descriptors):
    """A _CRS of these descriptors."""
    return name("_CRS", buffer(b"".join(descriptors) + bytes([END, END_CHECKSUM])))


def io(first, count):
    return struct.pack("<BBHHBB", IO, DECODE_16, first, first, 1, count)


def irq(number):
    """An ISA interrupt: edge, active high, not shared."""
    return struct.pack("<BHB", IRQ_FLAGS, 1 << number, IRQ_EDGE_HIGH)


def bus_range(first, last):
    return _word_space(SPACE_BUS, BUS_FLAGS, first, last)


def io_range(first, last):
    return _word_space(SPACE_IO, IO_FLAGS, first, last)


def _word_space(kind, flags, first, last):
    fields = struct.pack("<BBB5H", kind, PRODUCER_FIXED, flags, 0, first, last, 0, last - first + 1)
    return struct.pack("<BH", WORD_SPACE, len(fields)) + fields


def memory_range(first, last):
    fields = struct.pack("<BBB5I", SPACE_MEMORY, PRODUCER_FIXED, MEMORY_FLAGS, 0, first, last, 0,
                         last - first + 1)
    return struct.pack("<BH", DWORD_SPACE, len(fields)) + fields
