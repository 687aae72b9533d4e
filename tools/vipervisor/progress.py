"""A sign of life while something takes long: on stderr, on a terminal only, gone afterwards."""

from __future__ import annotations

import sys
import threading
import time

from . import terminal

_FIRST = 0.8  # seconds before there is anything to see
_EVERY = 0.2
_WIDTH = 24
_CLEAR = "\r\x1b[K"


class Progress:
    """`with Progress("booting"):` shows what is waited for and for how long; `step(3, 10)`
    makes it a bar. `stop()` takes it away early."""

    def __init__(self, what: str, first: float = _FIRST) -> None:
        self.what = what
        self._first = first
        self._part: tuple[int, int] | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # nothing is drawn once it has been taken away

    def step(self, done: int, of: int) -> None:
        self._part = (done, of)

    def __enter__(self) -> Progress:
        if terminal.stderr_is_terminal():
            self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        with self._lock:
            if self._over.is_set():
                return
            self._over.set()
            if self._thread is not None:
                sys.stderr.write(_CLEAR)
                sys.stderr.flush()

    def _run(self) -> None:
        start = time.monotonic()
        wait = self._first
        while not self._over.wait(wait):
            wait = _EVERY
            with self._lock:
                if not self._over.is_set():
                    sys.stderr.write(f"{_CLEAR}{self.text(time.monotonic() - start)}")
                    sys.stderr.flush()

    def text(self, seconds: float) -> str:
        """What is shown after so many seconds."""
        if self._part is None:
            return f"{self.what} {seconds:.0f} s"
        done, of = self._part
        full = _WIDTH * done // of if of else _WIDTH
        bar = "#" * full + "." * (_WIDTH - full)
        return f"{self.what} [{bar}] {100 * done // of if of else 100}%"
