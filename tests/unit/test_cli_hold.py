"""When `hv run` types what does not come from a keyboard."""

from __future__ import annotations

import threading
import time

import pytest
from vipervisor.cli import hold
from vipervisor.cli.hold import Hold


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "PROMPT_REST", 0.05)
    monkeypatch.setattr(hold, "LINE_REST", 0.4)


def waited(held: Hold) -> float:
    start = time.monotonic()
    assert held.wait()
    return time.monotonic() - start


@pytest.mark.parametrize(
    ("kind", "person"), [("linux", True), ("multiboot1", False), (None, False)]
)
def test_nothing_is_held_from_a_person_or_for_a_small_guest(kind: str | None, person: bool) -> None:
    assert waited(Hold(kind, person)) < 0.04


@pytest.mark.parametrize("prompt", [b"boot\r\nlogin: ", b"boot\r\n\r\n# \x1b[6n"])
def test_a_prompt_lets_go_at_once(prompt: bytes) -> None:
    held = Hold("linux", False)
    held.listening()
    held.feed(prompt)
    assert 0.04 < waited(held) < 0.3
    assert waited(held) < 0.04  # and for good


def test_before_its_port_is_open_an_unfinished_line_is_no_prompt(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Hold("pvh", False)  # one that polls its port
    held.feed(b"> ")
    assert waited(held) >= 0.35
    monkeypatch.setattr(hold, "LINE_REST", 50)
    held = Hold("linux", False)
    held.feed(b"Freeing memory: ")
    threading.Timer(0.15, held.listening).start()
    assert 0.14 < waited(held) < 40


@pytest.mark.parametrize("kind, person", [("linux", False), ("multiboot1", False), ("linux", True)])
def test_a_command_gets_its_input_once_it_has_begun(kind: str, person: bool) -> None:
    held = Hold(kind, person, command=True)
    assert not held.watches
    held.feed(b"# ")
    threading.Timer(0.15, held.release).start()
    assert waited(held) > 0.14


def test_a_whole_line_is_no_prompt() -> None:
    held = Hold("linux", False)
    held.feed(b"[    0.1] booting\r\n")
    assert waited(held) >= 0.35


def test_a_line_that_goes_on_is_no_prompt() -> None:
    held = Hold("linux", False)
    held.listening()
    held.feed(b"Calibrating... ")
    threading.Timer(0.03, held.feed, [b"done\n"]).start()
    assert waited(held) >= 0.35


def test_a_guest_that_ends_ends_the_wait() -> None:
    held = Hold("pvh", False)
    threading.Timer(0.05, held.give_up).start()
    assert not held.wait()
