"""A `_hv` for CPython (and MicroPython's unix port): the calls of docs/architecture.md
over dictionaries, strict about states and ranges as the core is."""

import struct

ABI = 1
RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)
RIP = 16
_NAMES = (
    "RFLAGS CR0 CR2 CR3 CR4 EFER DR6 DR7 GDT_BASE GDT_LIMIT IDT_BASE IDT_LIMIT STAR LSTAR CSTAR"
    " FMASK KERNEL_GS_BASE SYSENTER_CS SYSENTER_ESP SYSENTER_EIP PAT SHADOW ACTIVITY"
).split()
for _i, _n in enumerate(_NAMES):
    globals()["REG_" + _n] = 32 + _i

ENOENT, ENOMEM, EFAULT, EBUSY, EEXIST, ENODEV, EINVAL = 2, 12, 14, 16, 17, 19, 22
PAGE = 4096


class World:
    """All that the fake remembers; `reset()` makes a new machine."""

    def __init__(self):
        self.reset()

    def reset(self, cpus=3, memory=512 << 20, backend="svm", modules=None, cpuid=None):
        self.cpu_count = cpus
        self.total = memory
        self.backend = backend
        self.modules = modules or {}
        self.cpuid = cpuid or {}
        self.guests = {}
        self.used = set()
        self.events = []
        self.sent = []
        self.calls = []
        self.captured = []
        self.capture = -1
        self.now = 1_000_000
        self.notify = None
        self.off = False
        self.first = True  # Python's start since power-on
        self.notices = []
        self.alarms = []
        self.caps = {}


WORLD = World()


class _Guest:
    def __init__(self, name):
        self.name = name
        self.state = "new"
        self.reason = "none"
        self.status = 0
        self.ram = []  # (base, size)
        self.pages = {}
        self.vcpus = []
        self.regs = {}
        self.segs = {}
        self.console = b""
        self.typed = b""
        self.uart = bytes((0, 3, 3, 0xB0, 0, 1, 0, 1, 1, 0, 1)) + bytes(38)
        self.crash = None
        self.exits = {}
        self.platform = None
        self.devices = []
        self.cpuid = self.msrs = b""
        self.entries = 0
        self.screen = 0
        self.claims = {}
        self.hits = {}
        self.exit_objects = {}
        self.ring = []
        self.traces = {}  # vCPU -> (on, size, notes)
        self.drops = 0
        self.lines = []
        self.walks = {}


def _g(i):
    if i not in WORLD.guests:
        raise ValueError(f"no guest {i}")
    return WORLD.guests[i]


def backend():
    return WORLD.backend


def missing():
    return ()


def caps():
    return dict(WORLD.caps)


def emulator():
    return "qemu"


def tsc_hz():
    return 1_000_000_000


def tsc():
    WORLD.now += 100_000  # time passes by looking at it
    return WORLD.now


def first_start():
    return WORLD.first


def cpus():
    owner = {}
    for i, g in WORLD.guests.items():
        for cpu in g.vcpus:
            owner[cpu] = i
    out = []
    for n in range(WORLD.cpu_count):
        # As on the machine, a CPU is slow to say that it is idle again.
        state = "control" if n == 0 else "guest" if n in WORLD.used else "idle"
        out.append((n, n, state, owner.get(n, -1)))
    return tuple(out)


def memory():
    used = sum([s for g in WORLD.guests.values() for _, s in g.ram])
    free = WORLD.total - used - (64 << 20)
    return {"total": WORLD.total, "free": free, "largest": free, "monitor": 8 << 20,
            "heap": 16 << 20, "pool": 4 << 20, "ranges": ((0, WORLD.total, 1),)}


def modules():
    return tuple([(n, "", len(d)) for n, d in WORLD.modules.items()])


def module(name):
    if name not in WORLD.modules:
        raise ValueError(f"no boot module {name}")
    return memoryview(WORLD.modules[name])


def guest_create(name):
    for i in range(16):
        if i not in WORLD.guests:
            WORLD.guests[i] = _Guest(name)
            return i
    raise OSError(28)


