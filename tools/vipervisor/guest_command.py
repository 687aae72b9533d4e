"""One command at a guest's shell: typed when the shell is ready, its output and its status
told apart from everything else on the console by two marks that nobody else prints."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Callable, Sequence

from .errors import UsageError
from .transcript import PlainText

_READY = re.compile(r"(?:^|\n)[^\n]{0,80}[#$] \Z")
_LONGEST = 900  # bytes of a line that busybox' shell still takes
_LOOK_BACK = 256


def shell_line(words: Sequence[str]) -> str:
    """The words as a shell reads them: one word is a line of shell, several are quoted."""
    line = words[0] if len(words) == 1 else shlex.join(words)
    if not line.strip():
        raise UsageError("after -- comes the command for the guest's shell, and there is none")
    if "\n" in line or "\r" in line:
        raise UsageError("the command for the guest's shell must be one line")
    return line


class GuestCommand:
    """Fed with a console's bytes; `emit` gets those that the command itself printed."""

    def __init__(
        self, words: Sequence[str], emit: Callable[[bytes], None], echo: bool = True
    ) -> None:
        token = secrets.token_hex(4)
        # Typed with quotes inside, so that the shell's echo of the line is no mark.
        self.line = f"echo v''p-{token}-; ( {shell_line(words)} ); echo v''p-{token}-$?\n"
        if not echo:  # of what is typed for the command; a guest without stty shows it
            self.line = f"stty -echo 2>/dev/null; {self.line}"
        if len(self.line.encode()) > _LONGEST:
            raise UsageError(f"the command is longer than a guest's shell takes ({_LONGEST} bytes)")
        self._begin = re.compile(f"vp-{token}-\r?\n".encode())
        self._end = re.compile(f"vp-{token}-([0-9]+)\r?\n".encode())
        self._mark = f"vp-{token}-".encode()
        self._emit = emit
        self._plain = PlainText()
        self._recent = ""
        self._buffer = b""
        self.ready = False  # the shell waits for a line
        self.typed = False
        self.began = False
        self.status: int | None = None

    def feed(self, data: bytes) -> None:
        if self.status is not None:
            return
        if not self.typed:
            self._recent = (self._recent + self._plain.feed(data))[-_LOOK_BACK:]
            self.ready = bool(_READY.search(self._recent))
            return
        self._buffer += data
        if not self.began:
            begin = self._begin.search(self._buffer)
            if begin is None:
                self._buffer = self._buffer[-2 * _LONGEST :]
                return
            self.began = True
            self._buffer = self._buffer[begin.end() :]
        end = self._end.search(self._buffer)
        if end is not None:
            self._emit(self._buffer[: end.start()])
            self._buffer = b""
            self.status = int(end[1])
            return
        keep = self._held()
        ready, self._buffer = self._buffer[: len(self._buffer) - keep], self._buffer[-keep:]
        self._buffer = self._buffer if keep else b""
        if ready:
            self._emit(ready)

    def _held(self) -> int:
        """Bytes at the end of the buffer that may be the start of the end mark."""
        at = self._buffer.rfind(self._mark)
        if at >= 0 and re.fullmatch(rb"[0-9]*\r?", self._buffer[at + len(self._mark) :]):
            return len(self._buffer) - at
        for length in range(min(len(self._mark), len(self._buffer)), 0, -1):
            if self._mark.startswith(self._buffer[-length:]):
                return length
        return 0
