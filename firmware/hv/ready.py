"""Tells the prompt when a guest's shell is there to talk to."""

import re

import _hv
from hv import timers

EVERY = 250  # ms
ROUNDS = 1200  # five minutes; an emulated boot takes seconds to a minute
KEEP = 64
CHUNK = 1024
PROMPTS = ("# ", "$ ")
# Shells ask the terminal for its cursor right behind their prompt.
_CONTROL = re.compile("\x1b\\[[0-9;?]*[A-Za-z]")


class _Watch:
    def __init__(self, guest, tell):
        self.guest = guest
        self.tell = tell
        self.position = 0
        self.tail = b""
        self.rounds = ROUNDS

    def look(self):
        self.rounds -= 1
        try:
            if self.guest.state != "running" or not self.rounds:
                return
            moved = False
            while True:
                data, self.position = _hv.console_read(self.guest.id, self.position, CHUNK)
                if not data:
                    break
                moved = True
                self.tail = (self.tail + bytes(data))[-KEEP:]
        except (OSError, ValueError):
            return  # destroyed since
        if not moved and self.ends_with_prompt():
            name = self.guest.name
            self.tell("[%s] shell ready: %s.console.attach()" % (name, name.replace("-", "_")))
            return
        timers.after(("ready", self.guest.id), EVERY, self.look)

    def ends_with_prompt(self):
        text = "".join([chr(b) for b in self.tail])
        return _CONTROL.sub("", text)[-2:] in PROMPTS


def watch(guest, tell):
    """Calls tell(line) once when the console rests behind a shell's prompt."""
    timers.after(("ready", guest.id), EVERY, _Watch(guest, tell).look)
