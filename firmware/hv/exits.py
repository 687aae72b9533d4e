"""Exits answered in Python: g.on(), g.handlers. Those that are watched: watching.py.

One `_hv.Exit` a vCPU is made once and shows whichever exit that vCPU waits with, so an
exit allocates nothing here.
"""

import _hv
from hv import text

SLOTS = 31
recording = None  # a policy that is being read gathers what it registers (live.py)
ALL = 0xFFFF_FFFF_FFFF_FFFF
EBUSY, ENOSPC = 16, 28

# What a person says -> (kinds of the core, name of the filter, further filters).
KINDS = {
    "cpuid": (("cpuid",), "leaf", ("subleaf",)),
    "msr": (("rdmsr", "wrmsr"), "msr", ("write",)),
    "rdmsr": (("rdmsr",), "msr", ()),
    "wrmsr": (("wrmsr",), "msr", ()),
    "io": (("io",), "port", ("size", "write")),
    "mmio": (("mmio",), "gpa", ("size", "write")),
    "hypercall": (("hypercall",), "number", ()),
    "exception": (("exception",), "vector", ()),
    "cr": (("cr",), "number", ("write",)),
    "dr": (("dr",), "number", ("write",)),
    "raw": (("raw",), "reason", ()),
}
for _kind in ("hlt", "shutdown", "xsetbv", "pause", "wbinvd", "virt_insn", "other_insn",
              "task_switch", "nested_fault", "nested_misconfig", "entry_failed", "unknown"):
    KINDS[_kind] = ((_kind,), "gpa" if _kind == "nested_fault" else "", ())


LARGEST = {"port": 0xFFFF, "vector": 0xFF, "leaf": 0xFFFF_FFFF, "subleaf": 0xFFFF_FFFF,
           "msr": 0xFFFF_FFFF}


def span(value, what="filter"):
    """(low, high) of a filter: a number, (low, high), a range, or None for all."""
    if value is None:
        return 0, ALL
    if isinstance(value, range):
        if not len(value) or value.step != 1:
            raise ValueError("%r is no range of neighbours" % (value,))
        low, high = value.start, value.stop - 1
    elif isinstance(value, (int, bool)):  # MicroPython's bool is no int
        low = high = int(value)
    else:
        try:
            low, high = value
            low, high = low + 0, high + 0
        except (TypeError, ValueError):
            raise TypeError("%s=%r is no number, (low, high) or range" % (what, value))
    if low > high:
        raise ValueError("%#x to %#x is empty" % (low, high))
    largest = LARGEST.get(what, ALL)
    if low < 0 or high > largest:
        raise ValueError("%s %#x is outside 0 to %#x" % (what, low if low < 0 else high, largest))
    return low, high


def function_for(what, function):
    """Nothing that cannot be called is taken: its first call would be too late to say so."""
    if not callable(function):
        raise TypeError("%s takes a function, not %r" % (what, function))
    return function


class Slots:
    """A guest's claims: which handler has which slot, and its vCPUs' exits."""

    def __init__(self, guest):
        self.guest = guest
        self.table = [_core] * (SLOTS + 1)  # what is called, by slot
        self.table[SLOTS] = _vanished  # the slot of an exit whose handler has gone meanwhile
        self.owners = [None] * SLOTS
        self.named = {}  # name -> Handler
        self.devices = {}  # name -> (Device, its handlers)
        self.watches = []
        self.exits = [_hv.Exit(guest.id, i, guest, v, self.table)
                      for i, v in enumerate(guest.vcpus)]

    def take(self, owner, call, kind, low, high, mode):
        for slot in range(SLOTS):
            if self.owners[slot] is None:
                break
        else:
            raise OSError(ENOSPC, "%s has %d handlers and watches already; remove() some" % (
                self.guest.name, SLOTS))
        self.table[slot] = call
        self.owners[slot] = owner
        try:
            _hv.claim(self.guest.id, slot, kind, low, high, mode)
        except (OSError, ValueError):
            self.give(slot)
            raise
        return slot

    def give(self, slot):
        self.table[slot] = _core
        self.owners[slot] = None

    def release(self, slot):
        if self.guest.exists():
            _hv.unclaim(self.guest.id, slot)
        self.give(slot)


def slots(guest):
    if guest._slots is None:
        guest._slots = Slots(guest)
    return guest._slots


def _core(x):
    """In place of a handler that is gone."""
    x.core()


