"""Exits that are noted, and nobody waits: g.watch()."""

import _hv
from hv import exits, text

WORDS = {"cpuid": ("leaf", "subleaf"), "rdmsr": ("msr", "value"), "wrmsr": ("msr", "value"),
         "io": ("port", "size", "write", "value"), "mmio": ("gpa", "size", "write", "value"),
         "nested_fault": ("gpa", "size", "write"),
         "hypercall": ("number", "rbx", "rcx", "rdx", "rsi"),
         "exception": ("vector", "error", "address"),
         "cr": ("number", "op", "value"), "dr": ("number", "op", "value")}
for _kind in ("hlt", "xsetbv", "pause", "wbinvd", "virt_insn", "other_insn"):
    WORDS[_kind] = ("reason",)
CR_READ = 1  # of enum cr_op, virt/exit.h
ROUND = 64  # records a round: the prompt goes on in between


def names(kind):
    """What the words of an exit are."""
    return WORDS.get(kind, ("reason", "detail"))


class Seen:
    """An exit that was watched: kind, vcpu, rip, tsc (of the host) and what it was about by
    name. Reads have the value that the guest got; fault: an MSR access got #GP."""

    def __init__(self, kind, vcpu, rip, tsc, words, done=True):
        self.kind = kind
        self.vcpu = vcpu
        self.rip = rip
        self.tsc = tsc
        self.words = words
        for name, value in zip(names(kind), words):
            setattr(self, name, bool(value & 1) if name == "write" else value)
        if kind in ("rdmsr", "wrmsr"):
            self.write = kind == "wrmsr"
            self.fault = not done
        elif kind in ("cr", "dr"):
            self.write = self.op != CR_READ

    def __repr__(self):
        about = " ".join(["%s=%#x" % (n, w) for n, w in zip(names(self.kind), self.words)])
        return "%s vcpu %d at %#x: %s" % (self.kind, self.vcpu, self.rip, about)


class Watch(exits.Handler):
    """What g.watch() returns: hits, drops, off(), on(), remove()."""

    drops = 0  # of all watches of this guest

    def hears(self, slot, seen):
        """True for a record that is its own. A record has the lowest slot of the watches that
        it is for; the ring may hold some of a watch that had the slot before."""
        if self.kind == "raw":
            return slot in self._slots
        return bool(self._slots) and self._matches(seen, seen.kind)

    def take(self, seen):
        if self.function is None:
            from hv import events

            events.notice("[%s] %r" % (self.guest.name, seen))
        else:
            _hv.interruptible(self.function, seen)

    def remove(self):
        self.off()
        if self.recorder is not None:
            self.recorder.drop(self)
            return
        mine = exits.slots(self.guest)
        if self in mine.watches:
            mine.watches.remove(self)


def watch(guest, kind, function, filters):
    if kind not in exits.KINDS:
        raise ValueError(text.unknown("exit kind", kind, list(exits.KINDS)))
    if function is not None:
        exits.function_for('g.watch("%s", ...)' % kind, function)
    made = Watch(guest, "watch %s" % kind, kind, "watch", filters, function)
    if exits.recording is not None:
        return exits.recording.add(made)
    made.on()
    exits.slots(guest).watches.append(made)
    return made


def watched(guest_id):
    """The ring of a guest holds something."""
    from hv import events, vm

    guest = vm.by_id(guest_id)
    drops, records = _hv.watch_read(guest_id, ROUND)
    mine = exits.slots(guest)
    if drops:
        for one in mine.watches:
            one.drops += drops
    for slot, kind, vcpu, rip, tsc, words, done, _ in records:
        seen = Seen(kind, vcpu, rip, tsc, words, done)
        for one in list(mine.watches):
            if not one.hears(slot, seen):
                continue
            try:
                one.take(seen)
            except BaseException as e:
                one.remove()
                events.complain("[%s] %s removed: its function failed\n%s" % (
                    guest.name, one.name, events.traceback(e).strip()))
