"""Boot images: QEMU's list of modules and the raw disk that Bochs boots
(docs/architecture.md, "Boot images")."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .errors import HostError

SECTOR = 512
BOOT_FIELDS = 0x1A0  # in the boot sector: what it loads, from where, to where
_BOOT_FIELDS = struct.Struct("<IIII")  # monitor sectors, directory sector, address, entry
_DIRECTORY = struct.Struct("<8sII496s")
_ENTRY = struct.Struct("<56sQQ200s")
MAGIC = b"VIPERDSK"
NAME_SIZE, ARGS_SIZE, CMDLINE_SIZE = 56, 200, 496
HEADS, SECTORS_PER_TRACK = 16, 63
CYLINDER = HEADS * SECTORS_PER_TRACK * SECTOR


@dataclass(frozen=True)
class Module:
    """A file that the monitor gets with it."""

    name: str
    path: Path
    args: str = ""

    def __post_init__(self) -> None:
        if not self.name or len(self.name.encode()) >= NAME_SIZE or not _is_word(self.name):
            raise HostError(
                f"{self.name!r} cannot name a boot module: one word of at most "
                f"{NAME_SIZE - 1} bytes, please"
            )
        if len(self.args.encode()) >= ARGS_SIZE:
            raise HostError(f"the arguments of module {self.name} exceed {ARGS_SIZE - 1} bytes")


def _is_word(text: str) -> bool:
    return text.isprintable() and not any(c.isspace() for c in text)


def readable(path: Path, what: str = "file") -> Path:
    """`path`, or one sentence why it cannot be read."""
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise HostError(f"cannot read the {what} {path}: {error.strerror}") from None


def qemu_modules(modules: Sequence[Module]) -> str:
    """The value of QEMU's -initrd: files with their strings, commas doubled.

    QEMU cuts the file's name at the first space, so a path may not hold one.
    """
    entries = []
    for module in modules:
        if not _is_word(str(module.path)):
            raise HostError(f"QEMU cannot load {module.path}: its path holds a space")
        entry = f"{module.path} name={module.name} {module.args}".rstrip()
        entries.append(entry.replace(",", ",,"))
    return ",".join(entries)


@dataclass(frozen=True)
class LoadPlan:
    """Where the flat monitor goes and where it starts."""

    address: int
    entry: int


def elf32_plan(path: Path) -> LoadPlan:
    """The load address and the entry of the monitor's ELF32."""
    data = readable(path, "monitor").read_bytes()
    if data[:5] != b"\x7fELF\x01":
        raise HostError(f"{path} is no 32-bit ELF file; run `make build`")
    entry, phoff = struct.unpack_from("<II", data, 24)
    phentsize, phnum = struct.unpack_from("<HH", data, 42)
    addresses = []
    for index in range(phnum):
        kind, _, _, paddr, filesz = struct.unpack_from("<IIIII", data, phoff + index * phentsize)
        if kind == 1 and filesz:
            addresses.append(paddr)
    if not addresses:
        raise HostError(f"{path} has nothing to load; run `make build`")
    return LoadPlan(min(addresses), entry)


def write_disk(
    target: Path,
    *,
    bootsector: bytes,
    monitor: bytes,
    plan: LoadPlan,
    modules: Sequence[Module],
    cmdline: str = "",
) -> int:
    """Write the raw disk image; returns its number of cylinders."""
    if len(bootsector) != SECTOR or bootsector[510:] != b"\x55\xaa":
        raise HostError("build/bootsector.bin is no boot sector; run `make build`")
    if len(cmdline.encode()) >= CMDLINE_SIZE:
        raise HostError(f"the monitor's command line exceeds {CMDLINE_SIZE - 1} bytes")
    monitor_sectors = _sectors(len(monitor))
    directory = 1 + monitor_sectors
    first = directory + 1 + len(modules)
    boot = bytearray(bootsector)
    _BOOT_FIELDS.pack_into(boot, BOOT_FIELDS, monitor_sectors, directory, plan.address, plan.entry)
    with target.open("wb") as disk:
        disk.write(boot)
        disk.write(monitor)
        disk.seek(directory * SECTOR)
        disk.write(_DIRECTORY.pack(MAGIC, 1, len(modules), cmdline.encode()))
        sizes = [readable(module.path).stat().st_size for module in modules]
        sector = first
        for module, size in zip(modules, sizes, strict=True):
            entry = _ENTRY.pack(module.name.encode(), sector, size, module.args.encode())
            disk.write(entry.ljust(SECTOR, b"\0"))
            sector += _sectors(size)
        sector = first
        for module, size in zip(modules, sizes, strict=True):
            disk.seek(sector * SECTOR)
            with module.path.open("rb") as source:
                shutil.copyfileobj(source, disk, 1 << 20)
            sector += _sectors(size)
        cylinders = -(-sector * SECTOR // CYLINDER) or 1
        disk.truncate(cylinders * CYLINDER)
    return cylinders


def _sectors(size: int) -> int:
    return -(-size // SECTOR)


def read_module(disk: BinaryIO, name: str) -> bytes:
    """A module of a raw disk image by its name; b"" when it is not there."""
    boot = disk.read(SECTOR)
    directory = _BOOT_FIELDS.unpack_from(boot, BOOT_FIELDS)[1]
    disk.seek(directory * SECTOR)
    magic, _, count, _ = _DIRECTORY.unpack(disk.read(SECTOR))
    if magic != MAGIC:
        return b""
    for _ in range(min(count, 1024)):
        found, sector, size, _ = _ENTRY.unpack_from(disk.read(SECTOR))
        if found.rstrip(b"\0") == name.encode():
            disk.seek(sector * SECTOR)
            return disk.read(size)
    return b""