def guest_destroy(i):
    if _g(i).state == "running":
        raise OSError(EBUSY)
    del WORLD.guests[i]


def guest_add_ram(i, gpa, size):
    if size % (2 << 20):
        raise ValueError("size")
    if size > memory()["free"]:
        raise OSError(ENOMEM)
    _g(i).ram.append((gpa, size))


def guest_add_vcpu(i, cpu):
    if cpu >= WORLD.cpu_count:
        raise OSError(19)
    _g(i).vcpus.append(cpu)
    WORLD.used.add(cpu)


def guest_set_cpuid(i, data):
    assert len(data) % 48 == 0 and len(data) // 48 <= 96
    _g(i).cpuid = bytes(data)


def guest_set_msrs(i, data):
    assert len(data) % 32 == 0 and len(data) // 32 <= 96
    _g(i).msrs = bytes(data)


def guest_platform(i, unix_seconds):
    _g(i).platform = unix_seconds


def guest_firmware(i, files):
    _g(i).firmware = bytes(files)


def guest_device(i, name):
    if name != "testdev":
        raise OSError(ENODEV)
    _g(i).devices.append(name)


def _state(i, wanted, new):
    g = _g(i)
    if g.state not in wanted:
        raise OSError(EBUSY if g.state == "running" else EINVAL)
    g.state = new
    WORLD.events.append(("state", i))


def guest_start(i):
    g = _g(i)
    assert g.platform is not None and g.vcpus and g.ram and g.cpuid and g.msrs
    _state(i, ("new",), "running")
    g.entries += 1


def guest_pause(i):
    _state(i, ("running",), "paused")


def guest_resume(i):
    _state(i, ("paused",), "running")


def guest_stop(i):
    _state(i, ("running", "paused"), "off")
    _g(i).reason = "stopped"


def guest_reset(i):
    g = _g(i)
    if g.state == "running":
        raise OSError(EBUSY)
    g.state, g.reason, g.status, g.crash = "new", "none", 0, None
    g.regs, g.segs = {}, {}


def end(i, reason, status=0, crash=None):
    """For tests: the guest ends by itself."""
    g = _g(i)
    g.state = "crashed" if reason == "crash" else "off"
    g.reason, g.status, g.crash = reason, status, crash
    WORLD.events.append(("state", i))


def guest_info(i):
    g = _g(i)
    return {
        "name": g.name, "state": g.state, "reason": g.reason, "status": g.status,
        "vcpus": tuple([(cpu, g.state, g.entries) for cpu in g.vcpus]),
        "memory": sum([s for _, s in g.ram]), "starts": g.entries, "note": "",
        "unclaimed_io": 0, "unclaimed_memory": 0, "screen": g.screen,
        "decoded": (0, 0),
    }


def guest_ids():
    return tuple(sorted(WORLD.guests))


def guest_exits(i):
    return dict(_g(i).exits)


def guest_crash(i):
    return _g(i).crash


def _span(g, gpa, size):
    for base, length in g.ram:
        if base <= gpa and gpa + size <= base + length:
            return
    raise OSError(EFAULT)


def guest_write(i, gpa, data):
    g = _g(i)
    data = bytes(data)
    _span(g, gpa, len(data))
    at = 0
    while at < len(data):
        page, offset = (gpa + at) // PAGE, (gpa + at) % PAGE
        part = data[at : at + PAGE - offset]
        if page not in g.pages:
            g.pages[page] = bytearray(PAGE)
        g.pages[page][offset : offset + len(part)] = part
        at += len(part)


def guest_read(i, gpa, size):
    g = _g(i)
    _span(g, gpa, size)
    out = bytearray()
    while len(out) < size:
        page, offset = (gpa + len(out)) // PAGE, (gpa + len(out)) % PAGE
        data = g.pages.get(page)
        want = min(PAGE - offset, size - len(out))
        out += data[offset : offset + want] if data else bytes(want)
    return bytes(out)


def guest_load_module(i, gpa, name, offset, size):
    data = module(name)
    if offset + size > len(data):
        raise ValueError("range")
    guest_write(i, gpa, data[offset : offset + size])