def _vanished(x):
    """The handler went while the exit waited: who takes such exits now, else the core."""
    x.core()
    for owner in slots(x.guest).owners:
        if owner is not None and owner.takes(x):
            return owner.function(x)
    return None


class Handler:
    """What g.on() returns: hits, off(), on(), remove()."""

    def __init__(self, guest, name, kind, mode, filters, function):
        kinds, first, more = KINDS[kind]
        for key in filters:
            if key != first and key not in more:
                raise ValueError(text.unknown("filter of %s" % kind, key,
                                              [n for n in (first,) + more if n]))
        self.guest = guest
        self.name = name
        self.of = None  # the function's name, where it had none of its own
        self.kind = kind
        self.mode = mode
        self.filters = filters
        self.function = function
        self._kinds = kinds
        self._low, self._high = span(filters.get(first), first)
        self._more = tuple([(k, span(filters[k], k)) for k in more if k in filters])
        self._slots = []
        self._hits = 0
        self.recorder = recording  # until the policy that made it is complete
        self.wanted = True

    def call(self):
        """What the core calls."""
        return self._filtered if self._more else self.function

    def claims(self):
        """What it takes, as `_hv.claim` is told."""
        return [(kind, self._low, self._high, self.mode) for kind in self._kinds]

    def replaces(self, other):
        """True for one that goes when this one comes: of its name, or of a function of the same
        name. One and the same function stays where it is for other exits."""
        if self.of is None or self.of != other.of:
            return self.name == other.name
        return self.function != other.function or (
            (self.kind, self._low, self._high, self._more)
            == (other.kind, other._low, other._high, other._more))

    def takes(self, x):
        """True for an exit that it would be given."""
        if self.mode == "watch":
            return False
        return self._matches(
            x, "mmio" if x.kind == "nested_fault" and self.kind == "mmio" else x.kind)

    def _matches(self, x, kind):
        if kind not in self._kinds:
            return False
        first = KINDS[self.kind][1]
        if first and not self._low <= getattr(x, first) <= self._high:
            return False
        for name, (low, high) in self._more:
            if not low <= getattr(x, name) <= high:
                return False
        return True

    def on(self):
        """Answers exits again after off()."""
        self.wanted = True
        if self.recorder is None and not self._slots:
            mine = slots(self.guest)
            for claim in self.claims():
                self._slots.append(mine.take(self, self.call(), *claim))
        return self

    def off(self):
        """The core answers alone until on()."""
        self.wanted = False
        self._hits = self.hits
        for slot in self._slots:
            slots(self.guest).release(slot)
        self._slots = []
        return self

    def remove(self):
        """Ends it for good."""
        self.off()
        if self.recorder is not None:
            self.recorder.drop(self)
            return
        named = slots(self.guest).named
        if named.get(self.name) is self:
            del named[self.name]

    @property
    def hits(self):
        """Exits that it was given."""
        if not self.guest.exists():
            return self._hits
        return self._hits + sum([_hv.claim_hits(self.guest.id, s) for s in self._slots])

    def _filtered(self, x):
        for name, (low, high) in self._more:
            if not low <= getattr(x, name) <= high:
                if x.before:
                    x.core()
                return None
        return self.function(x)

    def said(self):
        """Its filters, in words."""
        return ["%s=%s" % (k, _shown(v)) for k, v in self.filters.items()]

    def row(self):
        said = self.said()
        if self.mode == "instead":
            said.append("instead")
        return (self.name, self.kind, " ".join(said), "on" if self._slots else "off",
                str(self.hits))

    HEAD = ("name", "kind", "filter", "", "hits")

    def __repr__(self):
        return text.table([self.HEAD, self.row()])

    def __call__(self, x):
        return self.function(x)


def _shown(value):
    if isinstance(value, bool):
        return str(value)
    low, high = span(value)
    return "%#x" % low if low == high else "%#x-%#x" % (low, high)


class Handlers(dict):
    """The handlers of a guest by name; the repr is a table."""

    def __str__(self):  # MicroPython would print the plain base class
        return self.__repr__()

    def __repr__(self):
        if not self:
            return "no handlers; make one with @g.on(\"cpuid\", leaf=1)"
        return text.table([Handler.HEAD] + [self[n].row() for n in sorted(self)])


def _check_limit():
    """The core says the same of a limit that became no number after this."""
    import hv

    if not isinstance(hv.handler_limit, int):
        raise TypeError("hv.handler_limit=%r is no number of milliseconds; "
                        "write hv.handler_limit = 1000" % (hv.handler_limit,))


