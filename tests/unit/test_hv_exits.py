"""Handlers, watches and devices in Python, over the fake machine."""

import pytest
from unit import fake_hv

MSRS = 0xC000_0000


@pytest.fixture
def guest(world):
    import hv

    hv._init({})
    g = hv.Guest("g0", memory="16M")
    world.guests[g.id].state = "running"
    world.calls.clear()
    return g


def claims(world):
    return world.guests[0].claims


def pump(world):
    while world.events:
        world.notify(None)


def test_on_claims_a_range_and_calls_the_function(world, guest):
    @guest.on("cpuid", leaf=1)
    def hide(x):
        x.ecx = 5

    assert claims(world) == {0: ("cpuid", 1, 1, "after")}
    x = fake_hv._exit(0, "cpuid", 1, leaf=1)
    assert x.over and x.log == [("ecx", 5)]
    assert (hide.hits, guest.handlers["hide"]) == (1, hide)
    assert "hide" in repr(guest.handlers) and "leaf=0x1" in repr(hide)


def test_filters(world, guest):
    guest.on("msr", lambda x: None, msr=(MSRS, MSRS + 9))
    guest.on("io", lambda x: None, port=range(0x10, 0x20), write=True, instead=True)
    guest.on("hlt", print)
    assert sorted(claims(world).values()) == sorted([
        ("rdmsr", MSRS, MSRS + 9, "after"), ("wrmsr", MSRS, MSRS + 9, "after"),
        ("io", 0x10, 0x1F, "instead"), ("hlt", 0, 2**64 - 1, "after")])
    for wrong in ({"lief": 1}, {"leaf": (5, 1)}, {"leaf": range(3, 3)}):
        with pytest.raises(ValueError):
            guest.on("cpuid", print, **wrong)
    with pytest.raises(ValueError, match="did you mean cpuid"):
        guest.on("cpuidd", print)


def test_without_a_function_it_says_how_it_is_used(world, guest):
    waiting = guest.on("cpuid", leaf=1)
    assert repr(waiting) == (
        'no handler yet: write @g.on("cpuid", ...) in the line above a function, '
        'or g.on("cpuid", function, ...)')
    assert claims(world) == {} and "no handlers" in repr(guest.handlers)
    assert waiting(print) is guest.handlers["print"]


def test_a_filter_that_does_not_match_leaves_it_to_the_core(world, guest):
    seen = []
    guest.on("io", seen.append, port=1, write=True, instead=True)
    assert fake_hv._exit(0, "io", 1, port=1, write=False).log == ["core"]
    fake_hv._exit(0, "io", 1, port=1, write=True)
    assert len(seen) == 1


def test_the_same_name_replaces_and_handlers_go_off_and_on(world, guest):
    @guest.on("cpuid", leaf=1)
    def one(x):
        pass

    first = one

    @guest.on("cpuid", leaf=2)
    def one(x):
        pass

    assert claims(world) == {0: ("cpuid", 2, 2, "after")} and not first._slots
    fake_hv._exit(0, "cpuid", 1, leaf=2)
    one.off()
    assert claims(world) == {} and one.hits == 1 and " off " in repr(one)
    one.on().on()
    assert len(claims(world)) == 1
    one.remove()
    assert claims(world) == {} and not guest.handlers


def test_a_name_beside_a_function(world, guest):
    one = guest.on("cpuid", print, name="one", leaf=1)
    assert guest.handlers == {"one": one} and one.function is print
    two = guest.on("io", name="one")(repr)
    assert guest.handlers == {"one": two} and guest.on("hlt", "three")(print).name == "three"
    for wrong, said in (((5,), "name=5 is no name"), ((True,), "write g.on")):
        with pytest.raises(TypeError, match=said):
            guest.on("cpuid", print, *wrong)
    with pytest.raises(TypeError, match="takes a function, not 'two'"):
        guest.on("cpuid", "two", name="three")


