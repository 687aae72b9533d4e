"""Guest images by content: what kind it is, where it goes, how it is entered.

Works on anything that slices to bytes and has a length (bytes, memoryview, mmap),
and reads headers only. Both the host's checks and the loaders stand on it.
"""

import struct

from .packed import Packed, is_packed
from .sizes import size_text

# In the order of detection; the flat ones must be asked for.
KINDS = ("linux", "multiboot2", "multiboot1", "pvh", "elf64", "elf32", "flat", "flat32", "flat64")

MIB = 1 << 20
# Guest memory that the loaders keep for tables, below the first image byte.
LOADER_LOW, LOADER_TOP = 0x1000, 0x10000  # the loaders' tables
LOADER_SHIFT = 0x8F000  # where an image lies there, they begin at 0x90000
LEGACY_HOLE, LEGACY_END = 0x9F000, 0x100000  # EBDA, text screen, firmware
PCI_HOLE = 0xC000_0000

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
MULTIBOOT1_KLUDGE = 1 << 16
MULTIBOOT1_KNOWN = 0x7  # page-aligned modules, memory map, video mode
MB2_ADDRESS, MB2_ENTRY, MB2_OPTIONAL = 2, 3, 1

ELF_MAGIC = b"\x7fELF"
ELFCLASS32, ELFCLASS64, ELFDATA2LSB = 1, 2, 1
EM_386, EM_X86_64 = 3, 62
PT_LOAD, PT_NOTE = 1, 4
XEN_ELFNOTE_PHYS32_ENTRY = 18


class ImageError(ValueError):
    """A bad image: `rule` (an id of the rules), one sentence, and what to do."""

    def __init__(self, rule, what, remedy):
        super().__init__("%s: %s" % (what, remedy))
        self.rule = rule
        self.what = what
        self.remedy = remedy


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


def _u(data, at, form):
    size = struct.calcsize(form)
    part = bytes(data[at : at + size])
    if len(part) < size:
        raise ImageError(
            "image-truncated",
            "the file ends at %s, inside its header" % size_text(len(data)),
            "get the whole file",
        )
    return struct.unpack(form, part)


def unpacked(data):
    """What is in a file that gzip packed; any other file as it is."""
    if not is_packed(data):
        return data
    return Packed(data, ImageError(
        "image-truncated", "it is packed by gzip and cannot be unpacked", "get the whole file"))


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
        raise ImageError("image-truncated", "the file is empty", "get the whole file")
    if kind is None or kind[:4] != "flat":
        data = unpacked(data)
    found = kind or detect(data)
    if found is None:
        head = " ".join(["%02x" % b for b in bytes(data[:4])])
        raise ImageError(
            "image-unknown",
            "not a guest image that is recognised by content (it starts with %s)" % head,
            'give a Linux bzImage, a multiboot kernel or an ELF file, or say kind = "flat",'
            ' "flat32" or "flat64" for raw code',
        )
    if found not in KINDS:
        raise ImageError(
            "kind-unknown", "no kind %s" % found, "use one of %s" % ", ".join(KINDS))
    return _INSPECT[found](data)


def _wrong(kind, why):
    return ImageError(
        "image-invalid", "no %s image: %s" % (kind, why), "leave kind out, it is detected")


def is_linux(data):
    return (
        len(data) > LINUX_MAGIC_AT + 4
        and bytes(data[LINUX_MAGIC_AT : LINUX_MAGIC_AT + 4]) == LINUX_MAGIC
        and bytes(data[BOOT_FLAG : BOOT_FLAG + 2]) == b"\x55\xaa"
    )


