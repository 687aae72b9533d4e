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
    try:
        for key in [k for k, row in _due.items() if row[0] <= now]:
            row = _due.pop(key, None)
            if row is not None:
                row[1]()
    finally:  # one that raises takes nobody's alarm; others that are due come at once
        _arm()


def _arm():
    if _due:
        first = min([row[0] for row in _due.values()])
        _hv.alarm(max(first - clock.milliseconds(), 0))


# -- what hv.after() and hv.every() return

recording = None  # a policy that is being read keeps its timers until it is complete


class Timer:
    """A call that is due later, once or again and again; cancel() ends it."""

    def __init__(self, milliseconds, function, again):
        try:
            soon = milliseconds < 1
        except TypeError:
            raise TypeError("%r is no number of milliseconds" % (milliseconds,))
        if not callable(function):
            raise TypeError("a timer takes a function, not %r" % (function,))
        if soon:
            raise ValueError("%s ms is no time; give 1 or more" % milliseconds)
        self.milliseconds = milliseconds
        self.function = function
        self.again = again
        self.calls = 0
        self.armed = False

    def start(self):
        self.armed = True
        after(self, self.milliseconds, self._call)
        return self

    def cancel(self):
        """No call any more."""
        self.armed = False
        cancel(self)

    def _call(self):
        self.calls += 1
        self.armed = self.again
        if self.again:
            after(self, self.milliseconds, self._call)
        try:
            _hv.interruptible(self.function)
        except BaseException as e:
            from hv import events

            self.cancel()
            events.complain("%r ended: its function failed\n%s" % (
                self, events.traceback(e).strip()))

    def __repr__(self):
        name = getattr(self.function, "__name__", "function")
        return "<timer %s, %s %d ms, %d calls%s>" % (
            name, "every" if self.again else "after", self.milliseconds, self.calls,
            "" if self.armed else ", over")


def timer(milliseconds, function, again):
    """hv.after() and hv.every(); those of a policy start when it is complete."""
    made = Timer(milliseconds, function, again)
    if recording is not None:
        recording.timers.append(made)
        return made
    return made.start()
