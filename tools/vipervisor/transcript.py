"""What one line of a machine has said, as text to wait for."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

from .errors import GuestEnded
from .waiting import Bell

_KEEP_BACK = 64 * 1024  # a match may begin this far before the newest text

_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # CSI sequences: colours, cursor
    r"|\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: titles
    r"|[ -/]*[0-Z\\^-~])"  # character sets, keypad modes and other short ones
)
_PARTIAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[ -/]*)?\Z")
_LONGEST_ESCAPE = 256


class PlainText:
    """Bytes in any chunks in, text without terminal escapes and CRs before LFs out."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes) -> str:
        text = _ESCAPE.sub("", self._held + self._decoder.decode(data))
        self._held = ""
        partial = _PARTIAL.search(text)
        if partial and len(partial.group()) <= _LONGEST_ESCAPE:
            text, self._held = text[: partial.start()], text[partial.start() :]
        elif text.endswith("\r"):
            text, self._held = text[:-1], "\r"
        return text.replace("\r\n", "\n").replace("\x00", "")


class Transcript:
    """A growing text with a reading position, fed by a reader thread."""

    def __init__(self, bell: Bell, name: str, writer: Callable[[bytes], None]) -> None:
        self.bell = bell
        self.name = name
        self._writer = writer
        self._plain = PlainText()
        self._text = ""
        self._raw = bytearray()
        self._position = 0
        self._listeners: list[Callable[[bytes], None]] = []

    def feed(self, data: bytes) -> None:
        """Called by the reader thread with what came in."""
        with self.bell:
            self._raw += data
            self._text += self._plain.feed(data)
            for listener in list(self._listeners):
                listener(data)

    def listen(self, listener: Callable[[bytes], None], replay: bool = True) -> None:
        """Have `listener` called with every later chunk, and first with all so far."""
        with self.bell:
            if replay and self._raw:
                listener(bytes(self._raw))
            self._listeners.append(listener)

    def unlisten(self, listener: Callable[[bytes], None]) -> None:
        with self.bell:
            if listener in self._listeners:
                self._listeners.remove(listener)

    @property
    def text(self) -> str:
        """All so far, without terminal escapes."""
        return self._text

    @property
    def raw(self) -> bytes:
        with self.bell:
            return bytes(self._raw)

    def tail(self, lines: int = 8) -> str:
        """The last lines, for messages."""
        return "\n".join(self._text.splitlines()[-lines:])

    def write(self, data: str | bytes) -> None:
        """Type at this line."""
        self._writer(data.encode() if isinstance(data, str) else data)

    def expect(
        self,
        pattern: str | re.Pattern[str],
        timeout: float = 60,
        over: Callable[[], str | None] | None = None,
    ) -> re.Match[str]:
        """Wait until `pattern` matches behind the reading position, and move behind it.
        `over` says why nothing more will come, once that is so."""
        compiled = re.compile(pattern, re.MULTILINE) if isinstance(pattern, str) else pattern
        searched = self._position

        def look() -> re.Match[str] | None:
            nonlocal searched
            start = max(self._position, searched - _KEEP_BACK)
            searched = len(self._text)
            match = compiled.search(self._text, start)
            why = over() if over is not None and match is None else None
            if why is not None:
                raise GuestEnded(f"{why} before {self._waited_for(compiled.pattern)}")
            return match

        match = self.bell.wait(look, timeout, lambda: self._waited_for(compiled.pattern))
        self._position = match.end()
        return match

    def _waited_for(self, pattern: str) -> str:
        tail = self.tail()
        said = f"its last lines:\n{tail}" if tail.strip() else "it printed nothing"
        return f"{self.name} to print /{pattern}/; {said}"
