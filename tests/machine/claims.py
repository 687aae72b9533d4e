"""A machine whose guest `claims` exits for Python as its command line says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vipervisor import End, Machine

Boot = Callable[..., Machine]
LIMIT = 90.0


class Claims:
    """A machine whose guest `claims` is started again and again, with handlers."""

    def __init__(
        self, boot: Boot, *others: Mapping[str, Any], first: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.machine = boot([{"image": "claims", **(first or {})}, *others], **options)
        self.machine.wait_end("claims", LIMIT)
        self.exec("g = hv.guest('claims')")

    def exec(self, code: str) -> str:
        return self.machine.exec(code, timeout=LIMIT)

    def start(self, script: str, cmdline: str, then: str = "") -> int:
        """Resets the guest, runs `script`, starts it, does `then` in the same request (before
        the next one an idle Bochs may run the guest to its end); returns where its console was."""
        before = len(self.console.text)
        self.exec("for h in list(g.handlers.values()): h.remove()\ng.reset()")
        self.exec(f"g.load('claims.elf', cmdline={cmdline!r})\n{script}\ng.start()\n{then}")
        return before

    @property
    def console(self) -> Any:
        return self.machine.console("claims", LIMIT)

    def run(self, script: str, cmdline: str) -> str:
        """What the guest wrote until it ended by itself."""
        before = self.start(script, cmdline)
        end: End = self.machine.wait_end("claims", LIMIT)
        assert (end.reason, end.status) == ("exit", 0), end.describe()
        return self.console.text[before:].replace("\r", "")
