"""The table of glyphs that the screen on a framebuffer is drawn with."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import font
import pytest

ROOT = Path(__file__).resolve().parents[2]


def small_font(glyph: bytes, codes: range = range(font.FIRST, font.LAST + 1)) -> bytes:
    """A font of GRUB's format in which every character looks the same."""
    head = b"FILE\0\0\0\x04PFF2" + b"ASCE\0\0\0\x02\0\x0e"
    place = len(head) + 8 + 9 * len(codes) + 8
    index = b"".join(struct.pack(">IBI", code, 0, place) for code in codes)
    chix = b"CHIX" + struct.pack(">I", len(index)) + index
    return head + chix + b"DATA\xff\xff\xff\xff" + glyph


def test_a_glyph_is_placed_in_its_cell() -> None:
    # 3 by 2 pixels, one from the left, standing 2 above the baseline: 101 010.
    data = small_font(struct.pack(">HHhhh", 3, 2, 1, 2, 8) + bytes([0b10101000]))
    rows = font.glyphs(data)[ord("A")]
    assert rows == [0] * 10 + [0b01010000, 0b00100000] + [0] * 4
    assert font.header(data).count("{ 0x00,") == 95


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"no font at all", "this is no PFF2 font"),
        (small_font(struct.pack(">HHhhh", 9, 1, 0, 0, 8) + b"\xff\xff"), "not fit into 8 by 16"),
        (small_font(bytes(10), range(0x20, 0x40)), "it has no glyph for '@'"),
    ],
)
def test_what_is_no_font(data: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "x.pf2").write_bytes(data)
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "font.py"), "x.pf2", "out.h"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 1 and not (tmp_path / "out.h").exists()
    assert len(done.stderr.splitlines()) == 1
    assert why in done.stderr
    assert "apt-get install grub-common" in done.stderr


def test_the_monitor_s_own() -> None:
    source = ROOT / "build" / "gen" / "font.h"
    rows = [line for line in source.read_text().splitlines() if line.startswith("    { ")]
    assert len(rows) == len(set(rows)) == 95
