"""Bounded waits: reader threads ring, callers wait for a condition and say what it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from . import signals
from .errors import WaitTimeout

T = TypeVar("T")

# Seconds. A signal that comes between CPython's last look for one and its sleep does not end
# the sleep: its handler runs after the sleep, which therefore is not long.
_LOOK = 0.25


class Bell:
    """One lock and one condition for everything that a machine's threads learn.

    Threads change what they share under `with bell:` and ring; `wait` returns the first
    true value of its predicate. A fault (the emulator died) ends every wait whose
    predicate is still false.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiting: list[threading.Lock] = []  # held; given back when the bell rings
        self.fault: Exception | None = None

    # A signal raised while the lock changes hands would leave it taken for ever, so it is
    # held back there and strikes where nothing is owned: at the end, or in a wait.

    def __enter__(self) -> Bell:
        signals.hold()
        self._lock.acquire()
        return self

    def __exit__(self, *exc: object) -> None:
        for waiter in self._waiting:
            waiter.release()
        self._waiting.clear()
        self._lock.release()
        signals.release()

    def fail(self, fault: Exception) -> None:
        """Every present and later wait that cannot be met raises `fault`."""
        with self:
            if self.fault is None:
                self.fault = fault

    def wait(
        self,
        predicate: Callable[[], T | None],
        timeout: float,
        what: Callable[[], str] | str,
    ) -> T:
        """The first value of `predicate` that is neither None nor False."""
        end = time.monotonic() + timeout
        while True:
            rung = threading.Lock()
            rung.acquire()
            signals.hold()
            self._lock.acquire()
            try:
                value = predicate()
                if value is not None and value is not False:
                    return value
                if self.fault is not None:
                    raise self.fault
                left = end - time.monotonic()
                if left <= 0:
                    text = what if isinstance(what, str) else what()
                    raise WaitTimeout(f"waited {timeout:g} s for {text}")
                self._waiting.append(rung)
            finally:
                self._lock.release()
                signals.release()
            rung.acquire(timeout=min(left, _LOOK))
