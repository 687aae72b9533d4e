"""Policies that are swapped as a whole, over the fake machine."""

import pytest
from unit import fake_hv


@pytest.fixture
def hv(world, tmp_path, monkeypatch):
    import hv

    monkeypatch.chdir(tmp_path)
    hv.policies.clear()
    hv._init({})
    yield hv
    hv.policies.clear()


@pytest.fixture
def guest(world, hv):
    g = hv.Guest("beat", memory="16M")
    world.guests[g.id].state = "running"
    return g


def claims(world):
    return sorted(world.guests[0].claims.values())


ONE = """
seen = old.get("seen", [])
@beat.on("cpuid", leaf=1)
def hide(x): seen.append("one")
@beat.on("io", port=0x70, instead=True)
def port(x): x.value = 1
beat.watch("hlt", seen.append)
class Adder(hv.Device):
    sum = 0
    def read(self, offset, size): return self.sum
    def write(self, offset, size, value): self.sum += value
    def save(self): return self.sum
    def load(self, state): self.sum = state
adder = beat.attach(Adder(), ports=0x560)
timer = hv.every(100, lambda: seen.append("tick"))
"""
CLAIMS = [("cpuid", 1, 1, "after"), ("hlt", 0, 2**64 - 1, "watch"),
          ("io", 0x70, 0x70, "instead"), ("io", 0x560, 0x560, "instead")]


def test_a_policy_comes_changes_and_goes(world, hv, guest):
    p = hv.policy("p.py", ONE)
    assert repr(p) == "p.py: 2 handlers, 1 watch, 1 device, 1 timer (version 1)"
    assert claims(world) == CLAIMS and sorted(guest.handlers) == ["adder (io)", "hide", "port"]
    fake_hv._exit(0, "io", 1 << 3, port=0x560, size=1, write=True, value=7)
    assert guest.devices["adder"].sum == 7
    fake_hv._exit(0, "cpuid", 1, leaf=1)

    # What stays the same keeps its claim, what is gone loses it, state is carried over.
    world.calls.clear()
    hv.policy("p.py", ONE.replace('"one"', '"two"').replace("beat.watch", "print"))
    assert claims(world) == [CLAIMS[0], *CLAIMS[2:]]
    fake_hv._exit(0, "cpuid", 1, leaf=1)
    assert hv.policies["p.py"].names["seen"] == ["one", "two"]
    assert guest.devices["adder"].sum == 7 and guest.devices["adder"] is not p.devices[0]
    assert p.devices[0].guest is None and guest._slots.watches == []
    assert guest.handlers["hide"].hits == 1 and p.handlers[0].hits == 1
    assert "version" in repr(hv.policies)

    world.now += fake_hv.tsc_hz()
    world.notify(None)
    assert hv.policies["p.py"].names["seen"].count("tick") == 1  # the old timer is off

    hv.policies["p.py"].remove()
    assert claims(world) == [] and not guest.handlers and not guest.devices and not hv.policies
    world.now += fake_hv.tsc_hz()
    world.notify(None)


@pytest.mark.parametrize("wrong", [
    "1 // 0",
    "def broken(:",
    "beat.on('cpuidd', print)",
    "beat.attach(hv.Device(), mmio=0x1000, size=16)",  # refused by the core, when all is swapped
    "for i in range(40): beat.on('cpuid', lambda x: None, leaf=i)",
])
def test_an_error_changes_nothing(world, hv, guest, wrong):
    import traceback

    hv.policy("p.py", ONE)
    before = dict(guest._slots.named), list(guest._slots.owners), list(guest._slots.table)
    adder = guest.devices["adder"]
    with pytest.raises((ZeroDivisionError, SyntaxError, ValueError, OSError)) as raised:
        hv.policy("p.py", ONE.replace("leaf=1", "leaf=9").replace("0x70", "0x60") + wrong)
    if wrong == "1 // 0":
        said = "".join(traceback.format_exception(raised.value))
        assert 'File "p.py", line 16' in said
    assert claims(world) == CLAIMS
    assert (dict(guest._slots.named), guest._slots.owners, guest._slots.table) == before
    assert guest.devices == {"adder": adder} and adder.guest is guest
    assert hv.policies["p.py"].version == 1 and world.notify is hv.events.wake
    world.now += fake_hv.tsc_hz()
    world.notify(None)
    assert hv.policies["p.py"].names["seen"] == ["tick"]  # and once