def test_one_function_for_several_kinds_and_filters(world, guest):
    def log(x):
        pass

    first = log
    kinds = (("cpuid", {}), ("io", {"port": 0x70}), ("io", {"port": (0x80, 0x8F)}), ("hlt", {}))
    names = ["log", "log (hlt)", "log (io port=0x70)", "log (io port=0x80-0x8f)"]
    for kind, filters in kinds * 2:  # once more is no more
        guest.on(kind, log, **filters)
    assert sorted(guest.handlers) == names and len(claims(world)) == 4
    guest.on("io", log, port=(0x70, 0x70), write=True)
    guest.on("io", log, port=(0x70, 0x70))  # as port=0x70
    assert len(claims(world)) == 5
    guest.handlers["log"].remove()
    guest.on("msr", log)
    assert guest.handlers["log"].kind == "msr"

    @guest.on("rdmsr")
    @guest.on("cpuid", leaf=1)
    def log(x):
        pass

    assert log.function is not first and {h.function for h in guest.handlers.values()} == {
        log.function}
    assert sorted(guest.handlers) == ["log", "log (rdmsr)"]
    assert sorted(claims(world).values()) == [("cpuid", 1, 1, "after"),
                                              ("rdmsr", 0, 2**64 - 1, "after")]
    # A name that was given is one handler's, and a device's is its own.
    import hv

    guest.attach(hv.Device(), ports=0x560, name="log")
    named = guest.on("mmio", log.function, name="mine")
    guest.on("io", log.function)
    assert sorted(guest.handlers) == ["log", "log (io)", "log (io)'", "log (rdmsr)", "mine"]
    guest.on("hlt", log.function, name="log")
    assert guest.handlers["mine"] is named and guest.handlers["log"].kind == "hlt"


@pytest.mark.parametrize("limit", ["x", None, 1.5])
def test_a_limit_that_is_no_number_is_said(world, guest, monkeypatch, limit):
    import hv

    kept = guest.on("cpuid", print, leaf=1)
    monkeypatch.setattr(hv, "handler_limit", limit)
    with pytest.raises(TypeError, match="hv.handler_limit=.* is no number of milliseconds; write"):
        guest.on("cpuid", print, leaf=1)
    assert guest.handlers["print"] is kept and len(claims(world)) == 1
    monkeypatch.setattr(hv, "handler_limit", 0)
    assert guest.on("cpuid", print, leaf=1) is not kept


def test_slots_run_out_with_a_sentence(world, guest):
    for i in range(31):
        guest.on("cpuid", lambda x: None, leaf=i)
    with pytest.raises(OSError, match="31 handlers"):
        guest.on("cpuid", lambda x: None, leaf=99)


@pytest.mark.parametrize(("body", "said"), [
    (lambda x: 1 / 0, "ZeroDivisionError"),
    (lambda x: setattr(x, "value", "text"), "TypeError"),
    (lambda x: None, "unanswered"),
    (lambda x: "nonsense", "unanswered"),
])
def test_a_failing_handler_pauses_its_guest_with_the_cores_answer(world, guest, body, said):
    guest.on("io", body, port=1, instead=True)
    x = fake_hv._exit(0, "io", 1, port=1, write=False, value=0)
    pump(world)
    assert guest.state == "paused" and x.over and x.log[-1] == "core"
    told = [n for n in world.notices if "paused:" in n]
    assert len(told) == 1 and said in told[0] and "g0.resume()" in told[0]


def test_several_handlers_of_one_exit(world, guest):
    order = []
    guest.on("cpuid", lambda x: order.append("after"), leaf=1)
    guest.on("cpuid", lambda x: order.append("silent"), leaf=1, instead=True)
    guest.on("cpuid", lambda x: (order.append("answers"), setattr(x, "eax", 1))[0], leaf=1,
             instead=True)
    fake_hv._exit(0, "cpuid", 7, leaf=1)
    pump(world)
    assert order == ["silent", "answers", "after"]


def test_watch(world, guest):
    import hv

    seen = []
    watch = guest.watch("io", seen.append, port=0x70)
    assert claims(world) == {0: ("io", 0x70, 0x70, "watch")}
    world.guests[0].ring += [(0, "io", 0, 0x1000, 5, (0x70, 1, 1, 0x8F, 0), False, 0)] * 70
    world.guests[0].drops = 3
    world.events.append(("watch", 0))
    pump(world)
    assert len(seen) == 64 and watch.drops == 3
    assert (seen[0].port, seen[0].write, seen[0].value, seen[0].rip) == (0x70, True, 0x8F, 0x1000)
    guest.watch("mmio", lambda s: 1 / 0)
    world.guests[0].ring[:] = [(1, "mmio", 0, 0, 0, (0xD000_0000, 4, 1, 0, 0), True, 0)]
    world.events.append(("watch", 0))
    pump(world)
    assert "watch mmio removed" in world.notices[-1] and 1 not in claims(world)
    printed = guest.watch("hypercall")
    hv.events.handle(("watch", 0))
    printed.remove()


