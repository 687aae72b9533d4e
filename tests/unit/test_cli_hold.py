"""When `hv run` types what does not come from a keyboard."""

from __future__ import annotations

import threading
import time

import pytest
from vipervisor.cli import hold
from vipervisor.cli.hold import Hold

PROMPT, LINE = 0.05, 0.4  # what the two rests are here
# A rest that must not be waited for, and what is shorter on any machine.
ENDLESS, LESS = 100, 50


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    rests(monkeypatch, PROMPT, LINE)


def rests(monkeypatch: pytest.MonkeyPatch, prompt: float, line: float) -> None:
    monkeypatch.setattr(hold, "PROMPT_REST", prompt)
    monkeypatch.setattr(hold, "LINE_REST", line)


def waited(held: Hold, said: bytes, timer: threading.Timer | None = None) -> float:
    """Seconds from before `said` until it is time to type; the timer begins in between."""
    start = time.monotonic()
    held.feed(said)
    if timer is not None:
        timer.start()
    assert held.wait()
    return time.monotonic() - start


@pytest.mark.parametrize(
    ("kind", "person"), [("linux", True), ("multiboot1", False), (None, False)]
)
def test_nothing_is_held_from_a_person_or_for_a_small_guest(
    kind: str | None, person: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests(monkeypatch, ENDLESS, ENDLESS)
    assert waited(Hold(kind, person), b"> ") < LESS


@pytest.mark.parametrize("prompt", [b"boot\r\nlogin: ", b"boot\r\n\r\n# \x1b[6n"])
def test_a_prompt_lets_go_at_once(prompt: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    rests(monkeypatch, PROMPT, ENDLESS)
    held = Hold("linux", False)
    held.listening()
    assert PROMPT <= waited(held, prompt) < LESS
    rests(monkeypatch, ENDLESS, ENDLESS)
    assert waited(held, prompt) < LESS  # and for good


def test_before_its_port_is_open_an_unfinished_line_is_no_prompt(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    assert waited(Hold("pvh", False), b"> ") >= LINE  # one that polls its port
    rests(monkeypatch, PROMPT, ENDLESS)
    held = Hold("linux", False)
    opened = threading.Timer(0.15, held.listening)
    assert 0.15 <= waited(held, b"Freeing memory: ", opened) < LESS


@pytest.mark.parametrize("kind, person", [("linux", False), ("multiboot1", False), ("linux", True)])
def test_a_command_gets_its_input_once_it_has_begun(kind: str, person: bool) -> None:
    held = Hold(kind, person, command=True)
    assert not held.watches
    assert waited(held, b"# ", threading.Timer(0.15, held.release)) >= 0.15


def test_a_whole_line_is_no_prompt() -> None:
    assert waited(Hold("linux", False), b"[    0.1] booting\r\n") >= LINE


def test_a_line_that_goes_on_is_no_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    rests(monkeypatch, ENDLESS, LINE)
    held = Hold("linux", False)
    held.listening()
    goes_on = threading.Timer(0.05, held.feed, [b"done\n"])
    assert LINE <= waited(held, b"Calibrating... ", goes_on) < LESS


def test_a_guest_that_ends_ends_the_wait() -> None:
    held = Hold("pvh", False)
    threading.Timer(0.05, held.give_up).start()
    assert not held.wait()
