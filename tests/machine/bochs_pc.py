"""A PC in Bochs without a serial port: its screen and keyboard are those of Bochs' own server
for the remote framebuffer protocol (RFC 6143), on a port of this machine."""

from __future__ import annotations

import re
import select
import socket
import struct
import sys
import time
from pathlib import Path

from vipervisor.bochs import Bochs
from vipervisor.emulator import Setup

from .pc import COLUMNS, KEYS, ROWS, Desk

CONNECT_LIMIT = 60.0
LOOK_EVERY = 0.05  # Bochs tells the port in its log only
ANSWER_LIMIT = 30.0
# Bochs shows a bar above the screen; a cell of text is 9 pixels wide, the glyph 8.
BAR, CELL_WIDTH, GLYPH_WIDTH, GLYPH_HEIGHT = 32, 9, 8, 16
CURSOR = range(13, 15)  # the rows of a cell that it inverts, as the BIOS sets it
# RFC 6143, 7.5 and 7.6: messages from and to the client, and an encoding.
UPDATE, SET_ENCODINGS, UPDATE_REQUEST, KEY_EVENT, RAW = 0, 2, 3, 4, 0
# X11's numbers of keys that are no characters, by QEMU's names.
KEYSYMS = {
    "shift": 0xFFE1, "ctrl": 0xFFE3, "caps_lock": 0xFFE5, "ret": 0xFF0D, "tab": 0xFF09,
    "backspace": 0xFF08, "delete": 0xFFFF, "home": 0xFF50, "left": 0xFF51, "up": 0xFF52,
    "end": 0xFF57,
}
CHARACTERS = {name: character for character, name in KEYS.items()}


class BochsPc(Desk):
    """Bochs with VT-x and without a serial port; a context manager that ends it."""

    def __init__(self, folder: Path) -> None:
        self._emulator = Bochs(Setup(cpus=1, memory=128 << 20, backend="vmx"), folder)
        self._emulator.describe()  # which writes the disk and the configuration
        config = folder / "bochsrc"
        text, lines = re.subn(r"(?m)^(com[12]): .*$", r"\1: enabled=0", config.read_text())
        assert lines == 2
        # Bochs waits so long for the one that looks on.
        text = text.replace('options="timeout=0"', f'options="timeout={CONNECT_LIMIT:g}"')
        config.write_text(text)
        self._emulator.spawn([self._emulator.program, "-q", "-f", config, "-rc", "commands"])
        try:
            self._socket = self._connect(folder / "bochs.log")
            self._cells = read_cells(self._emulator.vga.read_bytes())
        except BaseException:
            self._emulator.kill()
            raise

    def __enter__(self) -> BochsPc:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if error is not None:
                print("the screen:", *self.lines(), sep="\n| ", file=sys.stderr)
        finally:
            self._socket.close()
            self._emulator.kill()

    def _connect(self, log: Path) -> socket.socket:
        end = time.monotonic() + CONNECT_LIMIT
        while True:
            told = log.read_text(errors="replace") if log.exists() else ""
            match = re.search(r"listening for connections on port (\d+)", told)
            if match:
                break
            assert time.monotonic() < end, f"Bochs told no port in {CONNECT_LIMIT:g} s:\n{told}"
            time.sleep(LOOK_EVERY)
        self._socket = socket.create_connection(("127.0.0.1", int(match[1])), ANSWER_LIMIT)
        version = self._read(12)
        self._socket.sendall(version)
        assert self._read(4) == struct.pack(">I", 1), "Bochs wants a password"
        self._socket.sendall(b"\1")  # others may look on
        self._width, self._height = struct.unpack(">HH", self._read(4))
        self._read(16)  # how a pixel looks: one byte
        self._read(struct.unpack(">I", self._read(4))[0])
        self._pixels = bytearray(self._width * self._height)
        self._socket.sendall(struct.pack(">BxHi", SET_ENCODINGS, 1, RAW))
        self._ask_for_update()
        return self._socket

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            assert piece, "Bochs has ended"
            data += piece
        return data

    def _ask_for_update(self) -> None:
        place = (0, 0, self._width, self._height)
        self._socket.sendall(struct.pack(">BBHHHH", UPDATE_REQUEST, 1, *place))

    def _update(self) -> None:
        """Read what Bochs sends of the screen."""
        kind, count = struct.unpack(">BxH", self._read(4))
        assert kind == UPDATE, f"message {kind} of Bochs is unknown"
        for _ in range(count):
            left, top, width, height, encoding = struct.unpack(">HHHHi", self._read(12))
            assert encoding == RAW
            data = self._read(width * height)
            for row in range(height):
                at = (top + row) * self._width + left
                self._pixels[at : at + width] = data[row * width : (row + 1) * width]
        self._ask_for_update()

    def press(self, *names: str) -> None:
        keys = [KEYSYMS.get(name) or ord(CHARACTERS.get(name, name)) for name in names]
        for down, order in ((1, keys), (0, keys[::-1])):
            for key in order:
                self._socket.sendall(struct.pack(">BBxxI", KEY_EVENT, down, key))

    def lines(self) -> list[str]:
        while select.select([self._socket], [], [], 0)[0]:
            self._update()
        rows = []
        for row in range(ROWS):
            top = BAR + row * GLYPH_HEIGHT
            starts = [self._width * y for y in range(top, top + GLYPH_HEIGHT)]
            text = ""
            for left in range(0, COLUMNS * CELL_WIDTH, CELL_WIDTH):
                pixels = [self._pixels[at + left : at + left + GLYPH_WIDTH] for at in starts]
                bits = bytes(sum(0x80 >> i for i, p in enumerate(line) if p) for line in pixels)
                text += self._cells.get(bits, "\N{REPLACEMENT CHARACTER}")
            rows.append(text.rstrip())
        return rows


def read_cells(rom: bytes) -> dict[bytes, str]:
    """The characters of ASCII by their glyphs in the BIOS of the VGA, without and with a cursor."""
    letter = bytes.fromhex("00001038 6cc6c6fe c6c6c6c6 00000000")  # its A
    font = rom.index(letter) - GLYPH_HEIGHT * ord("A")
    cells: dict[bytes, str] = {}
    for cursor in ((), CURSOR):
        for code in range(0x20, 0x7F):
            glyph = bytearray(rom[font + GLYPH_HEIGHT * code :][:GLYPH_HEIGHT])
            for row in cursor:
                glyph[row] ^= 0xFF
            cells.setdefault(bytes(glyph), chr(code))
    return cells