def ring(world, *records):
    world.guests[0].ring[:] = [
        (slot, kind, 0, 0x1000, 5, words + (0,) * (5 - len(words)), True, 0)
        for slot, kind, words in records]
    world.events.append(("watch", 0))
    pump(world)


def test_a_record_goes_to_every_watch_that_it_is_for(world, guest):
    heard = []
    for name, filters in (("all", {}), ("seventy", {"port": 0x70}), ("other", {"port": 0x80})):
        guest.watch("io", lambda s, name=name: heard.append((name, s.port)), **filters)
    ring(world, (0, "io", (0x70, 1, 1, 5)))  # the core notes the lowest slot
    assert heard == [("all", 0x70), ("seventy", 0x70)]


def test_a_record_of_a_watch_that_is_gone_is_nobodys(world, guest):
    heard = []
    old = guest.watch("io", heard.append, port=0x70)
    old.remove()
    new = guest.watch("cpuid", heard.append, subleaf=3)
    ring(world, (0, "io", (0x70, 1, 1, 5)), (0, "cpuid", (1, 3)), (0, "cpuid", (1, 4)))
    assert [(s.kind, s.subleaf) for s in heard] == [("cpuid", 3)]
    assert claims(world) == {0: ("cpuid", 0, 2**64 - 1, "watch")} and new.wanted


def test_watches_know_writes_from_reads(world, guest):
    heard = []
    guest.watch("msr", heard.append, write=True)
    guest.watch("cr", heard.append, write=False)
    guest.watch("raw", lambda s: heard.append(s.kind), reason=0x72)
    ring(world, (0, "rdmsr", (MSRS, 7)), (1, "wrmsr", (MSRS, 7)),
         (2, "cr", (4, 0, 7)), (2, "cr", (4, 1)), (3, "cpuid", (1, 0)))
    assert [(s.kind, s.write) for s in heard[:2]] == [("wrmsr", True), ("cr", False)]
    assert heard[2:] == ["cpuid"] and world.notices == []


def adder():
    import hv

    class Adder(hv.Device):
        def __init__(self):
            self.sum = 0

        def write(self, offset, size, value):
            self.sum += value

        def read(self, offset, size):
            return self.sum + offset

        def reset(self):
            self.sum = 0

    return Adder()


def test_a_device_on_ports_and_in_memory(world, guest):
    device = adder()
    guest.attach(device, ports=(0x510, 0x517), mmio=0xD000_0000, size=0x1000, irq=9)
    assert sorted(claims(world).values()) == [
        ("io", 0x510, 0x517, "instead"), ("mmio", 0xD000_0000, 0xD000_0FFF, "instead")]
    fake_hv._exit(0, "io", 1, port=0x512, size=1, write=True, value=7)
    x = fake_hv._exit(0, "mmio", 2, gpa=0xD000_0004, size=4, write=False, value=0)
    assert x.value == 11 and guest.devices == {"adder": device}
    device.pulse()
    assert world.guests[0].lines == [(9, 1), (9, 0)]
    guest.detach("adder")
    assert claims(world) == {} and guest.devices == {} and device.guest is None


def test_devices_that_do_not_fit(world, guest):
    with pytest.raises(ValueError, match="say where"):
        guest.attach(adder())
    with pytest.raises(ValueError, match="needs size"):
        guest.attach(adder(), mmio=0xD000_0000)
    with pytest.raises(OSError, match="memory or another device"):
        guest.attach(adder(), ports=5, mmio=0x1000, size=16)
    assert claims(world) == {}
    guest.attach(adder(), ports=5)
    with pytest.raises(ValueError, match="device adder already"):
        guest.attach(adder(), ports=6)


def test_a_guest_whose_device_does_not_fit_is_none(world, guest):
    import hv

    with pytest.raises(OSError, match="memory or another device"):
        hv.Guest("x", memory="16M", devices=[{"name": "scratch", "at": 0x1000}])
    assert [g.name for g in hv.guests()] == ["g0"]
    assert hv.Guest("x", memory="16M", devices=["scratch"]).devices


