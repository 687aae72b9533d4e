"""Policies: Python that is read as a whole and swapped as a whole while guests run.

hv.policy("name", source) reads the source; every handler, watch, device and timer that it
makes is only noted meanwhile. When it raises, nothing has changed. When it is through, all
of it takes the place of what the version before had made, between two exits.
"""

import json

import _hv
from hv import exits, text, timers

KEPT = ".policies"  # on the RAM disk: sources by name, read again after a soft reset
NOTE = "its exit's handler went"  # of exit_reset() in port/modhv_handler.c
ENOENT, EEXIST = 2, 17


class Policies(dict):
    """The policies by name; the repr is a table."""

    def __str__(self):  # MicroPython would print the plain base class
        return self.__repr__()

    def __repr__(self):
        if not self:
            return 'no policies; make one with hv.policy("name", source)'
        rows = [("policy", "has", "versions")]
        for name in sorted(self):
            rows.append((name, self[name].about(), self[name].version))
        return text.table(rows)


policies = Policies()


class Policy:
    """A policy that is in force: names (its variables), handlers, watches, devices,
    timers, version; remove()."""

    def __init__(self, name, source, before):
        self.name = name
        self.source = source
        self.version = before.version + 1 if before else 1
        self.before = before  # while it is being read
        self.names = {}
        self.handlers = []  # watches, too
        self.rows = []  # devices: (guest, device, name, irq, handlers)
        self.timers = []

    # -- while it is being read: exits.py, device.py and timers.py add to it

    def named(self, guest):
        return {h.name: h for h in self.handlers if h.guest is guest and h.mode != "watch"}

    def add(self, handler):
        if handler.mode != "watch":
            for other in self.named(handler.guest).values():
                if handler.replaces(other):
                    self.handlers.remove(other)
        self.handlers.append(handler)
        return handler

    def add_device(self, guest, device, name, irq, made):
        self.rows.append((guest, device, name, irq, made))
        device.guest, device.line, device.name = guest, irq, name
        self._carry(guest, device, name)
        return device

    def _carry(self, guest, device, name):
        """A device that is made anew goes on with the state of the one before."""
        for other, old, old_name, _, _ in self.before.rows if self.before else ():
            if other is guest and old_name == name and old is not device \
                    and type(old).__name__ == type(device).__name__:
                state = old.save()
                if state is not None:
                    device.load(state)

    def drop(self, handler):
        if handler in self.handlers:
            self.handlers.remove(handler)

    def device_of(self, guest, name):
        return [r for r in self.rows if r[0] is guest and r[2] == name]

    def leaves(self, device):
        """True for a device of the version before, which goes when this one comes."""
        return self.before is not None and device in self.before.devices

    # -- looking

    @property
    def devices(self):
        """Its devices."""
        return [row[1] for row in self.rows]

    @property
    def watches(self):
        """Its watches."""
        return [h for h in self.handlers if h.mode == "watch"]

    def about(self):
        """How much of what it has."""
        watches = len(self.watches)
        counts = ((len(self.handlers) - watches, "handler"), (watches, "watch"),
                  (len(self.rows), "device"), (len(self.timers), "timer"))
        said = ["%d %s%s" % (n, what, "" if n == 1 else "es" if what == "watch" else "s")
                for n, what in counts if n]
        return ", ".join(said) or "nothing"

    def __repr__(self):
        return "%s: %s (version %d)" % (self.name, self.about(), self.version)

    def remove(self):
        """Takes back all that it made; the core answers again."""
        if policies.get(self.name) is self:
            _swap(self, Policy(self.name, "", None))
            del policies[self.name]
            _keep()

    # -- what it claims

    def claimed(self):
        """Every handler that has or wants slots, those of its devices included."""
        out = list(self.handlers)
        for row in self.rows:
            out += row[4]
        return [h for h in out if h.guest.exists()]


def policy(name, source=None):
    """hv.policy("name", source): the source takes the place of the policy's version before, if it
    is without error. Without a source it is read from the RAM disk's file `name`. OSError:
    ENOENT, no such file; ENOSPC, too many handlers; EBUSY, inside of a policy that is being
    read."""
    if exits.recording is not None:
        raise OSError(16, "a policy cannot change policies while it is being read")
    if source is None:
        source = _read(name)
    before = policies.get(name)
    new = Policy(name, source, before)
    _prepare(new)
    code = compile(source, name, "exec")
    _hold(new)
    try:
        exec(code, new.names)
        _swap(before, new)
    except BaseException:
        _forsake(new)
        raise
    finally:
        _hold(None)
    new.before = None
    policies[name] = new
    _keep()
    return new


def _prepare(new):
    """The names that a policy begins with: hv, the guests, and `old`: its variables of
    the version before."""
    import sys

    from hv import boot, vm

    new.names.update({"__name__": new.name, "hv": sys.modules["hv"]})
    new.names["old"] = new.before.names if new.before else {}
    new.names["old"].pop("old", None)  # else no version would ever be forgotten
    for g in vm.guests():
        new.names[boot.variable(g.name)] = g


def _hold(new):
    """No event reaches Python while a policy is read and swapped: vCPUs that need it wait."""
    from hv import events

    exits.recording = timers.recording = new
    if new is not None:
        _hv.notify(None)
    else:
        events.listen()


def _read(name):
    try:
        with open(name) as file:
            return file.read()
    except OSError:
        raise OSError(ENOENT, "no file %s on the RAM disk; `hv push` it, or give the source" % name)


def _forsake(new):
    """It raised: its devices and timers are nobody's."""
    kept = new.before.devices if new.before else []
    for guest, device, name, irq, made in new.rows:
        if device in kept:
            row = [r for r in new.before.rows if r[1] is device][0]
            device.guest, device.line, device.name = row[0], row[3], row[2]
        else:
            device.cancel()
            device.guest = None
    for timer in new.timers:
        timer.cancel()


