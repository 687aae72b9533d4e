"""Small real images for the tests, byte by byte from the formats' definitions."""

import struct

MIB = 1 << 20


def elf64(entry=0x100000, vaddr=0x100000, paddr=0x100000, body=b"\xf4" * 64, memsz=None, notes=b"",
          head=b"", machine=62):
    """An ELF64 executable: `body` at paddr, an optional note segment."""
    headers = 2 if notes else 1
    offset = 64 + 56 * headers
    body = head + body
    out = b"\x7fELF\x02\x01\x01" + bytes(9)
    out += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, entry, 64, 0, 0, 64, 56, headers, 0, 0, 0)
    memsz = len(body) if memsz is None else memsz
    out += struct.pack("<IIQQQQQQ", 1, 7, offset, vaddr, paddr, len(body), memsz, 4096)
    if notes:
        at = offset + len(body)
        out += struct.pack("<IIQQQQQQ", 4, 4, at, 0, 0, len(notes), len(notes), 4)
    return out + body + notes


def elf32(entry=0x100000, paddr=0x100000, body=b"\xf4" * 64, memsz=None, head=b""):
    body = head + body
    memsz = len(body) if memsz is None else memsz
    out = b"\x7fELF\x01\x01\x01" + bytes(9)
    out += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, entry, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    out += struct.pack("<IIIIIIII", 1, 84, paddr, paddr, len(body), memsz, 7, 4096)
    return out + body


def pvh_note(entry):
    return struct.pack("<III", 4, 4, 18) + b"Xen\0" + struct.pack("<I", entry)


def multiboot1(flags=3, fields=b""):
    magic = 0x1BADB002
    return struct.pack("<III", magic, flags, -(magic + flags) & 0xFFFFFFFF) + fields


def multiboot2(tags=b""):
    length = 16 + len(tags) + 8
    magic = 0xE85250D6
    total = struct.pack("<IIII", magic, 0, length, -(magic + length) & 0xFFFFFFFF)
    return total + tags + struct.pack("<HHI", 0, 0, 8)


def multiboot1_elf(body=b"\xf4" * 64, memsz=None, flags=3):
    # The header lies at the file's offset 84, a multiple of 4.
    return elf32(head=multiboot1(flags), body=body, memsz=memsz, entry=0x10000C)


def multiboot2_elf(body=b"\xf4" * 64):
    pad = b"\0" * 4  # 52 + 32 + 4 = 88, a multiple of 8
    return elf32(head=pad + multiboot2(), body=body, entry=0x100020)


def bzimage(kernel=b"\x90" * 4096, wide=True, version=0x20F, setup_sects=1, init_size=2 * MIB,
            preferred=16 * MIB, initrd_max=0x7FFFFFFF, cmdline_max=2047, relocatable=1):
    """A Linux bzImage with a true setup header and nonsense for a kernel."""
    kernel += bytes(-len(kernel) % 16)
    head = bytearray(512 * (1 + setup_sects))
    head[0x1F1] = setup_sects
    struct.pack_into("<I", head, 0x1F4, len(kernel) // 16)
    struct.pack_into("<H", head, 0x1FE, 0xAA55)
    head[0x200:0x202] = b"\xeb\x66"  # jump over the header, which ends at 0x268
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, version)
    head[0x211] = 1
    struct.pack_into("<I", head, 0x214, MIB)
    struct.pack_into("<I", head, 0x22C, initrd_max)
    struct.pack_into("<I", head, 0x230, 2 * MIB)
    head[0x234] = relocatable
    struct.pack_into("<H", head, 0x236, 1 if wide else 0)
    struct.pack_into("<I", head, 0x238, cmdline_max)
    struct.pack_into("<Q", head, 0x258, preferred)
    struct.pack_into("<I", head, 0x260, init_size)
    return bytes(head) + kernel