def _parked(i):
    g = _g(i)
    if g.state == "running":
        raise OSError(EBUSY)
    return g


def reg_get(i, vcpu, reg):
    return _parked(i).regs.get(reg, 0)


def reg_set(i, vcpu, reg, value):
    _parked(i).regs[reg] = value


def seg_get(i, vcpu, seg):
    return _parked(i).segs.get(seg, (0, 0, 0xFFFF, 0x93))


def seg_set(i, vcpu, seg, selector, base, limit, attributes):
    _parked(i).segs[seg] = (selector, base, limit, attributes)


def console_read(i, position, limit):
    g = _g(i)
    data = g.console[position : position + limit]
    return data, position + len(data)


def console_write(i, data):
    _g(i).typed += bytes(data)
    return len(data)


def event():
    return WORLD.events.pop(0) if WORLD.events else None


def answer(i, vcpu, action, value):
    WORLD.calls.append(("answer", i, vcpu, action, value))


def notify(function, names=None):
    WORLD.notify = function


def uninterrupted(function, *args):
    return function(*args)


interruptible = uninterrupted


def channel_send(kind, stream, data):
    if len(data) > 1024:
        raise ValueError("a frame holds 1024 bytes")
    WORLD.sent.append((kind, stream, bytes(data)))


def capture(stream):
    WORLD.capture = stream
    WORLD.captured.append(stream)


def cpuid(leaf, subleaf):
    if (leaf, subleaf) in WORLD.cpuid:
        return WORLD.cpuid[(leaf, subleaf)]
    return WORLD.cpuid.get((leaf, None), _cpuid(leaf, subleaf))


def _cpuid(leaf, subleaf):
    amd = struct.unpack("<3I", b"AuthenticAMD")
    intel = struct.unpack("<3I", b"GenuineIntel")
    b, d, c = amd if WORLD.backend == "svm" else intel
    ones = 0xFFFFFFFF
    if leaf == 0:
        return (0xD, b, c, d)
    if leaf == 0x80000000:
        return (0x8000001F, b, c, d)
    if leaf == 0x80000008:
        return (0x3028, ones, ones, ones)
    if leaf == 0xD and subleaf == 0:
        return (0x2FF, 0xA88, 0xA88, 0)
    if leaf == 0xD and subleaf >= 2:
        return {2: (256, 576, 0, 0), 5: (64, 1088, 0, 0), 6: (512, 1152, 0, 0),
                7: (1024, 1664, 0, 0), 9: (8, 2688, 0, 0)}.get(subleaf, (0, 0, 0, 0))
    if leaf == 7 and subleaf == 0:
        return (1, ones, ones, ones)
    return (ones, ones, ones, ones)


def poweroff():
    WORLD.off = True


def notice(text):
    WORLD.notices.append(text)
    return True


def alarm(milliseconds):
    WORLD.alarms.append(milliseconds)


# -- exits that Python claims


class Exit:
    """What a vCPU waits with: attributes as the core's, set by a test."""

    def __init__(self, guest_id, index, guest, vcpu, table):
        self.__dict__.update(guest=guest, vcpu=vcpu, table=table, index=index, slots=0, before=0,
                             answered=False, asked=False, over=True, log=[])
        _g(guest_id).exit_objects[index] = self

    def __setattr__(self, name, value):
        if not isinstance(value, int):
            raise TypeError("can't convert to int")
        self.__dict__[name] = value
        self.__dict__["answered"] = True
        self.log.append((name, value))

    @property
    def slot(self):
        return (self.slots & -self.slots).bit_length() - 1

    def _do(self, what):
        if self.over:
            raise OSError(EINVAL, "this exit is over")
        self.log.append(what)
        self.__dict__["answered"] = True

    def waits(self):
        return not self.over

    def skip(self):
        self._do("skip")

    def inject(self, vector, error=None):
        self._do(("inject", vector, error))

    def core(self):
        self.__dict__["asked"] = True
        self._do("core")

    def untimed(self):
        self.log.append("untimed")

    def pause(self):
        _g(self.guest.id).state = "paused"

    def stop(self):
        guest_stop(self.guest.id)
        self.__dict__["over"] = True

    def done(self):
        if not self.over and not self.answered and self.before and not self.__dict__.get("write"):
            return False
        self.__dict__["over"] = True
        return True


