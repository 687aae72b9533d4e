"""The bell that readers ring and callers wait for, and signals that strike it."""

from __future__ import annotations

import signal
import threading

import pytest
from vipervisor import signals
from vipervisor.errors import WaitTimeout
from vipervisor.waiting import Bell


def test_a_wait_ends_when_another_thread_rings() -> None:
    bell, seen = Bell(), []

    def ring() -> None:
        with bell:
            seen.append(1)

    threading.Timer(0.05, ring).start()
    assert bell.wait(lambda: seen or None, 60, "the other thread") == [1]


def test_a_fault_and_a_limit_end_a_wait() -> None:
    bell = Bell()
    with pytest.raises(WaitTimeout, match="waited 0.01 s for nothing"):
        bell.wait(lambda: None, 0.01, "nothing")
    bell.fail(RuntimeError("gone"))
    with pytest.raises(RuntimeError, match="gone"):
        bell.wait(lambda: None, 60, "nothing")


def test_a_signal_under_the_lock_strikes_when_it_is_given_back() -> None:
    bell, steps = Bell(), []
    with pytest.raises(KeyboardInterrupt), signals.end_once(), bell:
        signal.raise_signal(signal.SIGINT)
        steps.append("whole")
    assert steps == ["whole"]
    taken = threading.Thread(target=lambda: bell.fail(RuntimeError()), daemon=True)
    taken.start()
    taken.join(60)
    assert not taken.is_alive()  # the lock is free


def test_a_signal_ends_a_wait_at_any_moment() -> None:
    """Struck some hundred times while another thread rings without pause."""
    main = threading.main_thread().ident
    assert main is not None
    for _ in range(200):
        bell, over = Bell(), threading.Event()

        def ring(bell: Bell = bell, over: threading.Event = over) -> None:
            while not over.is_set():
                with bell:
                    pass

        reader = threading.Thread(target=ring, daemon=True)
        with pytest.raises(KeyboardInterrupt), signals.end_once():
            reader.start()
            threading.Timer(0.001, signal.pthread_kill, (main, signal.SIGINT)).start()
            bell.wait(lambda: None, 60, "nothing")
        over.set()
        reader.join(60)
        assert not reader.is_alive()


def test_a_signal_in_what_python_itself_calls_is_not_lost() -> None:
    class Finished:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)
            steps.append("behind it")

    steps: list[str] = []
    bell = Bell()
    with pytest.raises(KeyboardInterrupt), signals.end_once():
        finished = Finished()
        del finished  # what is raised here is dropped
        steps.append("goes on")
        bell.wait(lambda: None, 60, "nothing")
    assert steps == ["goes on"]
    assert signals.interrupted() == signal.SIGINT
