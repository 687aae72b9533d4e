"""Signals end a command once, and never in the middle of a step that must be whole."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_MAIN = threading.main_thread().ident
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN = 0.01  # seconds until a signal that was lost is sent once more


class _State:
    depth = 0  # of `deferred` blocks
    pending: int | None = None  # what came inside one
    number: int | None = None  # the signal that was raised
    ended = False  # the first signal has been raised; the rest would spoil the cleaning up
    again: threading.Timer | None = None


def interrupted() -> int | None:
    """The ending signal that was raised. A KeyboardInterrupt that strikes inside a library's
    own locks may leave it as another exception; the signal is still why the command ends."""
    return _State.number


def _raise(number: int) -> None:
    if _State.ended:
        return
    _State.ended = True
    _State.number = number
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _handle(number: int, frame: FrameType | None) -> None:
    if _State.depth:
        _State.pending = _State.pending or number
    else:
        _raise(number)


def hold() -> None:
    """Hold signals back until as many calls of `release`. Signals are the main thread's:
    nothing happens on another one."""
    if threading.get_ident() == _MAIN:
        _State.depth += 1


def release() -> None:
    """End a `hold`; the last raises what came meanwhile."""
    if threading.get_ident() != _MAIN:
        return
    _State.depth -= 1
    if not _State.depth and _State.pending is not None:
        number, _State.pending = _State.pending, None
        _raise(number)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """A signal that comes inside is raised at the end of the block."""
    hold()
    try:
        yield
    finally:
        release()


def _not_lost(other: Callable[[Any], Any]) -> Callable[[Any], None]:
    """For sys.unraisablehook: where Python itself calls back (finalizers, fork hooks) it drops
    what is raised, an ending signal too. That comes again."""

    def hook(dropped: Any) -> None:
        number = _State.number
        if number is None or not issubclass(dropped.exc_type, (KeyboardInterrupt, SystemExit)):
            other(dropped)
            return
        _State.ended = False
        _State.again = threading.Timer(AGAIN, signal.pthread_kill, (_MAIN, number))
        _State.again.daemon = True
        _State.again.start()

    return hook


@contextlib.contextmanager
def end_once() -> Iterator[None]:
    """Turn the first ending signal into KeyboardInterrupt or SystemExit, so that every
    owner cleans up; ignore those that follow."""
    _State.depth, _State.pending, _State.ended, _State.number = 0, None, False, None
    old = {number: signal.signal(number, _handle) for number in ENDING}
    hook, sys.unraisablehook = sys.unraisablehook, _not_lost(sys.unraisablehook)
    try:
        yield
    finally:
        _State.ended = True
        if _State.again is not None:
            _State.again.cancel()
            _State.again.join()
            _State.again = None
        sys.unraisablehook = hook
        for number, handler in old.items():
            signal.signal(number, handler)
