"""When input that does not come from a person's keys is typed.

An operating system that opens its serial port throws away what came before (Linux clears
the UART). A person waits for the prompt; so do these: bytes for such a guest are kept until
it has opened the port and then written the beginning of a line and no more. What is for a
command at its shell waits for the command's first mark instead."""

from __future__ import annotations

import threading
import time

from ..transcript import PlainText

# Kinds of image that open the port long after they have started.
SLOW_KINDS = ("linux", "pvh")
PROMPT_REST = 0.5  # seconds that an unfinished line stays as it is, and is a prompt
LINE_REST = 30.0  # seconds without a word in any case: it may read without asking

# Runs on the monitor and tells when the guest has opened its port: it takes an interrupt for
# what is received (bit 0 of IER), and then raises RTS (bit 1 of MCR, at port 0x3FC).
LISTENING = "listening"
WATCH = """\
def _listening(name):
    import _hv, hv, json
    guest = hv.guest(name)
    def look(seen=None):
        uart = _hv.guest_uart(guest.id)
        if watch.wanted and uart[0] & 1 and uart[2] & 2:
            watch.remove()
            said = json.dumps({{"event": "{event}", "id": guest.id}})
            _hv.channel_send({type}, guest.id, said.encode())
    watch = guest.watch("io", look, port=0x3FC)
    look()
_listening({name!r})
del _listening
"""


class Hold:
    """Fed with the console's output; `wait` returns when it is time to type."""

    def __init__(
        self, kind: str | None, typed_by_a_person: bool, command: bool = False
    ) -> None:
        self._command = command
        self._open = not command and (typed_by_a_person or kind not in SLOW_KINDS)
        self._listening = False
        self._changed = threading.Condition()
        self._plain = PlainText()
        self._line = ""
        self._at: float | None = None  # of the last output
        self._given_up = False

    @property
    def watches(self) -> bool:
        """True when `listening` is to be called once the guest has opened its port."""
        return not (self._open or self._command)

    def listening(self) -> None:
        """The guest's port is open: an unfinished line is a prompt from now on."""
        with self._changed:
            self._listening = True
            self._changed.notify_all()

    def release(self) -> None:
        """Let everything go from now on."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def feed(self, data: bytes) -> None:
        if not self.watches:
            return
        with self._changed:
            text = self._line + self._plain.feed(data)
            self._line = text.rpartition("\n")[2].rpartition("\r")[2]
            self._at = time.monotonic()
            self._changed.notify_all()

    def give_up(self) -> None:
        """End the wait: the guest has ended."""
        with self._changed:
            self._given_up = True
            self._changed.notify_all()

    def wait(self) -> bool:
        """True once the guest is ready for input, False when it will never be."""
        with self._changed:
            while not (self._open or self._given_up):
                left = self._left()
                if left is not None and left <= 0:
                    self._open = True
                else:
                    self._changed.wait(left)
        return self._open

    def _left(self) -> float | None:
        """Seconds until the output has rested long enough."""
        if self._at is None:
            return None
        rest = PROMPT_REST if self._listening and self._line.strip() else LINE_REST
        return self._at + rest - time.monotonic()
