"""Files that people give for a guest image or an initrd, and that are something else."""

# (offset, bytes, rule, what it is, what to do)
PACKED = (
    (0, b"\xfd7zXZ\0", "packed by xz", "xz -dc"),
    (0, b"BZh", "packed by bzip2", "bzip2 -dc"),
    (0, b"\x28\xb5\x2f\xfd", "packed by zstd", "zstd -dc"),
    (0, b"\x04\x22\x4d\x18", "packed by lz4", "lz4 -dc"),
    (0, b"\x02\x21\x4c\x18", "packed by lz4", "lz4 -dc"),
    (0, b"\x89LZO", "packed by lzop", "lzop -dc"),
    (0, b"\x5d\0\0", "packed by lzma", "lzma -dc"),
)
CPIO = (b"070701", b"070702", b"070707", b"\xc7\x71")
DISKS = (
    (0, b"QFI\xfb", "a QCOW disk image"),
    (0, b"KDMV", "a VMDK disk image"),
    (0, b"conectix", "a VHD disk image"),
    (0, b"vhdxfile", "a VHDX disk image"),
    (0, b"VIPERDSK", "a Vipervisor disk"),
    (0x40, b"\x7f\x10\xda\xbe", "a VDI disk image"),
    (0x8001, b"CD001", "an ISO 9660 image"),
    (0x200, b"EFI PART", "a disk image with a GPT"),
)
ARCHIVES = (
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"!<arch>\n", "an ar archive (a library or a .deb)"),
    (0, b"\xed\xab\xee\xdb", "an RPM package"),
    (257, b"ustar", "a tar archive"),
)
DOCUMENTS = (
    (0, b"\xff\xd8\xff", "a picture (JPEG)"), (0, b"\x89PNG\r\n", "a picture (PNG)"),
    (0, b"GIF8", "a picture (GIF)"), (0, b"%PDF-", "a document (PDF)"),
)
# File systems that Linux mounts as a root file system in RAM (init/do_mounts_rd.c).
FILE_SYSTEMS = (
    (0, b"hsqs", "squashfs"), (0, b"-rom1fs-", "romfs"), (0, b"\x45\x3d\xcd\x28", "cramfs"),
    (0x200, b"\x45\x3d\xcd\x28", "cramfs"), (0x438, b"\x53\xef", "ext2"),
    (0x410, b"\x7f\x13", "minix"), (0x410, b"\x8f\x13", "minix"), (0x410, b"\x68\x24", "minix"),
)
GZIP = b"\x1f\x8b"
SECTOR = 512
SIGNATURE = b"\x55\xaa"
TEXT_LOOK = 256


def _at(data, offset, magic):
    return bytes(data[offset : offset + len(magic)]) == magic


def _first(data, rows):
    for row in rows:
        if _at(data, row[0], row[1]):
            return row
    return None


def is_text(data):
    head = bytes(data[: min(len(data), TEXT_LOOK)])
    if not head:
        return False
    for b in head:
        if b >= 127 or b < 32 and b not in (9, 10, 12, 13):
            return False
    return True


def _partitioned(data):
    """An MBR with a partition that makes sense: one active byte, one type."""
    if len(data) <= SECTOR or not _at(data, SECTOR - 2, SIGNATURE):
        return False
    entries = bytes(data[446:510])
    kinds = [entries[i + 4] for i in range(0, 64, 16)]
    return any(kinds) and all([entries[i] in (0, 0x80) for i in range(0, 64, 16)])


def image(data):
    """(rule, what, remedy) of a file that no loader knows, or None."""
    row = _first(data, DOCUMENTS)
    if row:
        return "image-unknown", "it is " + row[2], "give a kernel"
    row = _first(data, PACKED)
    if row:
        return ("image-packed", "it is " + row[2],
                "unpack it: %s FILE > IMAGE" % row[3])
    if bytes(data[:6]) in CPIO or bytes(data[:2]) in CPIO:
        return "image-initrd", "it is a cpio archive, an initrd", None
    row = _first(data, DISKS)
    if row:
        return "image-disk", "it is " + row[2], None
    row = _first(data, ARCHIVES)
    if row:
        return "image-archive", "it is " + row[2], None
    if _at(data, 0, b"MZ"):
        return ("image-efi", "it is a program for UEFI or Windows",
                "give a kernel; a Linux one with an EFI stub is known by its own header")
    if is_text(data):
        return "image-text", "it is text", None
    if _partitioned(data):
        return "image-disk", "it is a disk image with partitions", None
    if len(data) >= SECTOR and _at(data, SECTOR - 2, SIGNATURE):
        return "image-sector", "it ends its first sector as a boot sector does", None
    return None


def initrd(data):
    """(rule, what, remedy) of a file that is no initrd for Linux, or None."""
    if len(data) == 0:
        return "initrd-empty", "the file is empty", None
    if _at(data, 0x202, b"HdrS"):
        return "initrd-kernel", "it is a Linux kernel", None
    if _at(data, 0, b"\x7fELF"):
        return "initrd-kernel", "it is an ELF file", None
    if bytes(data[:2]) == GZIP or _first(data, PACKED) or _first(data, FILE_SYSTEMS):
        return None
    if bytes(data[:6]) in CPIO or bytes(data[:2]) in CPIO:
        return None
    # Padding before an archive: kernels skip zeros (init/initramfs.c).
    if bytes(data[:4]) == b"\0\0\0\0":
        return None
    head = " ".join(["%02x" % b for b in bytes(data[:4])])
    return ("initrd-unknown", "it is no archive that Linux knows (it starts with %s)" % head, None)