def _linux(data):
    if not is_linux(data):
        raise _wrong("linux", "no boot header at 0x202")
    version = _u(data, VERSION, "<H")[0]
    if version < LINUX_OLDEST or not _u(data, LOADFLAGS, "<B")[0] & LOADED_HIGH:
        raise ImageError(
            "image-invalid",
            "boot protocol %d.%02d is too old or a zImage" % (version >> 8, version & 0xFF),
            "use a bzImage of Linux 2.6.20 or later",
        )
    setup = (_u(data, SETUP_SECTS, "<B")[0] or 4) * SECTOR + SECTOR
    size = len(data) - setup
    wanted = _u(data, SYSSIZE, "<I")[0] * 16
    if size + 15 < wanted:
        raise ImageError(
            "image-truncated",
            "the kernel is %s and its header says %s"
            % (size_text(len(data)), size_text(wanted + setup)),
            "get the whole file",
        )
    load, need = MIB, size
    if version >= 0x20A:
        preferred, need = _u(data, PREF_ADDRESS, "<QI")
        # A relocatable kernel takes any aligned place; its wish spares it the move.
        load = preferred if MIB <= preferred < PCI_HOLE else MIB
    wide = version >= 0x20C and bool(_u(data, XLOADFLAGS, "<H")[0] & XLF_KERNEL_64)
    extra = {
        "setup": setup,
        "initrd_max": _u(data, INITRD_ADDR_MAX, "<I")[0],
        "cmdline_max": _u(data, CMDLINE_SIZE, "<I")[0] if version >= 0x206 else 255,
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
            magic, flags, checksum = _u(data, at, "<III")
            if (magic + flags + checksum) & 0xFFFFFFFF == 0:
                return at
    return None


def find_multiboot2(data):
    """Offset of a multiboot 2 header whose checksum is right, or None."""
    for at in _search(data, struct.pack("<I", MULTIBOOT2), MULTIBOOT2_SEARCH, 8):
        if at + 16 <= len(data) and sum(_u(data, at, "<IIII")) & 0xFFFFFFFF == 0:
            return at
    return None


def _load_fields(data, kind, header_at, fields):
    """Segments of an image placed by the header's own address fields."""
    header_addr, load, load_end, bss_end = fields
    start = header_at - (header_addr - load)
    if start < 0 or load > header_addr:
        raise _wrong(kind, "its address fields lie before the start of the file")
    size = (load_end - load) if load_end else len(data) - start
    if start + size > len(data):
        raise ImageError(
            "image-truncated",
            "the file is %s and its header needs %s"
            % (size_text(len(data)), size_text(start + size)),
            "get the whole file",
        )
    return [(load, start, size, max(size, bss_end - load))]


def _multiboot1(data):
    at = find_multiboot1(data)
    if at is None:
        raise _wrong("multiboot1", "no header in its first 8 KiB")
    flags = _u(data, at + 4, "<I")[0]
    if flags & 0xFFFF & ~MULTIBOOT1_KNOWN:
        raise ImageError(
            "image-invalid",
            "its multiboot header requires features %#x that do not exist here" % (flags & 0xFFF8),
            "build the kernel without them",
        )
    if flags & MULTIBOOT1_KLUDGE:
        fields = _u(data, at + 12, "<IIIII")
        segments = _load_fields(data, "multiboot1", at, fields[:4])
        return Image("multiboot1", "protected", fields[4], segments)
    elf = _need_elf(data, "multiboot1")
    return Image("multiboot1", "protected", elf.physical_entry(), elf.segments)


def _multiboot2(data):
    at = find_multiboot2(data)
    if at is None:
        raise _wrong("multiboot2", "no header in its first 32 KiB")
    length = _u(data, at + 8, "<I")[0]
    address = entry = None
    tag, end = at + 16, at + length
    while tag + 8 <= end:
        kind, flags, size = _u(data, tag, "<HHI")
        if kind == 0 or size < 8:
            break
        if kind == MB2_ADDRESS:
            address = _u(data, tag + 8, "<IIII")
        elif kind == MB2_ENTRY:
            entry = _u(data, tag + 8, "<I")[0]
        elif kind in (8, 9) and not flags & MB2_OPTIONAL:  # EFI entry points only
            pass
        tag += (size + 7) & ~7
    if address:
        segments = _load_fields(data, "multiboot2", at, address)
        if entry is None:
            raise _wrong("multiboot2", "it has an address tag and no entry tag")
    else:
        elf = _need_elf(data, "multiboot2")
        segments = elf.segments
        entry = elf.physical_entry() if entry is None else entry
    return Image("multiboot2", "protected", entry, segments)


def _need_elf(data, kind):
    if bytes(data[:4]) != ELF_MAGIC:
        raise _wrong(kind, "neither an ELF file nor address fields in its header")
    return Elf(data)


class Elf:
    """The program headers of an ELF file for x86."""

    def __init__(self, data):
        if bytes(data[:4]) != ELF_MAGIC:
            raise _wrong("elf", "no ELF magic")
        bits, order = _u(data, 4, "<BB")
        if bits not in (ELFCLASS32, ELFCLASS64) or order != ELFDATA2LSB:
            raise _wrong("elf", "not a little-endian 32- or 64-bit file")
        self.data = data
        self.wide = bits == ELFCLASS64
        machine = _u(data, 18, "<H")[0]
        if machine not in (EM_386, EM_X86_64):
            raise ImageError(
                "image-invalid", "an ELF file for machine %d, not x86" % machine,
                "build it for x86 or x86-64")
        if self.wide:
            self.entry, phoff = _u(data, 24, "<QQ")
            phentsize, phnum = _u(data, 54, "<HH")
        else:
            self.entry, phoff = _u(data, 24, "<II")
            phentsize, phnum = _u(data, 42, "<HH")
        self.headers = [self._header(phoff + i * phentsize) for i in range(phnum)]
        self.segments = []
        for kind, offset, _, paddr, filesz, memsz in self.headers:
            if kind == PT_LOAD and memsz:
                self._inside(offset, filesz)
                self.segments.append((paddr, offset, filesz, memsz))
        if not self.segments:
            raise ImageError(
                "image-invalid", "the ELF file has nothing to load",
                "give a linked executable, not an object file")

    def _inside(self, offset, size):
        if offset + size > len(self.data):
            raise ImageError(
                "image-truncated",
                "the file is %s and its program headers need %s"
                % (size_text(len(self.data)), size_text(offset + size)),
                "get the whole file",
            )

    def _header(self, at):
        # kind, offset, virtual address, physical address, file size, memory size
        if self.wide:
            kind, _, offset, vaddr, paddr, filesz, memsz = _u(self.data, at, "<IIQQQQQ")
        else:
            kind, offset, vaddr, paddr, filesz, memsz = _u(self.data, at, "<IIIIII")
        return kind, offset, vaddr, paddr, filesz, memsz

    def physical_entry(self):
        """The entry point as a physical address (it may be given as a virtual one)."""
        for kind, _, vaddr, paddr, _, memsz in self.headers:
            if kind == PT_LOAD and vaddr <= self.entry < vaddr + memsz:
                return self.entry - vaddr + paddr
        return self.entry

    def pvh_entry(self):
        """The 32-bit entry that a Xen PHYS32_ENTRY note names, or None."""
        for kind, offset, _, _, filesz, _ in self.headers:
            if kind != PT_NOTE:
                continue
            self._inside(offset, filesz)
            at, end = offset, offset + filesz
            while at + 12 <= end:
                namesz, descsz, note = _u(self.data, at, "<III")
                name = at + 12
                desc = name + ((namesz + 3) & ~3)
                if note == XEN_ELFNOTE_PHYS32_ENTRY and bytes(self.data[name : name + 3]) == b"Xen":
                    return _u(self.data, desc, "<I")[0]
                at = desc + ((descsz + 3) & ~3)
        return None


def _pvh(data):
    elf = _need_elf(data, "pvh")
    entry = elf.pvh_entry()
    if entry is None:
        raise _wrong("pvh", "no PHYS32_ENTRY note")
    return Image("pvh", "protected", entry, elf.segments)


def _elf(kind, wide, mode):
    def read(data):
        elf = _need_elf(data, kind)
        if elf.wide != wide:
            raise _wrong(kind, "it is %d-bit" % (64 if elf.wide else 32))
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


def loader_shift(image):
    """How far above LOADER_LOW the loader's tables begin: 0 or LOADER_SHIFT, where the
    image leaves room for them; None: nowhere."""
    for shift in (0, LOADER_SHIFT):
        low, top = LOADER_LOW + shift, LOADER_TOP + shift
        if not [1 for gpa, _, _, size in image.segments if gpa < top and gpa + size > low]:
            return shift
    return None


def fit(image, memory, beside=0):
    """Raises ImageError when `image` does not fit into `memory` bytes of guest RAM.

    `beside` is what modules or an initrd need in the same RAM below 4 GiB.
    """
    top = min(memory, PCI_HOLE)
    if image.mode != "real" and loader_shift(image) is None:
        raise ImageError(
            "image-place",
            "it leaves no room below 640 KiB where the loader keeps its tables",
            "leave 0x1000 to 0x10000 or 0x90000 to 0x9f000 free, 1 MiB is the usual place",
        )
    for gpa, _, _, size in image.segments:
        end = gpa + size
        if gpa < LEGACY_END and end > LEGACY_HOLE and end <= top:
            raise ImageError(
                "image-place",
                "it covers %#x to %#x, which holds the screen and the firmware area"
                % (max(gpa, LEGACY_HOLE), min(end, LEGACY_END)),
                "link it at 1 MiB",
            )
        if end > top:
            raise _too_big(image, end, top, beside)
    high = max(image.high, MIB)
    if beside and high + beside > top:
        raise _too_big(image, high + beside, top, beside)


def _too_big(image, need, top, beside):
    if need > PCI_HOLE:
        return ImageError(
            "image-too-big", "it reaches %#x, above the 3 GiB that an image can use" % need,
            "link it lower")
    what = "it needs memory up to %s" % size_text(need)
    if beside:
        what += " with %s of modules" % size_text(beside)
    rounded = (need + 2 * MIB - 1) // (2 * MIB) * 2
    return ImageError(
        "image-too-big", "%s and the guest has %s" % (what, size_text(top)),
        'give it memory = "%dM" or more' % rounded)
