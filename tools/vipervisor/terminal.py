"""This process's terminal: raw mode that is always undone, and relays to a line."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import termios
import tty
from collections.abc import Iterator

CTRL_CLOSE = b"\x1d"  # Ctrl-], leaves `hv boot` and `hv repl`
CTRL_LEAVE = b"\x1c"  # Ctrl-\, leaves `hv console`


def stand_in() -> None:
    """The three standard streams, whatever the caller has made of them: one that is closed is
    /dev/null, and what its encoding lacks is written as an escape."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one: no other file must get it.
            opened = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def stdin_is_terminal() -> bool:
    return os.isatty(0)


def stderr_is_terminal() -> bool:
    return os.isatty(2)


@contextlib.contextmanager
def raw(keep_signals: bool = False) -> Iterator[None]:
    """Every key goes to the machine; Ctrl-C too, unless signals are kept."""
    if not stdin_is_terminal():
        yield
        return
    saved = termios.tcgetattr(0)
    try:
        tty.setraw(0, termios.TCSANOW)
        if keep_signals:
            mode = termios.tcgetattr(0)
            mode[3] |= termios.ISIG
            termios.tcsetattr(0, termios.TCSANOW, mode)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)


def write_out(data: bytes) -> None:
    """To stdout, at once and whole."""
    sys.stdout.flush()
    while data:
        data = data[os.write(1, data) :]


def say(text: str) -> None:
    """A line on stderr that is right in raw mode too."""
    end = "\r\n" if stdin_is_terminal() and os.isatty(2) else "\n"
    sys.stderr.write(text.replace("\n", end) + end)
    sys.stderr.flush()


class Keys:
    """Chunks of what is typed, until a leave key, end of input or `stop`."""

    def __init__(self, leave: bytes | None = None) -> None:
        self._leave = leave
        self._wake_read, self._wake_write = os.pipe()
        self.left = False  # by the leave key
        self.ended = False  # by the end of input

    def stop(self) -> None:
        """End the iteration, from any thread."""
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"x")

    def __iter__(self) -> Iterator[bytes]:
        while True:
            ready, _, _ = select.select([0, self._wake_read], [], [])
            if self._wake_read in ready:
                return
            try:
                data = os.read(0, 4096)
            except OSError:
                return
            if not data:
                self.ended = True
                return
            if self._leave and stdin_is_terminal() and self._leave in data:
                data = data[: data.index(self._leave)]
                self.left = True
            if data:
                yield data
            if self.left:
                return