def _exit(i, kind, slots, **about):
    """A vCPU of guest i leaves; its handler is called as the core does. Returns its Exit."""
    g = _g(i)
    x = g.exit_objects[0]
    modes = {s: g.claims[s][3] for s in g.claims}
    before = sum([1 << s for s in modes if slots >> s & 1 and modes[s] == "instead"])
    x.__dict__.update(kind=kind, slots=slots, before=before, answered=False, asked=not before,
                      over=False, log=[], rip=0x1000, **about)
    for s in modes:
        g.hits[s] = g.hits.get(s, 0) + (slots >> s & 1)
    if slots & (slots - 1):
        WORLD.events.append(("several", x, None))
        return x
    try:
        result = x.table[x.slot](x)
    except BaseException as e:
        WORLD.events.append(("failed", x, e))
        return x
    if result is not None:
        WORLD.events.append(("later", x, result))
    elif not x.done():
        WORLD.events.append(("unanswered", x, None))
    return x


def claim(i, slot, kind, low, high, mode):
    assert mode in ("after", "instead", "watch") and low <= high and 0 <= slot < 31
    if kind == "mmio" and high < 2 << 20:
        raise OSError(EEXIST)
    _g(i).claims[slot] = (kind, low, high, mode)
    _g(i).hits[slot] = 0


def unclaim(i, slot):
    if slot not in _g(i).claims:
        raise OSError(EINVAL)
    del _g(i).claims[slot]


def claim_hits(i, slot):
    return _g(i).hits.get(slot, 0)


def handler_names(names):
    WORLD.names = names


def watch_read(i, limit):
    ring = _g(i).ring
    out, ring[:] = ring[:limit], ring[limit:]
    drops, _g(i).drops = _g(i).drops, 0
    return drops, out


def trace(i, vcpu, size):
    rings = _g(i).traces
    on, had, notes = rings.get(vcpu, (False, 0, []))
    if size is None:
        rings.pop(vcpu, None)
    elif size == 0:
        rings[vcpu] = (False, had, notes)
    else:
        assert 16 <= size <= 16384 and size & size - 1 == 0
        rings[vcpu] = (True, size, notes if had == size else [])


def trace_info(i, vcpu):
    on, size, notes = _g(i).traces.get(vcpu, (False, 0, []))
    return on, size, len(notes)


def trace_read(i, vcpu, number):
    _, size, notes = _g(i).traces.get(vcpu, (False, 0, []))
    return (number,) + notes[number] if len(notes) - size <= number < len(notes) else None


def console_put(i, data):
    _g(i).console += bytes(data)
    return len(data)


def console_take(i, limit):
    g = _g(i)
    data, g.typed = g.typed[:limit], g.typed[limit:]
    return data


def console_claim(i, on):
    WORLD.calls.append(("console_claim", i, on))


def guest_uart(i, state=None):
    if state is None:
        return _g(i).uart
    _g(i).uart = bytes(state)


def guest_line(i, irq, level):
    _g(i).lines.append((irq, level))


def guest_share(i, gpa, size, to, to_gpa):
    WORLD.calls.append(("share", i, gpa, size, to, to_gpa))


def guest_walk(i, vcpu, gva, access):
    return _g(i).walks.get(gva & ~0xFFF, (gva, None, ((0x2000, 0x3027), (0x3000, 0x4067))))


def nested_walk(i, gpa):
    return (0x20_0007 | gpa & ~0x1F_FFFF, 2) if gpa < 1 << 30 else (0, 0)


def field_get(i, vcpu, field):
    return 0x1122_3344_5566_7788


def decode(bits, data):
    return (1, "nop") if data[:1] == b"\x90" else None


def explain(i, vcpu):
    return "GUEST_RFLAGS: bit 1 must be set"
