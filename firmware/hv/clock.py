"""Time by the machine's TSC, and waiting that lets the rest go on."""

import builtins
import time

import _hv

ETIMEDOUT = 110

if hasattr(builtins, "TimeoutError"):
    TimeoutError = builtins.TimeoutError
else:  # MicroPython has none

    class TimeoutError(OSError):
        """A wait ran out; the text says what was waited for."""


def milliseconds():
    return _hv.tsc() * 1000 // _hv.tsc_hz()


def wall():
    """Seconds since 1970 of the machine's clock."""
    return int(time.time())


def idle():
    """Gives the CPU to whatever is due, until the next interrupt."""
    time.sleep(0.001)


def until(condition, timeout, what):
    """Returns the first true value of condition(); TimeoutError naming `what`."""
    from hv import events

    if timeout is not None and not isinstance(timeout, (int, float)):
        raise TypeError("timeout=%r is no number of seconds" % (timeout,))
    end = None if timeout is None else milliseconds() + int(timeout * 1000)
    while True:
        events.pump()
        value = condition()
        if value:
            return value
        if end is not None and milliseconds() >= end:
            raise TimeoutError(ETIMEDOUT, "no %s within %s s" % (what, timeout))
        idle()
