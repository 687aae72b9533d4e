"""`python tools/font.py FONT.pf2 OUT.h`: the ASCII glyphs of a GRUB font as a C table.

GNU Unifont comes with GRUB (package grub-common), 8 by 16 pixels, under the SIL Open Font
License 1.1 or the GNU GPL 2+ with the font embedding exception: both allow a program to
carry its glyphs. The format is GRUB's own (GRUB developers' manual, "PFF2 font format")."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

FIRST, LAST = 0x20, 0x7E
HEIGHT, WIDTH = 16, 8


class FontError(Exception):
    """The font is no font, or lacks a glyph."""


def sections(data: bytes) -> dict[bytes, tuple[int, int]]:
    """Where each section's content begins and ends."""
    if data[:12] != b"FILE\0\0\0\x04PFF2":
        raise FontError("this is no PFF2 font")
    found: dict[bytes, tuple[int, int]] = {}
    offset = 0
    while offset + 8 <= len(data):
        name, size = struct.unpack_from(">4sI", data, offset)
        if name == b"DATA":  # the rest, whatever its size says
            return found
        found[name] = (offset + 8, offset + 8 + size)
        offset += 8 + size
    return found


def glyphs(data: bytes) -> dict[int, list[int]]:
    """The rows of each ASCII glyph, the leftmost pixel in bit 7."""
    parts = sections(data)
    (ascent,) = struct.unpack_from(">H", data, parts[b"ASCE"][0])
    start, end = parts[b"CHIX"]
    found: dict[int, list[int]] = {}
    for at in range(start, end, 9):
        code, flags, place = struct.unpack_from(">IBI", data, at)
        if FIRST <= code <= LAST:
            if flags:
                raise FontError(f"the glyph of {code:#x} is compressed")
            found[code] = _glyph(data, place, ascent)
    missing = [code for code in range(FIRST, LAST + 1) if code not in found]
    if missing:
        raise FontError(f"it has no glyph for {chr(missing[0])!r}")
    return found


def _glyph(data: bytes, place: int, ascent: int) -> list[int]:
    width, height, x0, y0, _ = struct.unpack_from(">HHhhh", data, place)
    rows = [0] * HEIGHT
    top = ascent - y0 - height  # the bitmap's first row, from the cell's top
    for y in range(height):
        for x in range(width):
            bit = y * width + x  # rows are not padded
            if data[place + 10 + bit // 8] >> (7 - bit % 8) & 1:
                if not (0 <= top + y < HEIGHT and 0 <= x0 + x < WIDTH):
                    raise FontError(f"a glyph does not fit into {WIDTH} by {HEIGHT} pixels")
                rows[top + y] |= 0x80 >> (x0 + x)
    return rows


def header(data: bytes) -> str:
    """The C header."""
    lines = [
        "// The ASCII glyphs of GNU Unifont (SIL Open Font License 1.1, or GNU GPL 2+ with the",
        "// font embedding exception); made by tools/font.py from the font that GRUB has.",
        "#include <stdint.h>",
        "",
        f"enum {{ FONT_FIRST = {FIRST:#x}, FONT_LAST = {LAST:#x}, FONT_HEIGHT = {HEIGHT} }};",
        "",
        f"static const uint8_t font[{LAST - FIRST + 1}][FONT_HEIGHT] = {{",
    ]
    for _, rows in sorted(glyphs(data).items()):
        lines.append("    { " + ", ".join(f"0x{row:02X}" for row in rows) + " },")
    return "\n".join([*lines, "};", ""])


def main() -> int:
    source, target = map(Path, sys.argv[1:])
    try:
        text = header(source.read_bytes())
    except (OSError, FontError, KeyError, struct.error) as error:
        print(
            f"font: {source} cannot be used: {error}; it belongs to the package grub-common "
            "(sudo apt-get install grub-common), or name another: make FONT=...",
            file=sys.stderr,
        )
        return 1
    target.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
