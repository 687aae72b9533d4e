"""Guest images by content: what kind it is, where it goes, how it is entered.

Works on anything that slices to bytes and has a length (bytes, memoryview, mmap),
and reads headers only. Both the host's checks and the loaders stand on it.
"""

import struct

from . import mistaken
from .elf import ELF_MAGIC, Elf
from .errors import ImageError, entered, field, invalid, other_kind
from .fitting import MIB, PCI_HOLE
from .packed import Packed, is_packed
from .sizes import size_text

# In the order of detection; the flat ones must be asked for.
KINDS = ("linux", "multiboot2", "multiboot1", "pvh", "elf64", "elf32", "flat", "flat32", "flat64")


SECTOR = 512
# Linux/x86 boot protocol (Documentation/arch/x86/boot.rst), offsets in the file.
LINUX_MAGIC_AT, LINUX_MAGIC = 0x202, b"HdrS"
SETUP_SECTS, BOOT_FLAG, VERSION, LOADFLAGS = 0x1F1, 0x1FE, 0x206, 0x211
INITRD_ADDR_MAX, RELOCATABLE, XLOADFLAGS = 0x22C, 0x234, 0x236
CMDLINE_SIZE, PREF_ADDRESS, INIT_SIZE = 0x238, 0x258, 0x260
SYSSIZE, KERNEL_ALIGNMENT = 0x1F4, 0x230
LOADED_HIGH, XLF_KERNEL_64 = 1, 1
LINUX_64_ENTRY = 0x200  # of startup_64, from the load address
LINUX_OLDEST = 0x205

# Multiboot 0.6.96 and Multiboot2 2.0.
MULTIBOOT1, MULTIBOOT1_SEARCH = 0x1BADB002, 8192
MULTIBOOT2, MULTIBOOT2_SEARCH = 0xE85250D6, 32768
HEADER_LOOK = 65536  # how far a multiboot header is looked for that is out of place
MULTIBOOT1_KLUDGE = 1 << 16
MULTIBOOT1_KNOWN = 0x7  # page-aligned modules, memory map, video mode
MB2_ADDRESS, MB2_ENTRY, MB2_OPTIONAL = 2, 3, 1
MB2_KNOWN = range(1, 11)  # 3.1.5 to 3.1.13; what is no wish of ours (EFI, screen) is no harm


class Image:
    """What the header of an image says.

    `segments` are (guest address, offset in the file, bytes from the file, bytes
    in memory); `mode` is "real", "protected" or "long"; `low` and `high` bound
    the memory it takes; `extra` holds what the kind's own loader needs.
    """

    def __init__(self, kind, mode, entry, segments, extra=None):
        self.kind = kind
        self.mode = mode
        self.entry = entry
        self.segments = segments
        self.extra = extra or {}
        self.low = min([s[0] for s in segments])
        self.high = max([s[0] + s[3] for s in segments])

    def __repr__(self):
        return "<%s image, %s mode, entry %#x, memory %#x to %#x>" % (
            self.kind, self.mode, self.entry, self.low, self.high)


def unpacked(data):
    """What is in a file that gzip packed; any other file as it is."""
    if not is_packed(data):
        return data
    return Packed(data, ImageError("image-gzip", "it is packed by gzip and cannot be unpacked"))


def detect(data):
    """The kind of an image by its content, or None when only `kind` can tell."""
    if is_linux(data):
        return "linux"
    if find_multiboot2(data) is not None:
        return "multiboot2"
    if find_multiboot1(data) is not None:
        return "multiboot1"
    if bytes(data[:4]) == ELF_MAGIC:
        elf = Elf(data)
        if elf.pvh_entry() is not None:
            return "pvh"
        return "elf64" if elf.wide else "elf32"
    return None


def inspect(data, kind=None):
    """The Image in `data`; raises ImageError. `kind` insists on a kind."""
    if len(data) == 0:
        raise ImageError("image-empty", "the file is empty")
    if kind is None or kind[:4] != "flat":
        data = unpacked(data)
    found = kind or detect(data)
    if found is None:
        better = mistaken.image(data)
        if better:
            raise ImageError(*better)
        head = " ".join(["%02x" % b for b in bytes(data[:4])])
        raise ImageError(
            "image-unknown",
            "not a guest image that is recognised by content (it starts with %s)" % head,
            'give a Linux bzImage, a multiboot kernel or an ELF file, or say kind = "flat",'
            ' "flat32" or "flat64" for raw code',
        )
    if kind is None and found in ("elf32", "elf64"):
        _no_broken_header(data, found)
    if found not in KINDS:
        raise ImageError(
            "kind-unknown", "no kind %s" % found, "use one of %s" % ", ".join(KINDS))
    return _INSPECT[found](data)


