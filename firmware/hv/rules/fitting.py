"""Whether an image fits into a guest's memory, and beside what the loaders keep there."""

from .errors import ImageError
from .sizes import size_text

MIB = 1 << 20
# Guest memory that the loaders keep for tables, below the first image byte.
LOADER_LOW, LOADER_TOP = 0x1000, 0x10000
LOADER_SHIFT = 0x8F000  # where an image lies there, they begin at 0x90000
LEGACY_HOLE, LEGACY_END = 0x9F000, 0x100000  # EBDA, text screen, firmware
PCI_HOLE = 0xC000_0000
LINUX_WORK = 8 * MIB  # what a small Linux wants beside itself and its initrd


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
    for gpa, offset, _, size in image.segments:
        end = gpa + size
        if gpa < LEGACY_END and end > LEGACY_HOLE and end <= top:
            what, remedy = "it covers", "link it at 1 MiB"
            if offset == 0 and end <= LEGACY_END and image.high > LEGACY_END:
                what = "its ELF headers, which the linker loads in front of the code, cover"
                remedy = "link it with -n (gcc -Wl,-n), which does not load them"
            raise ImageError(
                "image-place",
                "%s %#x to %#x, which holds the screen and the firmware area"
                % (what, max(gpa, LEGACY_HOLE), min(end, LEGACY_END)),
                remedy,
            )
        if end > top:
            raise _too_big(image, end, top, beside)
    high = max(image.high, MIB)
    if beside and high + beside > top:
        raise _too_big(image, high + beside, top, beside)


def _too_big(image, need, top, beside):
    if need > PCI_HOLE:
        return ImageError(
            "image-high", "it reaches %#x, above the 3 GiB that an image can use" % need)
    what = "it needs memory up to %s" % size_text(need)
    if beside:
        what += " with %s of modules" % size_text(beside)
    rounded = (need + 2 * MIB - 1) // (2 * MIB) * 2
    return ImageError(
        "image-too-big", "%s and the guest has %s" % (what, size_text(top)),
        'give it memory = "%dM" or more' % rounded)


def fit_linux(image, memory, packed, unpacked):
    """Raises ImageError when Linux cannot unpack itself and its initrd, `packed` bytes
    that become `unpacked`."""
    need = sum([s[3] for s in image.segments]) + packed + unpacked + LINUX_WORK
    if need > memory:
        rounded = (need + 2 * MIB - 1) // (2 * MIB) * 2
        raise ImageError(
            "memory-linux", "the kernel wants %s, its initrd %s, and %s unpacked; the guest has %s"
            % (size_text(image.segments[0][3]), size_text(packed), size_text(unpacked),
               size_text(memory)),
            'give it memory = "%dM" or more' % rounded)
