"""Images that `hv build` makes: their names, their bytes, what is read back."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from unit.fake_setup import Hv
from vipervisor import build, iso
from vipervisor.errors import HostError, UsageError
from vipervisor.image import Module

needs_tools = pytest.mark.skipif(
    bool(iso.missing_packages()), reason="GRUB, xorriso or mtools are not installed"
)


@pytest.fixture
def hv(tmp_path: Path) -> Hv:
    """hv with a monitor that is an ELF file by its looks, as far as images go."""
    hv = Hv(tmp_path)
    built = tmp_path / "build"
    source = tmp_path / "m.c"
    source.write_text("void _start(void) {}\n")
    words = ["gcc", "-m32", "-ffreestanding", "-nostdlib", "-static", "-Wl,-e,_start"]
    elf = built / "vipervisor.elf"
    subprocess.run([*words, "-o", str(elf), str(source)], check=True, capture_output=True)
    (built / "vipervisor.bin").write_bytes(b"\xf4" * 3000)
    (built / "bootsector.bin").write_bytes(bytes(510) + b"\x55\xaa")
    return hv


@pytest.mark.parametrize(
    "name, kind", [("a.iso", "iso"), ("a.ISO", "iso"), ("a.img", "disk"), ("a", "folder")]
)
def test_kind_by_name(tmp_path: Path, name: str, kind: str) -> None:
    assert build.kind_of(tmp_path / name) == kind


def test_a_name_that_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an image is an .iso, an .img or a folder"):
        build.kind_of(tmp_path / "a.vdi")
    (tmp_path / "b.iso").mkdir()
    with pytest.raises(UsageError, match="is a folder, not a file"):
        build.kind_of(tmp_path / "b.iso")


def test_menu_quotes_every_word() -> None:
    text = iso.menu([Module("partition.json", Path("p")), Module("it's", Path("q"), "a $b")], "x;y")
    assert "multiboot2 /boot/vipervisor.elf 'x;y'\n" in text
    assert "module2 /boot/modules/0 'partition.json'\n" in text
    assert "module2 /boot/modules/1 'it'\\''s' 'a' '$b'\n" in text


@needs_tools
@pytest.mark.parametrize("target", ["x.iso", "x.img", "x"])
def test_same_input_same_bytes_and_back(hv: Hv, target: str) -> None:
    file = hv.partition(first={"lines": ["hello"]}, second={"lines": ["there"]})
    out = hv.folder / target
    copies = []
    for run in range(2):
        made = hv("build", file, "-o", str(out), "--json", SOURCE_DATE_EPOCH="1000000000")
        assert made.returncode == 0, made.stderr
        report = json.loads(made.stdout)
        assert report["bytes"] == sum(part["bytes"] for part in report["parts"])
        files = sorted(out.rglob("*")) if out.is_dir() else [out]
        copies.append([f.read_bytes() for f in files if f.is_file()])
        if run == 0:  # other dates of the files, another time of day
            for name in ("part.toml", "first.img", "build/vipervisor.elf"):
                os.utime(hv.folder / name, (1, 1))
    assert copies[0] == copies[1]
    opened = build.open_image(out)
    assert [guest["name"] for guest in opened.description["guests"]] == ["first", "second"]
    assert hv.leftovers() == []


@needs_tools
def test_iso_has_both_firmwares(hv: Hv) -> None:
    out = hv.folder / "x.iso"
    assert hv("build", hv.partition(g={}), "-o", str(out)).returncode == 0
    said = subprocess.run(
        ["xorriso", "-indev", str(out), "-report_el_torito", "plain",
         "-report_system_area", "plain"],
        capture_output=True, text=True, check=False,
    ).stdout
    assert "BIOS" in said and "UEFI" in said  # a CD
    assert "grub2-mbr" in said and "GPT type GUID" in said  # a stick
    data = out.read_bytes()
    assert data[510:512] == b"\x55\xaa"


def test_missing_tools_are_named(hv: Hv) -> None:
    made = hv("build", hv.partition(g={}), "-o", str(hv.folder / "x.iso"), PATH="/nowhere",
              VIPERVISOR_GRUB="/nowhere")
    assert made.returncode == 1
    assert "sudo apt-get install grub-common xorriso mtools grub-pc-bin" in made.stderr
    assert len(made.stderr.splitlines()) == 1
    assert not (hv.folder / "x.iso").exists()


def test_folder_of_others_is_left_alone(hv: Hv) -> None:
    mine = hv.folder / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    made = hv("build", hv.partition(g={}), "-o", str(mine))
    assert made.returncode == 2
    assert "holds other files" in made.stderr
    assert [f.name for f in mine.iterdir()] == ["letter.txt"]


def test_script_of_a_folder_is_a_shell_script(hv: Hv) -> None:
    out = hv.folder / "x"
    assert hv("build", hv.partition(g={}), "-o", str(out), "--cmdline", "a b").returncode == 0
    fake = hv.folder / "fake"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    ran = subprocess.run(
        [out / "run.sh", "-more"], env={**hv.env, "QEMU": str(fake)}, capture_output=True,
        text=True, check=True,
    )
    words = ran.stdout.splitlines()
    assert words[words.index("-append") + 1] == "a b"
    assert words[-1] == "-more"
    assert words[words.index("-initrd") + 1].startswith("modules/partition.json name=")


@pytest.mark.parametrize("name", ["x.iso", "x.img"])
def test_what_is_no_image(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"nothing of the kind")
    if name == "x.iso" and iso.missing_packages():
        pytest.skip("xorriso is not installed")
    with pytest.raises(HostError, match="was it made by `hv build`"):
        build.open_image(path)


def test_wrong_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(HostError, match="no number of seconds"):
        iso.source_date()


@pytest.mark.parametrize("said", ["Image size 1354s exceeds free space on media 100s", "Disk full"])
def test_a_full_disk_is_said_in_one_sentence(said: str) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        iso._tool(["sh", "-c", f"echo '{said}' >&2; exit 32"])
    with pytest.raises(HostError, match="sh failed with status 1; it said:\nno"):
        iso._tool(["sh", "-c", "echo no >&2; exit 1"])
