"""QEMU's module list and the raw disk of Bochs."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from vipervisor.errors import HostError
from vipervisor.image import LoadPlan, Module, elf32_plan, qemu_modules, write_disk

BOOT = bytes(510) + b"\x55\xaa"
PLAN = LoadPlan(0x200000, 0x20000C)


def test_qemu_module_list() -> None:
    modules = [Module("partition.json", Path("p")), Module("a", Path("m,1"), "x=1,2")]
    assert qemu_modules(modules) == "p name=partition.json,m,,1 name=a x=1,,2"


def test_qemu_module_with_a_space() -> None:
    with pytest.raises(HostError, match="holds a space"):
        qemu_modules([Module("a", Path("my file"))])


@pytest.mark.parametrize("name", ["", "two words", "x" * 56])
def test_bad_module_names(name: str) -> None:
    with pytest.raises(HostError, match="cannot name a boot module"):
        Module(name, Path("f"))


def test_disk(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"A" * 700)
    second.write_bytes(b"")
    monitor = b"M" * 1025
    disk = tmp_path / "disk.img"
    cylinders = write_disk(
        disk,
        bootsector=BOOT,
        monitor=monitor,
        plan=PLAN,
        modules=[Module("one", first, "a=1"), Module("two", second)],
        cmdline="line",
    )
    data = disk.read_bytes()
    assert len(data) == cylinders * 16 * 63 * 512
    assert data[510:512] == b"\x55\xaa"
    sectors, directory, address, entry = struct.unpack_from("<IIII", data, 0x1A0)
    assert (sectors, directory, address, entry) == (3, 4, 0x200000, 0x20000C)
    assert data[512 : 512 + 1025] == monitor
    at = directory * 512
    assert data[at : at + 16] == b"VIPERDSK" + struct.pack("<II", 1, 2)
    assert data[at + 16 : at + 512].rstrip(b"\0") == b"line"
    name, sector, size, args = struct.unpack_from("<56sQQ200s", data, at + 512)
    assert (name.rstrip(b"\0"), size, args.rstrip(b"\0")) == (b"one", 700, b"a=1")
    assert data[sector * 512 : sector * 512 + size] == b"A" * 700
    name, _, size, _ = struct.unpack_from("<56sQQ200s", data, at + 1024)
    assert (name.rstrip(b"\0"), size) == (b"two", 0)


def test_disk_wants_a_boot_sector(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="make build"):
        write_disk(tmp_path / "d", bootsector=b"", monitor=b"", plan=PLAN, modules=[])


def test_disk_with_a_missing_module(tmp_path: Path) -> None:
    modules = [Module("gone", tmp_path / "gone")]
    with pytest.raises(HostError, match="cannot read the file .*gone: No such file"):
        write_disk(tmp_path / "d", bootsector=BOOT, monitor=b"", plan=PLAN, modules=modules)


def elf32(headers: list[tuple[int, int, int]]) -> bytes:
    """An ELF32 of (type, physical address, size in the file) program headers."""
    head = b"\x7fELF\x01\x01\x01" + bytes(9)
    head += struct.pack(
        "<HHIIIIIHHHHHH", 2, 3, 1, 0x20000C, 52, 0, 0, 52, 32, len(headers), 0, 0, 0
    )
    for kind, address, size in headers:
        head += struct.pack("<8I", kind, 0, 0, address, size, size, 7, 4)
    return head


def test_elf_plan(tmp_path: Path) -> None:
    path = tmp_path / "e"
    # A note and a segment without bytes in the file do not count.
    path.write_bytes(elf32([(4, 0x1000, 9), (1, 0x300000, 5), (1, 0x200000, 8), (1, 0x100, 0)]))
    assert elf32_plan(path) == PLAN


@pytest.mark.parametrize("data", [b"", b"\x7fELF\x02" + bytes(100), elf32([])])
def test_no_monitor(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "e"
    path.write_bytes(data)
    with pytest.raises(HostError, match="make build"):
        elf32_plan(path)
