"""Things to do later, run by the pump: no call here ever sleeps."""

import _hv
from hv import clock

_due = {}  # key -> (milliseconds, function)


def after(key, delay, function):
    """Calls function() in `delay` ms, once; a second call with the key replaces it."""
    _due[key] = (clock.milliseconds() + delay, function)
    _arm()


def cancel(key):
    _due.pop(key, None)


def run():
    """Calls what is due."""
    if not _due:
        return
    now = clock.milliseconds()
    for key in [k for k, row in _due.items() if row[0] <= now]:
        row = _due.pop(key, None)
        if row is not None:
            row[1]()
    _arm()


def _arm():
    if _due:
        first = min([row[0] for row in _due.values()])
        _hv.alarm(max(first - clock.milliseconds(), 0))
