"""Guests: made, loaded, started, looked at."""

import _hv
from hv import acpi, clock, cpuid, exits, making, moves, mptable, smbios, text, watching
from hv.console import Console
from hv.crash import Crash
from hv.loaders import load
from hv.memory import Memory
from hv.paused import Paused
from hv.rules import RULES, values
from hv.rules import devices as named
from hv.screen import Screen
from hv.target import Target
from hv.vcpu import VCpu

ENOENT, EBUSY, EINVAL = 2, 16, 22
KHZ = 1000
GONE = 0xFFFF_FFFF  # the number of a guest that was destroyed
LAST_EXITS = 8  # in a crash record

# Guests by id, so that a name is always the same object.
_known = {}


class Guest:
    """A guest. Guest("name", cpus=1, memory="256M") makes one; then .load(image),
    .start(), .pause(), .resume(), .reset(), .stop(), .destroy(). Look at .state,
    .exits, .crash, .memory, .vcpus[0], .console; wait("off", "crash") waits.
    devices names what a plain PC has not: "testdev"; cpuid and msr are answers as in a
    partition file: cpuid=[{"leaf": 7, "hide_ebx": 0x20}]."""

    def __init__(self, name, cpus=1, memory="256M", devices=(), paravirt=True, hide=(),
                 cpuid=(), msr=(), _id=None):
        """cpus: how many, or their numbers (0: in slices); memory: bytes, or "64M". ValueError:
        names, sizes, devices or features that cannot be; TypeError: of a wrong type;
        OSError: EBUSY (a CPU is taken), ENOMEM, EEXIST (the name), ENODEV (no virtualisation)."""
        self.name = name
        self.cpuid, self.msr = making.own("cpuid", cpuid), making.own("msr", msr)
        devices = making.devices(devices)
        self.paravirt = bool(paravirt)  # the KVM-compatible clock is shown
        self.hide = making.hidden(hide)  # CPUID features that it does not see
        self._load = None  # the arguments of load(), for reset and restart
        self._registers = {}  # that guest_from() was given, for each start
        self._entry = None
        self._fresh = True
        self.image = None  # what load() found: kind, mode, entry, memory
        self._watched = False  # its shell was or will be announced
        self.policies = {}
        self._slots = None  # handlers and watches (exits.py)
        self.symbols = None  # load_symbols()
        self.restarts = 0
        if _id is None:
            _id = self._make(name, cpus, making.size_of(memory), devices)
        self.id = _id
        _known[_id] = self
        info = _hv.guest_info(_id)
        self.name = info["name"]
        self.memory_size = info["memory"]
        self.memory = Memory(_id, self.memory_size)
        self.vcpus = [VCpu(_id, i) for i in range(len(info["vcpus"]))]
        self.console = Console(self)
        self.screen = Screen(_id)
        try:
            self.add_devices(devices)
        except BaseException:
            self.destroy()  # nobody has it yet
            raise

    def _make(self, name, cpus, memory, devices):
        if not isinstance(name, str):
            raise TypeError("%r is no name; write hv.Guest(\"mine\")" % (name,))
        wrong = values.name(name, True)
        if wrong is not None:
            raise ValueError("%s; %s" % (wrong[1], wrong[2] or RULES[wrong[0]][1]))
        for guest in guests():
            if guest.name == name:
                raise ValueError("%s exists already; destroy() it or take another name" % name)
        return making.create(self, name, cpus, memory, devices)

    # -- life

    def load(self, image, initrd=(), cmdline="", kind=None, modules=()):
        """Loads a boot module by name, or bytes; its kind is detected unless said. ValueError: it
        cannot be loaded; OSError: the guest is not new."""
        self._need("load")
        if isinstance(initrd, str):
            initrd = (initrd,)
        if isinstance(modules, str):
            modules = (modules,)
        self._load = (image, tuple(initrd), cmdline, kind, tuple(modules))
        self._place()
        return self

    def _place(self):
        name, initrd, cmdline, kind, modules = self._load
        for at, table in self._tables():
            _hv.guest_write(self.id, at, table)
        target = Target(self, name, self._fresh)
        self._fresh = False
        # Without the paravirtual clock Linux learns the frequency in no other way on AMD.
        blind = _hv.backend() == "svm" and not self.paravirt
        khz = _hv.tsc_hz() // KHZ if blind else 0
        self._entry = None  # until all of it went well
        self.image, self._entry = load(target, name, initrd, cmdline, kind, modules, khz)
        self._entry.apply(self.vcpus[0])
        for register, value in self._registers.items():
            self.vcpus[0].set(register, value)
        self._watched = False

    def _tables(self):
        """What describes the machine in memory: ACPI, SMBIOS, the MP table."""
        count = len(self.vcpus)
        signature, features = cpuid.identity(_hv.cpuid)
        mhz = _hv.tsc_hz() // 1_000_000
        return (acpi.build(count)
                + smbios.build(self.memory_size, count, signature, features, mhz)
                + mptable.build(count, signature, features))

    def load_symbols(self, module, slide=None):
        """A table of symbols from a boot module (--symbols, symbols =): names in where(), in
        crash records, hv.why() and disasm(). slide: how far the guest is from where it was
        linked; without it Linux is asked."""
        from hv.symbols import Symbols

        self.symbols = Symbols(module, slide)
        return self.symbols

    def start(self):
        """Starts the guest at its entry point. OSError: it is not new, or has no image."""
        self._need("start")
        if self._entry is None:
            raise OSError(EINVAL, "%s has no image; load() one first" % self.name)
        _hv.guest_start(self.id)
        return self

    def pause(self):
        """Stops the guest's vCPUs where they are. OSError: it does not run."""
        self._move("pause", _hv.guest_pause)
        return self

    def resume(self):
        """Lets a paused guest go on. OSError: it is not paused."""
        self._move("resume", _hv.guest_resume)
        return self

    def paused(self):
        """with g.paused(): ... resumes at the end when it was running."""
        return Paused(self)

    def reset(self):
        """Back to the power-on state with its image loaded again, ready to start(). OSError: it
        was not loaded from here."""
        if self._load is None:
            raise OSError(
                EINVAL, "%s was not loaded from here; destroy() and make it anew" % self.name)
        if self.state in ("running", "paused"):
            _hv.guest_stop(self.id)
        _hv.guest_reset(self.id)
        if self._slots:
            from hv import device as devices

            devices.reset_all(self)
        if self.symbols is not None:
            self.symbols.reset()
        making.give_answers(self, self.id, len(self.vcpus))  # its MSRs as they were
        making.power_on(self.id, self.memory_size)
        self._place()
        return self

    def stop(self):
        """Ends the guest; its memory stays to be looked at. OSError: it is new, or over."""
        self._move("stop", _hv.guest_stop)
        return self

    def destroy(self):
        """Gives back the guest's CPUs and memory; it is gone afterwards."""
        from hv import device, events

        if self.state in ("running", "paused"):
            _hv.guest_stop(self.id)
        device.forget_all(self)
        _hv.guest_destroy(self.id)
        _known.pop(self.id, None)
        events.forget(self.id)
        # The number may be another guest's soon: what is left of this one has none.
        self.id = self.memory._id = self.screen._id = GONE
        for words in (self.memory.u8, self.memory.u16, self.memory.u32, self.memory.u64):
            words._id = GONE
        for vcpu in self.vcpus:
            vcpu._guest = GONE

    def _need(self, verb):
        now = self.state
        said = moves.refusal(self.name, now, verb)
        if said is not None:
            raise OSError(EBUSY if now == "running" else EINVAL, said)

    def _move(self, verb, call):
        self._need(verb)
        try:
            call(self.id)
        except OSError as e:
            if len(e.args) == 1:  # the core says the number only
                self._need(verb)  # the guest ended meanwhile
            raise

    # -- looking

    @property
    def info(self):
        """Everything the core counts about this guest, as a dict (`_hv.guest_info`). OSError: it
        was destroyed."""
        try:
            return _hv.guest_info(self.id)
        except (OSError, ValueError):
            raise OSError(ENOENT, "%s was destroyed" % self.name)

    @property
    def moves(self):
        """What it can be told in its present state: ("pause", "stop", ...)."""
        return moves.legal(self.state)

    @property
    def kind(self):
        """The kind of its image, None when it was not loaded from here."""
        return self.image.kind if self.image else None

    def exists(self):
        """False once it was destroyed."""
        return self.id in _hv.guest_ids() and _known.get(self.id) is self

    @property
    def state(self):
        """new, running, paused, off or crashed."""
        return self.info["state"]

    @property
    def exits(self):
        """Counts of exits by kind, the most frequent first."""
        return Exits(_hv.guest_exits(self.id))

    def watch(self, kind, fn=None, **filters):
        """Notes exits in a ring without stopping the guest; prints them or calls fn."""
        return watching.watch(self, kind, fn, filters)

    @property
    def trace(self):
        """The newest exits, with their times: trace.on(), print(g.trace)."""
        from hv import trace

        return trace.Trace(self, self.vcpus)

    def attach(self, device, ports=None, mmio=None, size=None, irq=None, name=None):
        """Gives the guest a hv.Device: ports=0x510 or a range, mmio= with size=, irq=."""
        from hv import device as devices

        return devices.attach(self, device, ports, mmio, size, irq, name)

    def add_devices(self, names):
        """The devices in Python that have a name in partition files."""
        for entry in names:
            if named.name_of(entry) in named.PYTHON:
                from hv import devices

                devices.add(self, entry)

    def replace(self, name, device=None):
        """Puts a device in Python in the place of the core's ("uart"), which runs on as the
        guest knows it; detach() gives the place back."""
        from hv import device as devices

        return devices.replace(self, name, device)

    def detach(self, device):
        """Takes a device of attach() away."""
        from hv import device as devices

        devices.detach(self, device)

    @property
    def devices(self):
        """The devices of attach() by name."""
        if not self._slots:
            return {}
        return {name: row[0] for name, row in self._slots.devices.items()}

    @property
    def nested(self):
        """nested.walk(gpa): where the machine's memory behind an address lies."""
        from hv import look

        return look.Nested(self.id)

    def on(self, kind, fn=None, name=None, instead=False, **filters):
        """@g.on("cpuid", leaf=1) or g.on("cpuid", function, leaf=1): exits go to Python."""
        return exits.on(self, kind, fn, name, instead, filters)

    @property
    def handlers(self):
        """The handlers by name; prints as a table."""
        return exits.Handlers(self._slots.named if self._slots else {})

    @property
    def crash(self):
        """The crash record, or None."""
        record = _hv.guest_crash(self.id)
        if record is None:
            return None
        vcpu = self.vcpus[record.get("vcpu", 0)]
        if self.symbols is not None:
            record["where"] = str(vcpu.where(record["rip"]))
        trace = vcpu.trace
        if len(trace):
            record["trace"] = repr(trace.show(LAST_EXITS))
        return Crash(record)

    def wait(self, *names, timeout=None):
        """Waits for a state ("off", "crashed", "paused", ...) and returns it. TimeoutError after
        `timeout` seconds (None: never); ValueError: no such state."""
        wanted = ["crashed" if n == "crash" else n for n in names] or ["off", "crashed"]
        for name in wanted:
            if name not in moves.STATES:
                raise ValueError(text.unknown("state", name, moves.STATES))

        def reached():
            return self.state if self.state in wanted else None

        return clock.until(reached, timeout, "%s of %s" % (" or ".join(wanted), self.name))

    def _row(self):
        info = self.info
        cpus = ",".join([str(v[0]) for v in info["vcpus"]])
        total = sum(_hv.guest_exits(self.id).values())
        reason = info.get("reason")
        state = info["state"]
        if state == "off" and reason != "none":
            state += " (%s)" % reason
        return (self.name, state, cpus, text.size_text(info["memory"]), str(total))

    _HEAD = ("guest", "state", "cpu", "memory", "exits")

    def __repr__(self):
        try:
            return text.table([self._HEAD, self._row()])
        except OSError:
            return "<guest %s, destroyed>" % self.name