def test_a_policy_replaces_what_has_its_names(world, hv, guest):
    mine = guest.on("cpuid", print, leaf=1)  # named print
    hv.policy("a", "@beat.on('cpuid', name='print', leaf=2)\ndef f(x): pass")
    assert claims(world) == [("cpuid", 2, 2, "after")] and not mine._slots
    hv.policy("b", "h = beat.on('hlt', lambda x: None)\nh.off()\nbeat.on('hlt', str).remove()")
    assert claims(world) == [("cpuid", 2, 2, "after")]
    hv.policies["b"].names["h"].on()
    assert len(claims(world)) == 2
    hv.policies["b"].remove()
    assert len(claims(world)) == 1
    with pytest.raises(OSError, match="while it is being read"):
        hv.policy("c", "hv.policy('d', '')")


def test_one_function_of_a_policy_for_several_kinds(world, hv, guest):
    def log(x):
        pass

    guest.on("cpuid", log)
    guest.on("hlt", log)
    source = "def log(x): pass\nbeat.on('hlt', print)\nbeat.on('io', log, port=0x70)\n"
    p = hv.policy("p", source + "beat.on('cpuid', log, leaf=1)\nbeat.on('io', log, port=0x70)")
    mine = ["log", "log (cpuid leaf=0x1)", "print"]
    assert sorted(guest.handlers) == mine and len(p.handlers) == 3  # those of the prompt went
    assert sorted(c[0] for c in claims(world)) == ["cpuid", "hlt", "io"]
    hv.policy("p", source)
    assert sorted(guest.handlers) == ["log", "print"]
    assert sorted(c[0] for c in claims(world)) == ["hlt", "io"]


def test_all_slots_are_enough_for_the_next_version(world, hv, guest):
    source = "for i in range(31): beat.on('cpuid', lambda x: None, leaf=i + BASE)"
    hv.policy("p", "BASE = 0\n" + source)
    hv.policy("p", "BASE = 100\n" + source)
    assert [c[1] for c in claims(world)] == list(range(100, 131))


def test_an_exit_that_waited_meanwhile_goes_to_the_new_handler(world, hv, guest):
    seen = []
    guest.on("cpuid", seen.append, leaf=(1, 5))
    x = world.guests[0].exit_objects[0]
    x.__dict__.update(kind="cpuid", leaf=3, over=False, log=[])
    guest._slots.table[31](x)
    assert seen == [x] and x.log == ["core"]
    x.__dict__.update(kind="cpuid", leaf=6, log=[])
    guest._slots.table[31](x)
    assert seen == [x] and x.log == ["core"]


def test_policies_come_back_after_a_soft_reset(world, hv, guest):
    from hv import live, vm

    hv.policy("p.py", ONE)
    hv.policy("gone", "x = 1").remove()
    vm._known.clear()
    hv.policies.clear()
    world.guests[0].claims.clear()
    live.again()
    assert list(hv.policies) == ["p.py"] and claims(world) == CLAIMS
    vm._known.clear()
    hv.policies.clear()
    world.guests[0].claims.clear()
    world.guests[0].name = "other"
    live.again()
    assert not hv.policies and "p.py did not come back" in world.notices[-1]


def test_a_file_of_the_ram_disk(world, hv, guest, tmp_path):
    (tmp_path / "mine.py").write_text("@beat.on('hlt')\ndef f(x): pass")
    assert repr(hv.policy("mine.py")) == "mine.py: 1 handler (version 1)"
    with pytest.raises(OSError, match="no file none on the RAM disk"):
        hv.policy("none")


def test_timers(world, hv):
    count = []
    once, again = hv.after(10, lambda: count.append(1)), hv.every(10, lambda: count.append(2))
    failing = hv.every(10, lambda: 1 // 0)
    for _ in range(3):
        world.now += fake_hv.tsc_hz()
        world.notify(None)
    assert sorted(count) == [1, 2, 2, 2] and not once.armed and again.armed
    assert "over" in repr(failing) and "ZeroDivisionError" in world.notices[-1]
    again.cancel()
    with pytest.raises(ValueError, match="no time"):
        hv.after(0, print)
