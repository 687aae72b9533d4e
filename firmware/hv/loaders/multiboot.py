"""Multiboot 0.6.96 and Multiboot2 2.0: the information structures and the entry."""

import struct

from hv import acpi
from hv.loaders import entry, layout
from hv.rules.fitting import MIB, PCI_HOLE

LOADER_NAME = "Vipervisor"
MAGIC1, MAGIC2 = 0x2BADB002, 0x36D76289
# Flags of the multiboot 1 information structure (3.3).
HAS_MEMORY, HAS_CMDLINE, HAS_MODULES, HAS_MAP, HAS_NAME = 1 << 0, 1 << 2, 1 << 3, 1 << 6, 1 << 9
# Tag types of the multiboot 2 information (3.6).
TAG_END, TAG_CMDLINE, TAG_NAME, TAG_MODULE, TAG_MEMORY, TAG_MAP = 0, 1, 2, 3, 4, 6
TAG_RSDP_OLD, TAG_RSDP = 14, 15  # copies of the RSDP of ACPI 1.0 and of 2.0 and later
MODULE_ENTRY = 16
MAP_ENTRY = 24


def place_modules(target, files, sizes, above):
    """Loads modules page-aligned above the image and 1 MiB; (start, end) of each."""
    at, out = layout.align(max(above, MIB)), []
    for name, size in zip(files, sizes):
        if size:
            target.load(at, name, 0, size)
        out.append((at, at + size))
        at = layout.align(at + size)
    return out


def _sizes(memory):
    """KiB of memory below 640 KiB and above 1 MiB."""
    return layout.EBDA >> 10, (min(memory, PCI_HOLE) - MIB) >> 10


def enter1(target, name, info, files, sizes, cmdline):
    """Multiboot 1: EAX the magic, EBX the information structure.

    The command line begins with the image's name, as GRUB Legacy and QEMU pass it:
    kernels skip that word.
    """
    places = place_modules(target, files, sizes, info.high)
    line = name + " " + cmdline if cmdline else name
    texts = layout.strings(target, [line, LOADER_NAME] + files)
    table = bytearray()
    for base, size, kind in layout.e820(target.memory):
        table += struct.pack("<IQQI", 20, base, size, kind)
    modules = target.shift + layout.TABLES + layout.align(len(table), 16)
    target.write(target.shift + layout.TABLES, table)
    for i, (start, end) in enumerate(places):
        target.write(modules + i * MODULE_ENTRY, struct.pack("<4I", start, end, texts[2 + i], 0))
    flags = HAS_MEMORY | HAS_CMDLINE | HAS_MODULES | HAS_MAP | HAS_NAME
    lower, upper = _sizes(target.memory)
    information = struct.pack("<7I", flags, lower, upper, 0, texts[0], len(places), modules)
    information += bytes(16)  # symbols
    information += struct.pack("<2I", len(table), target.shift + layout.TABLES)
    information += bytes(12)  # drives, configuration table
    information += struct.pack("<I", texts[1]) + bytes(20)
    target.write(target.shift + layout.INFO, information)
    return entry.protected(target, info.entry, rax=MAGIC1, rbx=target.shift + layout.INFO)


def _tag(kind, payload):
    size = 8 + len(payload)
    return struct.pack("<2I", kind, size) + payload + bytes(-size % 8)


def enter2(target, info, files, sizes, cmdline):
    """Multiboot 2: EAX the magic, EBX the tags."""
    places = place_modules(target, files, sizes, info.high)
    tags = _tag(TAG_CMDLINE, cmdline.encode() + b"\0")
    tags += _tag(TAG_NAME, LOADER_NAME.encode() + b"\0")
    for name, (start, end) in zip(files, places):
        tags += _tag(TAG_MODULE, struct.pack("<2I", start, end) + name.encode() + b"\0")
    tags += _tag(TAG_MEMORY, struct.pack("<2I", *_sizes(target.memory)))
    rows = struct.pack("<2I", MAP_ENTRY, 0)
    for base, size, kind in layout.e820(target.memory):
        rows += struct.pack("<QQII", base, size, kind, 0)
    tags += _tag(TAG_MAP, rows)
    pointer = acpi.pointer()
    tags += _tag(TAG_RSDP_OLD, pointer[: acpi.RSDP_SHORT]) + _tag(TAG_RSDP, pointer)
    tags += _tag(TAG_END, b"")
    if layout.INFO + 8 + len(tags) > layout.STRINGS_END:
        raise ValueError("command line and module names are too long together: %d bytes"
                         % len(tags))
    target.write(target.shift + layout.INFO, struct.pack("<2I", 8 + len(tags), 0) + tags)
    return entry.protected(target, info.entry, rax=MAGIC2, rbx=target.shift + layout.INFO)