class Exits(dict):
    """Counts by kind; the repr is a table, the most frequent first."""

    def __str__(self):  # MicroPython would print the plain base class
        return self.__repr__()

    def __repr__(self):
        rows = sorted([(n, k) for k, n in self.items() if n])
        if not rows:
            return "no exits yet"
        return text.table([("exits", "kind")] + list(reversed(rows)))


class Guests(list):
    """The guests there are; the repr is a table."""

    def __getitem__(self, place):
        if isinstance(place, str):
            raise TypeError("a list of guests has no names; write hv.guest(%r)" % place)
        return list(self)[place]  # MicroPython's list has no __getitem__ to call

    def __str__(self):  # MicroPython would print the plain base class
        return self.__repr__()

    def __repr__(self):
        if not self:
            return "no guests; make one with hv.Guest(name, cpus=1, memory=\"256M\")"
        return text.table([Guest._HEAD] + [g._row() for g in self])


def guests():
    """All guests, those that an earlier Python made included."""
    out = Guests()
    for guest_id in _hv.guest_ids():
        out.append(by_id(guest_id))
    return out


def by_id(guest_id):
    known = _known.get(guest_id)
    if known is None or known.name != _hv.guest_info(guest_id)["name"]:
        known = Guest(None, _id=guest_id)
        known._fresh = False
    return known


def guest(name):
    """The guest with this name; ValueError lists the known ones."""
    everybody = guests()
    for g in everybody:
        if g.name == name:
            return g
    raise ValueError(text.unknown("guest", name, [g.name for g in everybody]))
