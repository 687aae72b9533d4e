"""A guest's console at the prompt."""

import re
import sys

import _hv
from hv import clock

CHUNK = 1024
LEAVE = 0x1C  # Ctrl-\
TAIL = 2000
ESCAPE = "\x1b"
LONGEST = 16  # of a control sequence
_CONTROL = re.compile("\x1b\\[[0-9;?]*[A-Za-z]")


class Console:
    """read(), write(text), tail(), expect(pattern, timeout), attach()."""

    def __init__(self, guest):
        self._guest = guest
        self._position = 0

    def read(self, limit=CHUNK):
        """What was written since the last read(), as text."""
        data, self._position = _hv.console_read(self._guest.id, self._position, limit)
        return _text(data)

    def write(self, what):
        """Types text or bytes (else TypeError); returns how many bytes the guest's line took."""
        data = what.encode() if isinstance(what, str) else what
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError("%r is neither text nor bytes" % (what,))
        return _hv.console_write(self._guest.id, data)

    def tail(self, size=TAIL):
        """The last part of what is still kept, as text."""
        position, kept = 0, b""
        while True:
            data, position = _hv.console_read(self._guest.id, position, CHUNK)
            if not data:
                return _text(kept)
            kept = (kept + bytes(data))[-size:]

    def expect(self, pattern, timeout=10):
        """Waits until the text or regular expression appears; returns what came before and with
        it, without terminal escapes. The search starts where the last read() or expect() ended.
        TimeoutError after `timeout` seconds (None: never), with its last lines; TypeError: neither
        text nor a regular expression."""
        found = pattern
        if isinstance(pattern, str):
            try:
                found = re.compile(pattern)
            except Exception:  # re.error, which MicroPython does not have
                found = None
        elif not hasattr(pattern, "search"):
            raise TypeError("%r is neither text nor a regular expression" % (pattern,))
        seen = rest = ""

        def appeared():
            nonlocal seen, rest
            more = self.read()
            while more:
                more, rest = _plain(rest + more)
                seen += more
                more = self.read()
            # Text is tried as text first, so "# $" needs no escape.
            if isinstance(pattern, str) and pattern in seen:
                return True
            return found is not None and found.search(seen) is not None

        try:
            clock.until(appeared, timeout, "%r on the console of %s" % (
                pattern, self._guest.name))
        except clock.TimeoutError as e:
            raise clock.TimeoutError(e.args[0], "%s; it wrote last: %r" % (e.args[1], seen[-200:]))
        return seen

    def attach(self):
        """Gives the prompt's line to the guest until Ctrl-\\ is typed."""
        import micropython
        import select

        print("console of %s; Ctrl-\\ leaves" % self._guest.name)
        keys = select.poll()
        keys.register(sys.stdin, select.POLLIN)
        micropython.kbd_intr(-1)
        try:
            self._pass_through(keys)
        finally:
            micropython.kbd_intr(3)
        print()

    def _pass_through(self, keys):
        waiting = b""
        while True:
            moved = False
            data, self._position = _hv.console_read(self._guest.id, self._position, CHUNK)
            if data:
                sys.stdout.buffer.write(data)
                moved = True
            if not waiting and keys.poll(0):
                waiting = sys.stdin.buffer.read(1)
                if waiting[0] == LEAVE:
                    return
            if waiting:
                taken = _hv.console_write(self._guest.id, waiting)
                moved = moved or taken > 0
                waiting = waiting[taken:]
            if not moved:
                clock.idle()

    def __repr__(self):
        return "<console of %s: read(), write(text), tail(), expect(pattern), attach()>" % (
            self._guest.name)


def _plain(text):
    """Text without the terminal's control sequences, and the beginning of one at its end."""
    if ESCAPE not in text:
        return text, ""
    text = _CONTROL.sub("", text)
    at = text.rfind(ESCAPE)
    if at < 0 or len(text) - at > LONGEST:
        return text, ""
    return text[:at], text[at:]


def _text(data):
    # Byte by byte: a chunk may end inside a character and guests write anything.
    try:
        return str(data, "utf-8")
    except (UnicodeError, ValueError):
        return "".join([chr(b) for b in data])
