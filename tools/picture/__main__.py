"""`python -m picture FILE.svg`: boot the example partition on a terminal of its own, type a
few lines at its prompt, and draw what was on the terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 180.0  # seconds for one answer
COLUMNS, LINE, CHARACTER, MARGIN = 92, 18, 8.4, 16
# What is waited for on the terminal, then what is typed.
SESSION = (
    (r"shell ready.*>>> ", "hv.guests()"),
    (r"beat .*>>> ", r'linux.console.write("uname -sr\n")'),
    (r">>> ", r'print(linux.console.expect(r"Linux \S+\s"))'),
    (r"Linux \d.*>>> ", "beat.pause(); print(hex(beat.vcpus[0].rip)); beat.resume()"),
    (r"0x.*>>> ", "linux.exits"),
    (r"exits +kind.*>>> ", "exit()"),
)
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Terminal:
    """A program on a pseudo-terminal: wait for text, type."""

    def __init__(self, command: Sequence[str]) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.text = ""
        self._seen = 0

    def read(self, seconds: float) -> bool:
        """Take what comes; False when the program has closed its terminal."""
        if select.select([self._ours], [], [], seconds)[0]:
            try:
                data = os.read(self._ours, 4096)
            except OSError:  # how Linux says it
                return False
            self.text += data.decode(errors="replace")
            return bool(data)
        return True

    def wait(self, pattern: str) -> None:
        compiled, end = re.compile(pattern, re.DOTALL), time.monotonic() + LIMIT
        while True:
            match = compiled.search(self.text, self._seen)
            if match:
                self._seen = match.end()
                return
            if time.monotonic() > end or not self.read(1):
                self._process.kill()
                raise SystemExit(f"picture: no /{pattern}/ on the terminal:\n{self.text}")

    def type(self, line: str) -> None:
        os.write(self._ours, line.encode() + b"\r")

    def finish(self) -> int:
        end = time.monotonic() + LIMIT
        while time.monotonic() < end and self.read(1):
            pass
        if time.monotonic() >= end:
            self._process.kill()
        return self._process.wait()


def shown(text: str) -> list[str]:
    """The terminal's lines: an erased line is replaced by what follows."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        last = re.split(r"\r|\x1b\[K", line)[-1] if "\x1b[K" in line else line
        lines.append(_ESCAPE.sub("", last).replace("\r", "").rstrip())
    while lines and not lines[-1]:
        lines.pop()
    return [part for line in lines for part in wrapped(line)]


def wrapped(line: str) -> list[str]:
    return [line[i : i + COLUMNS] for i in range(0, len(line), COLUMNS)] or [""]


def svg(lines: Sequence[str]) -> str:
    width = round(COLUMNS * CHARACTER) + 2 * MARGIN
    height = len(lines) * LINE + 2 * MARGIN
    rows = []
    for number, line in enumerate(lines):
        colour = "#8fd18f" if line.startswith((">>> ", "$ ")) else "#d8dee9"
        rows.append(
            f'<text x="{MARGIN}" y="{MARGIN + LINE * number + 13}" fill="{colour}" '
            f'xml:space="preserve">{escape(line)}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="monospace" font-size="14">\n'
        f'<rect width="100%" height="100%" rx="8" fill="#1b2028"/>\n'
        + "\n".join(rows)
        + "\n</svg>\n"
    )


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m picture FILE.svg", file=sys.stderr)
        return 2
    terminal = Terminal([str(ROOT / "tools" / "hv"), "boot", "examples/first.toml"])
    for pattern, line in SESSION:
        terminal.wait(pattern)
        terminal.type(line)
    status = terminal.finish()
    if status != 0:
        print(f"picture: hv boot ended with status {status}:\n{terminal.text}", file=sys.stderr)
        return 1
    lines = ["$ tools/hv boot examples/first.toml", *shown(terminal.text)]
    Path(sys.argv[1]).write_text(svg(lines))
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
