"""`hv watch`: what is said of a version, in which order."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, cast

import pytest
from vipervisor.channel import Frame, Type
from vipervisor.cli.live import Session
from vipervisor.link import Link


class FakeLink:
    """A monitor on which a handler fails before the answer to what swapped it in is there."""

    def listen(self, hear: Callable[[Frame], None]) -> None:
        self.hear = hear

    def fail(self, message: str) -> None:
        event = {"event": "complaint", "message": message}
        self.hear(Frame(Type.EVENT, 0, json.dumps(event).encode()))

    def exec(self, code: str, timeout: float) -> str:
        self.fail("paused: its handler failed")
        return "version 3\n"


def test_what_fails_at_once_is_said_behind_its_version(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    link: Any = FakeLink()
    session = Session(cast(Link, link), "policy.py", 1)
    assert session.apply("")
    link.fail("paused later")
    lines = capsys.readouterr().out.splitlines()
    assert "version 3" in lines[0]
    assert lines[1:] == ["paused: its handler failed", "paused later"]