def is_linux(data):
    return (
        len(data) > LINUX_MAGIC_AT + 4
        and bytes(data[LINUX_MAGIC_AT : LINUX_MAGIC_AT + 4]) == LINUX_MAGIC
        and bytes(data[BOOT_FLAG : BOOT_FLAG + 2]) == b"\x55\xaa"
    )


def _linux(data):
    if not is_linux(data):
        raise other_kind("linux", "no boot header at 0x202")
    version = field(data, VERSION, "<H")[0]
    if version < LINUX_OLDEST or not field(data, LOADFLAGS, "<B")[0] & LOADED_HIGH:
        raise ImageError(
            "image-old",
            "boot protocol %d.%02d is too old or a zImage" % (version >> 8, version & 0xFF),
            "use a bzImage of Linux 2.6.20 or later",
        )
    setup = (field(data, SETUP_SECTS, "<B")[0] or 4) * SECTOR + SECTOR
    size = len(data) - setup
    wanted = field(data, SYSSIZE, "<I")[0] * 16
    if size + 15 < wanted:
        raise ImageError(
            "image-truncated",
            "the kernel is %s and its header says %s"
            % (size_text(len(data)), size_text(wanted + setup)))
    load, need = MIB, size
    if version >= 0x20A:
        preferred, need = field(data, PREF_ADDRESS, "<QI")
        # A relocatable kernel takes any aligned place; its wish spares it the move.
        load = preferred if MIB <= preferred < PCI_HOLE else MIB
    wide = version >= 0x20C and bool(field(data, XLOADFLAGS, "<H")[0] & XLF_KERNEL_64)
    extra = {
        "setup": setup,
        "initrd_max": field(data, INITRD_ADDR_MAX, "<I")[0],
        "cmdline_max": field(data, CMDLINE_SIZE, "<I")[0] if version >= 0x206 else 255,
    }
    entry = load + LINUX_64_ENTRY if wide else load
    segments = [(load, setup, size, max(size, need))]
    return Image("linux", "long" if wide else "protected", entry, segments, extra)


def _search(data, magic, limit, step):
    head = bytes(data[:limit])
    at = head.find(magic)
    while at >= 0:
        if at % step == 0:
            yield at
        at = head.find(magic, at + 1)


def find_multiboot1(data):
    """Offset of a multiboot 1 header whose checksum is right, or None."""
    for at in _search(data, struct.pack("<I", MULTIBOOT1), MULTIBOOT1_SEARCH, 4):
        if at + 12 <= len(data):
            magic, flags, checksum = field(data, at, "<III")
            if (magic + flags + checksum) & 0xFFFFFFFF == 0:
                return at
    return None


def find_multiboot2(data):
    """Offset of a multiboot 2 header whose checksum is right, or None."""
    for at in _search(data, struct.pack("<I", MULTIBOOT2), MULTIBOOT2_SEARCH, 8):
        if at + 16 <= len(data) and sum(field(data, at, "<IIII")) & 0xFFFFFFFF == 0:
            return at
    return None


def _no_broken_header(data, kind):
    """An ELF file is not entered as one when its author gave it a multiboot header that
    loaders overlook."""
    head = bytes(data[:HEADER_LOOK])
    for magic, limit, step, words in (
            (MULTIBOOT1, MULTIBOOT1_SEARCH, 4, 3), (MULTIBOOT2, MULTIBOOT2_SEARCH, 8, 4)):
        word = struct.pack("<I", magic)
        at = head.find(word)
        while 0 <= at <= len(head) - 4 * words:
            right = sum(struct.unpack_from("<%dI" % words, head, at)) & 0xFFFFFFFF == 0
            what = "its multiboot header at %#x of the file " % at
            if right and at % step:
                what += "is not at a multiple of %d" % step
                raise ImageError("image-header", what, "write .balign %d before it" % step)
            if right and at + 4 * words > limit:
                raise ImageError(
                    "image-header", what + "is not in the first %d KiB" % (limit >> 10),
                    "have the linker put its section first")
            if not right and at % step == 0 and at < limit:
                raise ImageError(
                    "image-header", what + "has a wrong checksum",
                    'make its %d words add up to 0, or say kind = "%s"' % (words, kind))
            at = head.find(word, at + 1)


