"""Linux by its boot protocol (Documentation/arch/x86/boot.rst): the zero page."""

import struct

from hv import acpi, screen
from hv.loaders import entry, layout
from hv.rules.errors import ImageError
from hv.rules.fitting import PCI_HOLE
from hv.rules.sizes import size_text

ACPI_RSDP_ADDR = 0x70
SETUP_HEADER = 0x1F1
E820_COUNT, E820_TABLE = 0x1E8, 0x2D0
BOOT_FLAG, HEADER = 0x1FE, 0x202
TYPE_OF_LOADER, LOADFLAGS, CODE32_START = 0x210, 0x211, 0x214
RAMDISK_IMAGE, RAMDISK_SIZE, CMD_LINE_PTR = 0x218, 0x21C, 0x228
EXT_LOADER_UNDEFINED = 0xFF
CAN_USE_HEAP = 1 << 7
HEAP_END = 0x224
# struct screen_info at the page's beginning (include/uapi/linux/screen_info.h).
VIDEO_MODE, EGA_BX, VIDEO_LINES = 0x06, 0x0A, 0x0E
CMDLINE_ROOM = layout.PAGE_TABLES - layout.CMDLINE - 1
INITRD_MAX_DEFAULT = 0x37FF_FFFF


def enter(target, info, files, sizes, cmdline, tsc_khz):
    """Prepares boot parameters; 64-bit entry, or 32-bit where the kernel has no other."""
    limit = info.extra["cmdline_max"]
    if len(cmdline) > limit:
        raise ImageError(
            "cmdline-kernel", "the command line has %d bytes and the kernel takes %d"
            % (len(cmdline), limit), "shorten it")
    zero_page(target, info, files, sizes, cmdline, info.high, tsc_khz)
    if info.mode == "long":
        return entry.long(target, info.entry, rsi=target.shift + layout.ZERO_PAGE)
    return entry.protected(target, info.entry, rsi=target.shift + layout.ZERO_PAGE)


def zero_page(target, info, files, sizes, cmdline, above, tsc_khz):
    """Writes struct boot_params at ZERO_PAGE, the command line and the initrd."""
    page = bytearray(layout.PAGE)
    initrd_max = INITRD_MAX_DEFAULT
    if info is not None:
        # The setup header: from 0x1F1 to the end that the jump at 0x200 names.
        head = bytes(target.data[: layout.PAGE])
        end = HEADER + head[0x201]
        page[SETUP_HEADER:end] = head[SETUP_HEADER:end]
        initrd_max = info.extra["initrd_max"]
        struct.pack_into("<I", page, CODE32_START, info.low)
        page[LOADFLAGS] |= CAN_USE_HEAP
        struct.pack_into("<H", page, HEAP_END, 0xFE00)
    else:
        struct.pack_into("<H", page, BOOT_FLAG, 0xAA55)
        page[HEADER : HEADER + 4] = b"HdrS"
    page[TYPE_OF_LOADER] = EXT_LOADER_UNDEFINED
    text = with_frequency(cmdline, tsc_khz)
    if info is not None and len(text) > info.extra["cmdline_max"]:
        text = cmdline  # what the user said goes first
    text = text.encode() + b"\0"
    if len(text) > CMDLINE_ROOM:
        raise ImageError("cmdline-long", "the command line has %d bytes and %d fit"
                         % (len(text) - 1, CMDLINE_ROOM - 1), "shorten it")
    target.write(target.shift + layout.CMDLINE, text)
    struct.pack_into("<I", page, CMD_LINE_PTR, target.shift + layout.CMDLINE)
    if files:
        at, size = place_initrd(target, files, sizes, above, initrd_max)
        struct.pack_into("<II", page, RAMDISK_IMAGE, at, size)
    struct.pack_into("<Q", page, ACPI_RSDP_ADDR, acpi.RSDP)
    table = layout.e820(target.memory)
    page[E820_COUNT] = len(table)
    for i, row in enumerate(table):
        struct.pack_into("<QQI", page, E820_TABLE + 20 * i, *row)
    # What its real-mode part would have found: a VGA in text mode 3, so that a kernel with
    # console=tty0 writes to the text screen. Mode and columns; 256 KiB of colour; lines, VGA,
    # the height of a character.
    struct.pack_into("<BB", page, VIDEO_MODE, 3, screen.COLUMNS)
    struct.pack_into("<H", page, EGA_BX, 3)
    struct.pack_into("<BBH", page, VIDEO_LINES, screen.ROWS, 1, 16)
    target.write(target.shift + layout.ZERO_PAGE, page)


def with_frequency(cmdline, tsc_khz):
    """Adds tsc_early_khz= where Linux has no other way to learn the frequency.

    On AMD it does not read leaf 0x15, and calibrating by the PIT fails wherever an
    exit is slow. What the user said stays.
    """
    if not tsc_khz or "tsc_early_khz=" in cmdline:
        return cmdline
    extra = "tsc_early_khz=%d" % tsc_khz
    # Words after "--" belong to init.
    head, dashes, rest = cmdline.partition(" -- ")
    return (head + " " + extra if head else extra) + dashes + rest


def place_initrd(target, files, sizes, above, initrd_max):
    """Loads the files one after the other, as high as allowed; (address, size)."""
    offsets, total = [], 0
    for size in sizes:
        total = layout.align(total, 4)
        offsets.append(total)
        total += size
    top = min(target.memory, PCI_HOLE, initrd_max + 1)
    at = (top - total) // layout.PAGE * layout.PAGE
    if at < above:
        raise ImageError(
            "image-too-big",
            "the initrd of %s does not fit between the kernel's end at %s and %s"
            % (size_text(total), size_text(above), size_text(top)),
            "give the guest more memory",
        )
    for name, size, offset in zip(files, sizes, offsets):
        if size:
            target.load(at + offset, name, 0, size)
    return at, total