# -- the swap


def _swap(old, new):
    """All or nothing: claims first, which may fail, then everything else, which cannot."""
    leaving = old.claimed() if old else []
    entering = new.claimed()
    for handler in entering:  # those that it replaces go, whoever made them
        if handler.mode == "watch":
            continue
        for known in exits.slots(handler.guest).named.values():
            if known not in leaving and (handler.name == known.name or handler.replaces(known)):
                leaving.append(known)
    guests = []
    for handler in leaving + entering:
        if handler.guest not in guests:
            guests.append(handler.guest)
    plans = [_Plan(g, [h for h in leaving if h.guest is g], [h for h in entering if h.guest is g])
             for g in guests]
    done = []
    try:
        for plan in plans:
            done.append(plan)
            plan.claim()
    except (OSError, ValueError):
        for plan in done:
            plan.undo()
        raise
    for plan in plans:
        plan.finish()
    kept = new.devices
    for _, device, name, _, _ in old.rows if old else ():
        if device not in kept and device.guest is not None:
            exits.slots(device.guest).devices.pop(name, None)
            device.cancel()
            device.guest = None
    for row in new.rows:
        if row[0].exists():
            from hv import device as devices

            devices.settle(*row)
    for timer in old.timers if old else ():
        timer.cancel()
    for timer in new.timers:
        timer.start()


class _Plan:
    """The change of one guest's claims."""

    def __init__(self, guest, leaving, entering):
        self.guest = guest
        self.mine = exits.slots(guest)
        self.leaving = leaving
        self.entering = entering
        self.had = {}  # slot -> claim, of those that leave
        self.given = []  # (slot, handler)
        self.changed = []  # (slot, its claim before or None), to undo
        for handler in leaving:
            for slot, claim in zip(handler._slots, handler.claims()):
                self.had[slot] = claim

    def claim(self):
        """The same claim keeps its slot, one like it is changed in place, the rest is new."""
        want = []
        for handler in self.entering:
            if handler.wanted:
                want += [(handler, claim) for claim in handler.claims()]
        free = dict(self.had)
        for like in (_equal, _overlap):
            left = []
            for handler, claim in want:
                slot = [s for s in free if like(free[s], claim)]
                if slot:
                    self._give(slot[0], free.pop(slot[0]), handler, claim)
                else:
                    left.append((handler, claim))
            want = left
        taken = [s for s, _ in self.given]
        for handler, claim in want:
            empty = [s for s in range(exits.SLOTS)
                     if self.mine.owners[s] is None and s not in taken]
            if not empty and free:
                slot = list(free)[0]
                self._give(slot, free.pop(slot), handler, claim)
                continue
            if not empty:
                raise OSError(28, "%s has %d handlers and watches already; remove() some" % (
                    self.guest.name, exits.SLOTS))
            taken.append(empty[0])
            self._give(empty[0], None, handler, claim)

    def _give(self, slot, before, handler, claim):
        if before != claim:
            self.changed.append((slot, before))
            try:
                _hv.claim(self.guest.id, slot, *claim)
            except OSError as e:
                if e.args[0] == EEXIST:
                    raise OSError(EEXIST, "%#x to %#x is memory or another device of %s" % (
                        claim[1], claim[2], self.guest.name))
                raise
        self.given.append((slot, handler))

    def undo(self):
        for slot, before in reversed(self.changed):
            try:
                if before is None:
                    _hv.unclaim(self.guest.id, slot)
                else:
                    _hv.claim(self.guest.id, slot, *before)
            except (OSError, ValueError):
                pass  # it was not even made

    def finish(self):
        mine = self.mine
        kept = [slot for slot, _ in self.given]
        for handler in self.leaving:
            handler._hits = handler.hits
            if mine.named.get(handler.name) is handler:
                del mine.named[handler.name]
            if handler in mine.watches:
                mine.watches.remove(handler)
            handler._slots, handler.wanted = [], False
        for slot, handler in self.given:
            mine.table[slot] = handler.call()
            mine.owners[slot] = handler
            handler._slots.append(slot)
            handler._hits -= _hv.claim_hits(self.guest.id, slot)
        for slot in self.had:
            if slot not in kept:
                mine.release(slot)
        for handler in self.entering:
            handler.recorder = None
            if handler.mode == "watch":
                mine.watches.append(handler)
            else:
                mine.named[handler.name] = handler


def _equal(one, other):
    return one == other


def _overlap(one, other):
    return one[0] == other[0] and one[1] <= other[2] and other[1] <= one[2]


# -- soft resets: Python starts anew, policies come back


def _keep():
    try:
        with open(KEPT, "w") as file:
            json.dump({name: policies[name].source for name in policies}, file)
    except OSError as e:
        from hv import events

        events.notice("hv: policies will not outlive a soft reset: %s" % events.said(e))


def again():
    """After a soft reset: what was in force is read again."""
    from hv import events

    try:
        with open(KEPT) as file:
            sources = json.load(file)
    except (OSError, ValueError):
        return
    for name in sorted(sources):
        try:
            policy(name, sources[name])
        except Exception as e:
            events.complain("hv: policy %s did not come back\n%s" % (
                name, events.traceback(e).strip()))
    _resume()


def _resume():
    """A guest whose exit waited when Python went was paused with the core's answer. It goes
    on when its handlers are back."""
    guests = []
    for name in policies:
        for handler in policies[name].claimed():
            if handler.guest not in guests:
                guests.append(handler.guest)
    for guest in guests:
        if guest.state == "paused" and guest.info["note"].startswith(NOTE):
            guest.resume()
