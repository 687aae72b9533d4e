"""Traces: the newest exits of a guest, in a ring of the core: g.trace, v.trace."""

import json

import _hv
from hv import text, watching

SIZE = 1024
LARGEST = 16384  # TRACE_MOST of hypervisor/virt/trace.h
SHOWN = 20
MICRO = 1_000_000
SIZES = {1: "b", 2: "w", 4: "l"}
STRING = 2  # bit of a port access's third word
ENOMEM = 12


class Traced(watching.Seen):
    """An exit of a trace: kind, vcpu, rip, what it was about by name as in a watch; tsc and
    entered (host TSC at the exit and when the guest went on; 0: it has not yet), ticks in
    between, done (the instruction was completed), string (INS, OUTS), number (from 0 on)."""

    def __init__(self, number, kind, vcpu, rip, tsc, words, done, entered):
        super().__init__(kind, vcpu, rip, tsc, words, done)
        self.number = number
        self.entered = entered
        self.done = done
        self.string = kind == "io" and bool(words[2] & STRING)

    @property
    def ticks(self):
        """TSC ticks from the exit until the guest went on; None: it has not yet."""
        return self.entered - self.tsc if self.entered else None

    def about(self):
        """What it was about, in a few words."""
        kind = self.kind
        if kind == "io":
            name = ("outs" if self.write else "ins") if self.string else (
                "out" if self.write else "in")
            said = "%s%s %#x" % (name, SIZES.get(self.size, ""), self.port)
            if self.string or not (self.write or self.done):
                return said
            return "%s %s %#x" % (said, "<-" if self.write else "->", self.value)
        if kind in ("rdmsr", "wrmsr"):
            if self.fault and self.entered:
                return "msr %#x: #GP" % self.msr
            if kind == "rdmsr" and not self.done:
                return "msr %#x" % self.msr
            return "msr %#x %s %#x" % (self.msr, "->" if kind == "rdmsr" else "<-", self.value)
        if kind == "nested_fault":
            return "%s at %#x" % ("write" if self.write else "read", self.gpa)
        return " ".join(["%s %#x" % (n, w) for n, w in zip(watching.names(kind), self.words)])

    def json(self):
        """As a dict of numbers and text."""
        out = {"number": self.number, "vcpu": self.vcpu, "kind": self.kind, "rip": self.rip,
               "tsc": self.tsc, "ticks": self.ticks, "done": self.done, "about": self.about()}
        for name in watching.names(self.kind):
            out[name] = getattr(self, name)
        return out


