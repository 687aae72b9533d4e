"""The PVH entry (xen/include/public/arch-x86/hvm/start_info.h, version 1)."""

import struct

from hv import acpi
from hv.loaders import entry, layout, linux

START_MAGIC = 0x336EC578
VERSION = 1
MAP_ENTRY = 24
MODULE_ENTRY = 32


def enter(target, info, files, sizes, cmdline, tsc_khz):
    """32-bit protected mode with EBX at struct hvm_start_info."""
    text = layout.strings(target, [linux.with_frequency(cmdline, tsc_khz)])[0]
    rows = layout.e820(target.memory)
    at = target.shift + layout.TABLES
    for base, size, kind in rows:
        target.write(at, struct.pack("<QQII", base, size, kind, 0))
        at += MAP_ENTRY
    count = 0
    if files:
        # Linux takes the first module as its initrd: several become one.
        start, size = linux.place_initrd(target, files, sizes, info.high, linux.INITRD_MAX_DEFAULT)
        target.write(at, struct.pack("<4Q", start, size, 0, 0))
        count = 1
    target.write(
        target.shift + layout.INFO,
        struct.pack(
            "<4I4Q2I", START_MAGIC, VERSION, 0, count, at if count else 0, text, acpi.RSDP,
            target.shift + layout.TABLES,
            len(rows), 0),
    )
    return entry.protected(target, info.entry, rbx=target.shift + layout.INFO)
