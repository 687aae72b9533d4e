"""One guest of a running machine, as tests and scripts want it."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

from .channel import End
from .errors import GuestEnded
from .link import Console
from .machine import Machine


class Guest:
    """A guest by its name. Closing it, or leaving its `with` block, ends the machine."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name

    @property
    def console(self) -> Console:
        return self.machine.console(self.name)

    @property
    def text(self) -> str:
        """All it has said, without terminal escapes."""
        return self.console.text

    def expect(self, pattern: str | re.Pattern[str], timeout: float = 60) -> re.Match[str]:
        """Wait until `pattern` matches what it says, and go on behind the match. A guest
        that has ended can say nothing more: that is told at once."""

        def over() -> str | None:
            if not self.machine.has_end(self.name):
                return None
            end = self.machine.link.final(self.console.guest.id)
            return end.describe() if end is not None else f"{self.name} ended"

        with contextlib.suppress(GuestEnded):
            return self.console.expect(pattern, timeout, over)
        self.machine.settle(self.name)
        return self.console.expect(pattern, timeout, over)

    def write(self, data: str | bytes) -> None:
        """Type at its console."""
        self.console.write(data)

    def wait_end(self, timeout: float = 60) -> End:
        """Wait until it ends: `reason`, `status`, `crash` and `exits` say how."""
        return self.machine.wait_end(self.name, timeout)

    def exec(self, code: str, timeout: float = 60) -> str:
        """Run Python on the monitor, where `guest` is this guest; returns what it printed."""
        head = f"import hv\nguest = hv.guest({self.name!r})\n"
        return self.machine.exec(head + code, timeout)

    def exits(self) -> dict[str, int]:
        """How often it left its world so far, by kind."""
        number = self.machine.guests()[self.name].id
        code = f"import _hv, json; print(json.dumps(_hv.guest_exits({number})))"
        value: dict[str, Any] = json.loads(self.machine.exec(code))
        return {str(kind): int(count) for kind, count in value.items()}

    def close(self) -> None:
        self.machine.close()

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        info = self.machine.guests().get(self.name)
        return f"<guest {self.name}, {info.state if info else 'not made yet'}>"