class Histogram:
    """Where a trace's time went: reasons {kind: (exits, ticks)}, rips {(rip, kind): (exits,
    ticks)}; the repr is two tables, the most time first. HLT's time is sleep."""

    def __init__(self, trace):
        self.reasons = {}
        self.rips = {}
        self._trace = trace
        for one in trace:
            ticks = one.ticks or 0
            for row, key in ((self.reasons, one.kind), (self.rips, (one.rip, one.kind))):
                count, sum_ = row.get(key, (0, 0))
                row[key] = (count + 1, sum_ + ticks)

    def __str__(self):  # MicroPython would print the plain base class
        return self.__repr__()

    def __repr__(self):
        if not self.reasons:
            return "no exits in the trace"
        hz = _hv.tsc_hz()

        def table(head, row, name):
            found = sorted([(t, n, k) for k, (n, t) in row.items()])
            rows = [(n, t, t * MICRO // hz, t // n) + name(k) for t, n, k in reversed(found)]
            return text.table([("exits", "ticks", "us", "each") + head] + rows[:SHOWN])

        return "%s\n\n%s" % (
            table(("reason",), self.reasons, lambda k: (k,)),
            table(("reason", "at"), self.rips, lambda k: (k[1], self._trace.where(0, k[0]))))


class Trace:
    """The newest exits of a guest (g.trace) or of one vCPU (v.trace), oldest first: on(size),
    off(), clear(), show(n), histogram(), save(file); len(), iteration, print()."""

    def __init__(self, guest, vcpus):
        self._guest = guest
        self._vcpus = vcpus

    def _infos(self):
        return [_hv.trace_info(self._guest.id, v.index) for v in self._vcpus]

    def on(self, size=SIZE):
        """Traces from now on: the newest `size` exits of each vCPU stay (rounded up to a power
        of two from 16 to 16384, 128 bytes each of the monitor's memory). ValueError: more than
        these. OSError(ENOMEM)."""
        if size > LARGEST:
            raise ValueError("a trace of %d exits a vCPU is too long; the most are %d" % (
                size, LARGEST))
        count = 16
        while count < size:
            count *= 2
        for v in self._vcpus:
            try:
                _hv.trace(self._guest.id, v.index, count)
            except OSError as e:
                if e.args[0] == ENOMEM:
                    raise OSError(ENOMEM, "no memory for %d exits a vCPU; %s are free" % (
                        count, text.size_text(_hv.memory()["pool"] // 1024 * 1024)))
                raise
        return self

    def off(self):
        """Traces no more; what there is stays to be looked at."""
        for v in self._vcpus:
            _hv.trace(self._guest.id, v.index, 0)
        return self

    def clear(self):
        """Off, and the memory is given back."""
        for v in self._vcpus:
            _hv.trace(self._guest.id, v.index, None)
        return self

    @property
    def active(self):
        """True between on() and off()."""
        return any([info[0] for info in self._infos()])

    @property
    def size(self):
        """Exits for which there is room, of all its vCPUs; 0: never on."""
        return sum([info[1] for info in self._infos()])

    @property
    def overwritten(self):
        """Exits that newer ones have taken the place of."""
        return sum([max(0, written - size) for _, size, written in self._infos()])

    def __len__(self):
        return sum([min(size, written) for _, size, written in self._infos()])

    def __bool__(self):
        return True

    def _of(self, vcpu, first, end):
        for number in range(first, end):
            row = _hv.trace_read(self._guest.id, vcpu.index, number)
            if row is not None:  # else overwritten meanwhile
                yield Traced(*row)

    def since(self, at, most=1 << 30):
        """The exits from the numbers `at` on, one a vCPU, at most `most` of each, by time:
        (exits, numbers for the next call, how many were overwritten before)."""
        spans = []
        lost = 0
        for (_, size, written), first in zip(self._infos(), at):
            begin = max(min(first, written), written - size)
            lost += max(0, begin - first)
            spans.append((begin, min(written, begin + most)))
        return self._merge(spans), [end for _, end in spans], lost

    def _merge(self, spans):
        rows = [self._of(v, *span) for v, span in zip(self._vcpus, spans)]
        heads = [next(row, None) for row in rows]
        while True:
            first = None
            for i, head in enumerate(heads):
                if head is not None and (first is None or head.tsc < heads[first].tsc):
                    first = i
            if first is None:
                return
            yield heads[first]
            heads[first] = next(rows[first], None)

    def __iter__(self):
        return self.since([0] * len(self._vcpus))[0]

    def last(self, count=SHOWN):
        """The newest `count` exits, oldest first."""
        spans = [(max(0, written - min(count, size)), written)
                 for _, size, written in self._infos()]
        return list(self._merge(spans))[-count:]

    def where(self, vcpu, address):
        """An address by the guest's symbols."""
        found = self._guest.vcpus[vcpu].where(address)
        return "%#x" % address if found.name is None else "%s+%#x" % (found.name, found.offset)

    def show(self, count=SHOWN):
        """A table of the newest `count` exits: microseconds before the newest, ticks until the
        guest went on."""
        seen = self.last(count)
        if not seen:
            return text.Text("no exits yet; trace.on() begins" if not self.active
                               else "no exits yet")
        end, hz = seen[-1].tsc, _hv.tsc_hz()
        rows = [("us", "ticks", "vcpu", "exit", "about", "at")]
        for one in seen:
            rows.append(("%.1f" % ((one.tsc - end) * 1e6 / hz),
                         "-" if one.ticks is None else str(one.ticks), str(one.vcpu), one.kind,
                         one.about(), self.where(one.vcpu, one.rip)))
        return text.Text(text.table(rows))

    def histogram(self):
        """Counts and time by reason, and by reason and RIP."""
        return Histogram(self)

    def save(self, file):
        """Writes all of it as JSON lines to a file of the RAM disk, or an open file; returns
        how many."""
        if isinstance(file, str):
            with open(file, "w") as opened:
                return self.save(opened)
        count = 0
        for one in self:
            file.write(json.dumps(one.json()) + "\n")
            count += 1
        return count

    def __str__(self):  # as the repr, on MicroPython, too
        return self.__repr__()

    def __repr__(self):
        over = self.overwritten
        return "%s\n%d exits of %s%s, %s, %s" % (
            self.show(), len(self), self._guest.name,
            ", %d before them overwritten" % over if over else "",
            "on" if self.active else "off", text.size_text(self.size * 128))


# -- for `hv trace`: lines of JSON


def begin(name, size):
    """Traces, from now on or still; where to begin reading."""
    from hv import vm

    trace = vm.guest(name).trace
    was = trace.active
    if not was:
        trace.on(size)
    # What was there before is old; what a trace holds that is on already is wanted.
    at = [0 if was else written for _, _, written in trace._infos()]
    print(json.dumps({"was": was, "next": at, "hz": _hv.tsc_hz()}))


def tell(name, at, most):
    """What has come since, an exit a line, and one line to go on with."""
    from hv import vm

    guest = vm.guest(name)
    trace = guest.trace
    state = guest.state  # of before: what an ended guest did is complete
    found, after, lost = trace.since(at, most)
    for one in found:
        row = one.json()
        row["at"] = trace.where(one.vcpu, one.rip)
        print(json.dumps(row))
    print(json.dumps({"next": after, "lost": lost, "state": state,
                      "left": sum([i[2] - n for i, n in zip(trace._infos(), after)])}))


def end(name, was):
    """As it was before begin(); a crash record keeps its last exits."""
    from hv import vm

    guest = vm.guest(name)
    if not was:
        guest.trace.off() if guest.state == "crashed" else guest.trace.clear()
