"""A PC in QEMU with a screen and a keyboard and, as sold today, without a serial port: what
it shows is read from its text memory or from the pixels of a screen dump. The one in Bochs is
in bochs_pc.py."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vipervisor import paths
from vipervisor.qemu import Qmp

GREY, BLACK = b"\xaa" * 3, bytes(3)
TEXT_MEMORY, ROWS, COLUMNS = 0xB8000, 25, 80
AHEAD = 3  # keys that QEMU's keyboard surely keeps
LOOK_EVERY = 0.02  # seconds between two looks at the screen: nobody tells of a change
KEYS = {
    " ": "spc", "\n": "ret", "\t": "tab", "\x7f": "backspace", "-": "minus", "=": "equal",
    "[": "bracket_left", "]": "bracket_right", ";": "semicolon", "'": "apostrophe",
    "`": "grave_accent", "\\": "backslash", ",": "comma", ".": "dot", "/": "slash",
}
SHIFTED = dict(zip("!@#$%^&*()_+{}:\"~|<>?", "1234567890-=[];'`\\,./", strict=True))


class Desk:
    """A person before a screen and a keyboard."""

    def press(self, *names: str) -> None:
        """Press keys together (QEMU's names), and release them."""
        raise NotImplementedError

    def lines(self) -> list[str]:
        """The text screen as it is now."""
        raise NotImplementedError

    def type(self, text: str, caps_lock: bool = False) -> None:
        """Type as slowly as a person: QEMU's keyboard forgets keys that wait too long."""
        for piece in re.findall(rf"[ -~]{{1,{AHEAD}}}|[^ -~]", text):
            for c in piece:
                shift = c in SHIFTED or c.isupper()
                plain = SHIFTED.get(c, c.lower())
                self.press(*(["shift"] if shift else []), KEYS.get(plain, plain))
            if piece.isprintable():
                echo = piece.swapcase() if caps_lock else piece
                self.expect(re.escape(echo.rstrip()) + r".*\s*\Z")

    def expect(
        self, pattern: str, limit: float = 60.0, meanwhile: Callable[[], object] | None = None
    ) -> re.Match[str]:
        """Wait until the screen shows it (the whole screen, a line a line)."""
        compiled = re.compile(pattern, re.MULTILINE)
        end = time.monotonic() + limit
        while True:
            match = compiled.search("\n".join(self.lines()))
            if match:
                return match
            if time.monotonic() > end:
                raise AssertionError(f"the screen did not show /{pattern}/ within {limit:g} s")
            if meanwhile is not None:
                meanwhile()
            time.sleep(LOOK_EVERY)

    def ask(self, line: str, answer: str = "") -> None:
        """Type a line at the prompt and wait for its answer, whole lines."""
        self.type(line + "\n")
        self.expect(rf"^>>> {re.escape(line)}\n{answer and answer + chr(10)}>>> *$")


class Pc(Desk):
    """QEMU with a VGA; a context manager that ends it."""

    def __init__(self, folder: Path, arguments: Sequence[str], memory: int = 128) -> None:
        self._folder = folder
        ours, theirs = socket.socketpair()
        program = paths.program("VIPERVISOR_QEMU", ("qemu-system-x86_64",), "QEMU")
        command = [
            str(program), "-nodefaults", "-no-user-config", "-machine", "pc", "-accel", "tcg",
            "-cpu", "max", "-m", f"{memory}M", "-display", "none", "-vga", "std", "-serial", "none",
            "-no-reboot", "-chardev", f"socket,id=qmp,fd={theirs.fileno()}",
            "-mon", "chardev=qmp,mode=control", *arguments,
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self.qmp = Qmp(ours)
        self.qmp.connect()

    def __enter__(self) -> Pc:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            print("the screen:", *self.lines(), sep="\n| ", file=sys.stderr)
        self._process.kill()
        self._process.wait()
        self.qmp.close()

    # --- the keyboard ---

    def press(self, *names: str) -> None:
        """Press keys together (QEMU's names), and release them."""
        keys: list[dict[str, Any]] = [{"type": "qcode", "data": name} for name in names]
        self.qmp.execute("send-key", keys=keys, **{"hold-time": 1})

    # --- the screen ---

    def lines(self) -> list[str]:
        """The text screen as it is now."""
        file = self._folder / "text"
        self.qmp.execute("pmemsave", val=TEXT_MEMORY, size=2 * ROWS * COLUMNS, filename=str(file))
        text = file.read_bytes()[::2].decode("latin-1").replace("\0", " ")
        return [text[at : at + COLUMNS].rstrip() for at in range(0, len(text), COLUMNS)]


class PixelPc(Pc):
    """One whose screen is a framebuffer: its text is found by comparing cells with the font."""

    def __init__(self, folder: Path, arguments: Sequence[str], font: dict[bytes, str]) -> None:
        super().__init__(folder, arguments, memory=256)
        self._cells = {}
        for fore, back in ((GREY, BLACK), (BLACK, GREY)):  # the cursor's cell is inverted
            for glyph, character in font.items():
                bits = "".join(f"{row:08b}" for row in glyph)
                pixels = b"".join(fore if bit == "1" else back for bit in bits)
                self._cells.setdefault(pixels, character)

    def lines(self) -> list[str]:
        file = self._folder / "dump.ppm"
        self.qmp.execute("screendump", filename=str(file))
        width, height, pixels = read_ppm(file.read_bytes())
        rows = []
        for top in range(0, height - 15, 16):
            starts = [3 * width * y for y in range(top, top + 16)]
            row = ""
            for left in range(0, 3 * (width - 7), 24):
                cell = b"".join([pixels[at + left : at + left + 24] for at in starts])
                row += self._cells.get(cell, "\N{REPLACEMENT CHARACTER}")
            rows.append(row.rstrip())
        return rows


def read_ppm(data: bytes) -> tuple[int, int, bytes]:
    """Width, height and pixels of a binary portable pixmap."""
    match = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", data)
    assert match, data[:32]
    return int(match[1]), int(match[2]), data[match.end() :]
