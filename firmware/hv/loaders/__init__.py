"""Loaders: put an image into a guest's memory and say how it is entered.

`load(target, ...)` streams from boot modules in the core; no image ever lies in
the Python heap. A target has `memory` (bytes of RAM), `write(gpa, data)`,
`module(name)`, `load(gpa, name, offset, size)` and `fresh` (RAM is still zero);
`load` sets its `data`, the image's bytes unpacked, and its `shift`, how far from their
places in layout.py the loader's tables lie.
"""

from hv.loaders import entry, layout, linux, multiboot, pvh
from hv.rules import fitting
from hv.rules import image as images

detect = images.detect
ImageError = images.ImageError

ZERO = 64 * 1024
BOOT_DRIVE = 0x80


def load(target, name, initrd=(), cmdline="", kind=None, modules=(), tsc_khz=0):
    """Loads the boot module `name`; returns (Image, Entry). Raises ImageError."""
    target.data = target.module(name)
    if kind is None or kind[:4] != "flat":
        target.data = images.unpacked(target.data)
    info = images.inspect(target.data, kind)
    files = list(initrd) + list(modules)
    if files and info.kind in ("flat", "flat32", "flat64"):
        raise ImageError(
            "initrd-unused", "a %s image takes no initrd and no modules" % info.kind,
            "leave them out")
    sizes = [len(target.module(f)) for f in files]
    fitting.fit(info, target.memory, sum([layout.align(s) for s in sizes]))
    target.shift = fitting.loader_shift(info) or 0
    layout.bios_data(target)
    _segments(target, name, info)
    return info, _enter(target, name, info, files, sizes, cmdline, tsc_khz)


def _segments(target, name, info):
    packed = hasattr(target.data, "pieces")
    if packed:
        _unpack(target, info)
    for gpa, offset, size, memory in info.segments:
        if size and not packed:
            target.load(gpa, name, offset, size)
        if not target.fresh:
            zero(target, gpa + size, memory - size)


def _unpack(target, info):
    """Puts each piece of a packed image where the segments that hold it lie."""
    for at, piece in target.data.pieces():
        end = at + len(piece)
        for gpa, offset, size, _ in info.segments:
            first, last = max(at, offset), min(end, offset + size)
            if first < last:
                target.write(gpa + first - offset, piece[first - at : last - at])


def zero(target, gpa, size):
    blank = bytes(min(size, ZERO))
    while size:
        part = min(size, ZERO)
        target.write(gpa, blank if part == len(blank) else blank[:part])
        gpa += part
        size -= part


def _enter(target, name, info, files, sizes, cmdline, tsc_khz):
    if info.kind == "linux":
        return linux.enter(target, info, files, sizes, cmdline, tsc_khz)
    if info.kind == "multiboot1":
        return multiboot.enter1(target, name, info, files, sizes, cmdline)
    if info.kind == "multiboot2":
        return multiboot.enter2(target, info, files, sizes, cmdline)
    if info.kind == "pvh":
        return pvh.enter(target, info, files, sizes, cmdline, tsc_khz)
    if info.kind == "elf64":
        # A vmlinux without a PVH note expects its boot parameters in RSI.
        linux.zero_page(target, None, files, sizes, cmdline, info.high, 0)
        return entry.long(target, info.entry, rsi=target.shift + layout.ZERO_PAGE)
    if info.kind == "flat64":
        return entry.long(target, info.entry)
    if info.mode == "real":
        return entry.real(info.entry, rdx=BOOT_DRIVE)
    return entry.protected(target, info.entry)