class Decorator:
    """What g.on() without a function gives: the line above one."""

    def __init__(self, kind, take):
        self._kind = kind
        self._take = take

    def __call__(self, function):
        return self._take(function)

    def __repr__(self):
        return ("no handler yet: write @g.on(\"%s\", ...) in the line above a function, or "
                "g.on(\"%s\", function, ...)" % (self._kind, self._kind))


def on(guest, kind, fn, name, instead, filters):
    """g.on(): the handler, or without a function a decorator. A lone name stands in its place."""
    if kind not in KINDS:
        raise ValueError(text.unknown("exit kind", kind, list(KINDS)))
    if isinstance(fn, str) and name is None:
        fn, name = None, fn
    if name is not None and not isinstance(name, str):
        raise TypeError('name=%r is no name; write g.on("%s", function, name="mine")' % (
            name, kind))

    def made(function):
        _check_limit()
        if isinstance(function, Handler):  # one decorator above another
            function = function.function
        function_for('g.on("%s", ...)' % kind, function)
        handler = Handler(guest, name, kind, "instead" if instead else "after", filters, function)
        _name(handler, recording.named(guest) if recording else slots(guest).named)
        if recording is not None:
            return recording.add(handler)
        named = slots(guest).named
        for other in list(named.values()):
            if handler.replaces(other):
                other.remove()
        handler.on()
        named[handler.name] = handler
        return handler

    return Decorator(kind, made) if fn is None else made(fn)


def _name(handler, named):
    """A handler without a name is called as its function; where that one stays under this name
    for other exits, these tell them apart."""
    if handler.name is not None:
        return
    said = getattr(handler.function, "__name__", "<lambda>")
    if said == "<lambda>":  # these do not replace each other
        said = handler.kind
        while said in named:
            said += "'"
        handler.name = said
        return
    handler.of = handler.name = said
    if said in named and not handler.replaces(named[said]):
        said = "%s (%s)" % (said, " ".join([handler.kind] + handler.said()))
        while said in named and not (named[said].of and handler.replaces(named[said])):
            said += "'"
        handler.name = said


# -- serving: the core calls the one handler of an exit; the rest comes here


def served(kind, x, more):
    """An exit whose handler did not simply answer: `_hv.event()`'s other events."""
    if kind == "several":
        try:
            more = _several(x, x.slots)
        except BaseException as e:
            failed(x, e)
            return
        finish(x, more)
    elif kind == "later":
        finish(x, more)
    elif kind == "failed":
        failed(x, more)
    else:
        unanswered(x)


def finish(x, result):
    """Behind a handler's return."""
    if result is not None and hasattr(result, "send"):
        from hv import later

        later.run(x, result)
    elif not x.done():
        unanswered(x)


def _several(x, waiting):
    """Those that stand in for the core, until one answers; then all others."""
    before = x.before
    table = x.table
    result = None
    for slot in range(SLOTS):
        if before >> slot & 1:
            result = _hv.interruptible(table[slot], x)
            if result is not None or x.answered:
                break
    after = waiting & ~before
    if not after or result is not None:
        return result
    for slot in range(SLOTS):
        if after >> slot & 1:
            result = _hv.interruptible(table[slot], x)
            if result is not None and hasattr(result, "send"):
                return result
    return None


def _names(x):
    owners = slots(x.guest).owners
    waiting = x.slots
    found = [owners[i].name for i in range(SLOTS) if waiting >> i & 1 and owners[i]]
    return " and ".join(found) or "its handler"


def failed(x, error):
    """A handler raised: its guest is paused, with the core's answer."""
    from hv import events

    trace = events.traceback(error).strip()
    if isinstance(error, SystemExit):
        trace = "SystemExit: exit() in a handler"
    if not x.waits():
        events.complain("[%s] a handler failed after its exit was over: %s" % (
            x.guest.name, trace))
        return
    _pause(x, "the handler %s of %s failed" % (_names(x), x.kind), trace)


def unanswered(x):
    """A handler in the core's place said nothing."""
    _pause(x, "the handler %s left %s unanswered" % (_names(x), x),
           "set x.value or a register, or call x.skip(), x.inject() or x.core()")


def _pause(x, why, more):
    from hv import events

    guest = x.guest
    try:
        x.pause()
    except OSError:
        pass  # it is already
    x.core()
    if x.waits():
        x.done()
    events.complain("[%s] paused: %s; it has the core's answer, %s.resume() goes on\n%s" % (
        guest.name, why, guest.name.replace("-", "_"), more))