def _load_fields(data, kind, header_at, fields):
    """Segments of an image placed by the header's own address fields."""
    header_addr, load, load_end, bss_end = fields
    start = header_at - (header_addr - load)
    if start < 0 or load > header_addr:
        raise invalid(kind, "its address fields lie before the start of the file")
    size = (load_end - load) if load_end else len(data) - start
    if start + size > len(data):
        raise ImageError(
            "image-truncated",
            "the file is %s and its header needs %s"
            % (size_text(len(data)), size_text(start + size)))
    return [(load, start, size, max(size, bss_end - load))]


def _multiboot1(data):
    at = find_multiboot1(data)
    if at is None:
        raise other_kind("multiboot1", "no header in its first 8 KiB")
    flags = field(data, at + 4, "<I")[0]
    if flags & 0xFFFF & ~MULTIBOOT1_KNOWN:
        raise ImageError(
            "image-features",
            "its multiboot header requires features %#x that do not exist here"
            % (flags & 0xFFF8))
    if flags & MULTIBOOT1_KLUDGE:
        fields = field(data, at + 12, "<IIIII")
        segments = _load_fields(data, "multiboot1", at, fields[:4])
        return Image("multiboot1", "protected", entered(fields[4], segments), segments)
    elf = _need_elf(data, "multiboot1")
    return Image("multiboot1", "protected", elf.physical_entry(), elf.segments)


def _multiboot2(data):
    at = find_multiboot2(data)
    if at is None:
        raise other_kind("multiboot2", "no header in its first 32 KiB")
    length = field(data, at + 8, "<I")[0]
    address = entry = None
    tag, end = at + 16, at + length
    while tag + 8 <= end:
        kind, flags, size = field(data, tag, "<HHI")
        if kind == 0 or size < 8:
            break
        if kind == MB2_ADDRESS:
            address = field(data, tag + 8, "<IIII")
        elif kind == MB2_ENTRY:
            entry = field(data, tag + 8, "<I")[0]
        elif kind not in MB2_KNOWN and not flags & MB2_OPTIONAL:
            raise ImageError(
                "image-features", "its multiboot header requires tag %d that is not known" % kind)
        tag += (size + 7) & ~7
    if address:
        segments = _load_fields(data, "multiboot2", at, address)
        if entry is None:
            raise invalid("multiboot2", "it has an address tag and no entry tag")
    else:
        elf = _need_elf(data, "multiboot2")
        segments = elf.segments
        entry = elf.physical_entry() if entry is None else entry
    return Image("multiboot2", "protected", entered(entry, segments), segments)


def _need_elf(data, kind):
    if bytes(data[:4]) != ELF_MAGIC:
        if kind in ("multiboot1", "multiboot2"):
            raise invalid(kind, "neither an ELF file nor address fields in its header")
        raise other_kind(kind, "no ELF file")
    return Elf(data)


def _pvh(data):
    elf = _need_elf(data, "pvh")
    entry = elf.pvh_entry()
    if entry is None:
        raise other_kind("pvh", "no PHYS32_ENTRY note")
    return Image("pvh", "protected", entered(entry, elf.segments), elf.segments)


def _elf(kind, wide, mode):
    def read(data):
        elf = _need_elf(data, kind)
        if elf.wide != wide:
            raise other_kind(kind, "it is %d-bit" % (64 if elf.wide else 32))
        if elf.is_program():
            raise ImageError(
                "image-program", "it is a program that asks for %s" % elf.interpreter())
        return Image(kind, mode, elf.physical_entry(), elf.segments)

    return read


def _flat(kind, mode, at):
    def read(data):
        return Image(kind, mode, at, [(at, 0, len(data), len(data))])

    return read


BOOT_SECTOR = 0x7C00

_INSPECT = {
    "linux": _linux,
    "multiboot1": _multiboot1,
    "multiboot2": _multiboot2,
    "pvh": _pvh,
    "elf64": _elf("elf64", True, "long"),
    "elf32": _elf("elf32", False, "protected"),
    "flat": _flat("flat", "real", BOOT_SECTOR),
    "flat32": _flat("flat32", "protected", MIB),
    "flat64": _flat("flat64", "long", MIB),
}