def test_a_device_that_fails_as_it_goes_is_gone(world, guest):
    device = adder()
    device.detached = lambda: 1 // 0
    guest.attach(device, ports=5)
    with pytest.raises(ZeroDivisionError):
        guest.detach(device)
    assert claims(world) == {} and guest.devices == {} and guest.handlers == {}
    assert device.guest is None and guest.state == "running"
    guest.attach(device, ports=5)


def test_a_device_detached_by_another_hears_no_more(world, guest):
    heard = []
    for name in "ab":
        device = adder()
        device.console_event = lambda name=name: (heard.append(name), [
            guest.detach(other) for other in list(guest.devices) if other != name])
        guest.attach(device, ports=5 + len(guest.devices), name=name)
    world.events.append(("console", guest.id))
    pump(world)
    assert heard == ["a"] and list(guest.devices) == ["a"]


def test_device_timers(world, guest):
    device = guest.attach(adder(), ports=5)
    device.after(10, lambda: device.write(0, 1, 4))
    world.now += fake_hv.tsc_hz()
    world.notify(None)
    assert device.sum == 4
    device.after(10, lambda: 1 / 0)
    world.now += fake_hv.tsc_hz()
    world.notify(None)
    assert guest.state == "paused" and "a timer of adder failed" in world.notices[-1]


def test_walks_and_virtual_memory(world, guest):
    world.guests[0].state = "paused"
    v = guest.vcpus[0]
    fake_hv.guest_write(0, 0x5000, b"\x90\x90\xff")
    assert v.memory[0x5000:0x5003] == b"\x90\x90\xff" and v.memory.u16[0x5000] == 0x9090
    v.memory[0x5000] = 0x91
    assert v.memory.u8[0x5000] == 0x91
    world.guests[0].walks[0x6000] = (None, 0, ((0x2000, 0x3027), (0x3000, 0)))
    with pytest.raises(OSError, match="0x6000: page fault .not present"):
        v.memory[0x5FF0:0x6010]
    assert "0x6000 -> page fault" in repr(v.walk(0x6000)) and "P W U A" in repr(v.walk(0x6000))
    assert guest.nested.walk(0x20_1234).hpa == 0x20_1234
    assert "no memory" in repr(guest.nested.walk(1 << 40))
    v.memory[0x5000] = 0x90
    assert [row[2] for row in v.disasm(4, at=0x5000)] == ["nop", "nop", "(no instruction)"]


def test_fields_by_the_manuals_names(world, guest):
    world.guests[0].state = "paused"
    v = guest.vcpus[0]
    assert v.vmcb["CR3"] == 0x1122_3344_5566_7788 and v.vmcb["CPL"] == 0x88
    with pytest.raises(KeyError, match="did you mean RIP"):
        v.vmcb["RIPP"]
    with pytest.raises(OSError, match="use v.vmcb"):
        v.vmcs["GUEST_CR3"]


def test_a_soft_reset_forgets_handlers(world, guest):
    from hv import vm

    guest.on("cpuid", print, leaf=1)
    vm._known.clear()
    names = {}
    import hv

    hv._init(names)
    assert names["g0"].handlers == {}


def test_a_uart_in_python_takes_com1_and_gives_it_back(world, guest):
    import hv

    state = bytes((1, 0x13, 0xB, 0xB0, 0x5A, 12, 1, 1, 8, 0, 0, 0, 0, 0, 0, 15, 2))
    state += b"b" + bytes(14) + b"a" + bytes(16)  # a ring from its last place on
    world.guests[0].uart = state
    world.guests[0].typed = b"xyz"
    uart = guest.replace("uart")
    assert isinstance(uart, hv.devices.Uart) and guest.devices == {"uart": uart}
    assert claims(world)[0] == ("io", 0x3F8, 0x3FF, "instead")
    assert world.guests[0].lines[-1] == (4, 1)  # received bytes and IER say so
    assert [uart.read(0, 1) for _ in range(5)] == list(b"abxyz")
    assert world.guests[0].lines[-1] == (4, 0)
    assert (uart.read(7, 1), uart.read(3, 2)) == (0x5A, 0x0B13)
    uart.write(0, 1, ord("!"))
    assert world.guests[0].console == b"!"
    guest.detach("uart")
    assert world.guests[0].uart == state[:10] + bytes((1, 0, 0, 0, 1, 0, 0)) + bytes(32)
    assert claims(world) == {} and uart.guest is None
    with pytest.raises(ValueError, match="uart"):
        guest.replace("urat")
