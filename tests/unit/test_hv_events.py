"""The first boot, the pump, policies and the channel, over the fake machine."""

import json

import pytest
from unit import fake_hv, images


def partition(*guests, **run):
    rows = []
    for i, more in enumerate(guests):
        row = {"name": f"g{i}", "cpus": 1, "memory": 16 << 20, "image": "k", "kind": None,
               "initrd": [], "cmdline": "", "modules": [], "devices": []}
        row.update(more)
        rows.append(row)
    out = {"format": 1, "name": "test", "machine": {"cpus": 3, "memory": 0}, "guests": rows}
    if run:
        out["run"] = run
    return out


@pytest.fixture
def boot(world):
    import hv

    def start(description, **modules):
        files = {"k": images.elf64(), **modules}
        if description is not None:
            files["partition.json"] = json.dumps(description).encode()
        world.modules = files
        hv._start()
        names = {}
        hv._init(names)
        return names

    return start


def frames(world, kind):
    return [(s, json.loads(d)) for k, s, d in world.sent if k == kind]


def events(world):
    return [e for _, e in frames(world, 5)]


def states(world, name="g0"):
    return [e["state"] for e in events(world) if e.get("guest") == name]


def test_boot_starts_every_guest_and_shows_who_owns_what(world, boot, capsys):
    names = boot(partition({}, {"cpus": [1]}))
    assert [g.state for g in (names["g0"], names["g1"])] == ["running", "running"]
    assert names["g0"].info["vcpus"][0][0] == 2  # 1 is listed by the other
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 12
    assert "cpu0 Python | cpu1 g1 | cpu2 g0" in lines
    assert frames(world, 1)[0][1]["backend"] == "svm"
    assert {"event": "boot", "partition": "test"} in events(world)
    assert world.notify is not None


def test_guests_have_their_names_when_the_host_hears_of_the_boot(world, boot, monkeypatch):
    from hv import channel
    from hv import events as pump

    import __main__

    known = []
    monkeypatch.delitem(__main__.__dict__, "g0", raising=False)  # of a test before
    monkeypatch.setattr(channel, "booted", lambda name: known.extend(pump.namespace))
    boot(partition({}))
    assert "g0" in known


def test_boot_without_a_partition(world, boot, capsys):
    assert sorted(boot(None)) == ["help", "hv"]
    assert "hv.machine" in capsys.readouterr().out
    assert events(world) == []


def test_a_guest_that_cannot_load_does_not_keep_the_others(world, boot, capsys):
    names = boot(partition({"image": "bad"}, {}), bad=b"#!/bin/sh")
    assert sorted(names) == ["g1", "help", "hv"]
    message = [e for e in events(world) if e["event"] == "error"][0]["message"]
    assert message.startswith("g0 was not started: it is text")
    assert message in capsys.readouterr().out


def test_rules_run_again_against_the_real_machine(world, boot):
    names = boot(partition({"memory": 1 << 30}))
    assert sorted(names) == ["help", "hv"]
    message = [e for e in events(world) if e["event"] == "error"][0]["message"]
    assert "memory-sum" in message and "448M free" in message


def test_a_broken_partition_is_told_to_the_host(world):
    import hv

    world.modules = {"partition.json": b"{"}
    hv._start()
    assert "partition.json cannot be read" in events(world)[-1]["message"]


@pytest.mark.parametrize("change", [{"backend": None}, {"missing": ("NPT",)}])
def test_a_machine_that_cannot_run_guests_says_what_it_lacks(world, boot, monkeypatch, change):
    for name, value in change.items():
        monkeypatch.setattr(fake_hv, name, lambda value=value: value)
    boot(partition({}))
    message = events(world)[-1]["message"]
    if "missing" in change:
        assert "machine-missing: the machine lacks NPT" in message
    else:
        assert message == "g0 was not started: this machine cannot run guests; it lacks " \
            "AMD-V and VT-x"


def test_single_run_is_silent_and_ends_on_reset(world, boot, capsys):
    names = boot(partition({"name": "my-image"}, single=True))
    assert capsys.readouterr().out == ""
    guest = names["my_image"]
    fake_hv.end(guest.id, "reset")
    world.notify(None)
    assert guest.state == "off" and world.notices == []
    assert events(world)[-1]["reason"] == "reset"


def test_script_runs_before_the_first_instruction(world, boot):
    source = b"assert guest.state == 'new' and guest is g0\nseen = guest.vcpus[0].rip\n"
    boot(partition({}, single=True, script="s.py"), **{"s.py": source})
    import __main__

    assert __main__.__dict__.pop("seen") == 0x100000
    assert fake_hv.guest_info(0)["state"] == "running"


def test_a_failing_script_is_an_error_of_the_run(world, boot, capsys):
    boot(partition({}, single=True, script="s.py"), **{"s.py": b"oops"})
    assert "oops" in events(world)[-1]["message"]


def test_end_record_and_notice(world, boot):
    names = boot(partition({}))
    world.guests[0].exits = {"io": 3}
    fake_hv.end(0, "exit", 7)
    world.notify(None)
    record = events(world)[-1]
    assert record == {"event": "state", "id": 0, "guest": "g0", "state": "off", "reason": "exit",
                      "status": 7, "crash": None, "exits": {"io": 3}}
    assert world.notices == ["[g0] off: exit with status 7"]
    assert names["g0"].state == "off"


def test_crash_record_reaches_the_host(world, boot):
    boot(partition({}))
    fake_hv.end(0, "crash", crash={"why": "triple fault", "kind": "shutdown", "rip": 5,
                                   "bytes": b"\xf4"})
    world.notify(None)
    crash = events(world)[-1]["crash"]
    assert crash == {"why": "triple fault", "kind": "shutdown", "rip": 5, "bytes": "f4"}
    assert "triple fault" in world.notices[0]


def test_a_reset_restarts_a_guest_of_a_partition(world, boot):
    boot(partition({}))
    fake_hv.end(0, "reset")
    world.notify(None)
    assert fake_hv.guest_info(0)["state"] == "running"
    world.notify(None)
    assert states(world)[-1] == "running"
    assert world.notices == ["[g0] off: reset", "[g0] started again"]


def test_restarts_are_counted_and_delayed_without_sleeping(world, boot):
    boot(partition({"on_crash": {"do": "restart", "max": 2, "delay": 1.0}}))
    for _ in range(2):
        fake_hv.end(0, "crash")
        world.notify(None)
        assert fake_hv.guest_info(0)["state"] == "crashed"  # not yet
        assert 990 <= world.alarms[-1] <= 1000
        world.now += fake_hv.tsc_hz()
        world.notify(None)
        assert fake_hv.guest_info(0)["state"] == "running"
    fake_hv.end(0, "crash")
    world.notify(None)
    world.now += 10 * fake_hv.tsc_hz()
    world.notify(None)
    assert fake_hv.guest_info(0)["state"] == "crashed"
    assert "max = 2" in world.notices[-1]


def test_pause_policy_makes_it_ready_again(world, boot):
    boot(partition({"on_poweroff": {"do": "pause"}}))
    fake_hv.end(0, "poweroff")
    world.notify(None)
    assert fake_hv.guest_info(0)["state"] == "new"


def test_a_soft_reset_keeps_guests_and_their_policies(world, boot):
    import hv
    from hv import vm

    boot(partition({}))
    vm._known.clear()
    world.first = False
    names = {}
    hv._init(names)
    assert names["g0"].state == "running"
    fake_hv.end(0, "reset")
    world.notify(None)
    assert names["g0"].state == "running"


def test_connections_come_back_beside_other_devices(world, boot):
    import hv
    from hv import vm

    joined = partition({"devices": ["scratch"]}, {})
    joined["connect"] = [{"guests": ["g0", "g1"], "ports": 0x580, "irq": 10, "memory": 0,
                          "size": 4096, "at": 0xD100_0000}]
    names = boot(joined)
    there = {"g0": ["doorbell", "scratch"], "g1": ["doorbell"]}
    assert {n: sorted(names[n].devices) for n in there} == there
    for guest in hv.guests():  # what the core forgets with Python
        world.guests[guest.id].claims.clear()
    vm._known.clear()
    world.first = False
    hv._init(names)
    assert {n: sorted(names[n].devices) for n in there} == there
    assert [call[0] for call in world.calls].count("share") == 1
    assert names["g1"].devices["doorbell"].peer is names["g0"].devices["doorbell"]


def test_what_a_script_says_of_its_guest_stays(world, boot):
    said = b"guest.policies = dict(guest.policies, on_crash={'do': 'pause'})"
    names = boot(partition({}, script="script.py"), **{"script.py": said})
    assert names["g0"].policies["on_crash"] == {"do": "pause"}


def exec_frames(world, source, stream=3):
    data = source.encode()
    for at in range(0, len(data), 5):
        world.events.append(("channel", 6, stream, data[at : at + 5]))
    world.events.append(("channel", 6, stream, b""))
    world.notify(None)


def test_exec(world, boot):
    names = boot(partition({}))
    exec_frames(world, "x = g0.state\n")
    assert names["x"] == "running"
    assert frames(world, 8) == [(3, {"ok": True})]
    assert world.captured == [3, -1]


def test_exec_failure_has_the_traceback(world, boot):
    boot(partition({}))
    exec_frames(world, "def f():\n  1 // 0\nf()\n")
    end = frames(world, 8)[0][1]
    assert end["ok"] is False and "ZeroDivisionError" in end["error"]
    exec_frames(world, "raise ValueError('x' * 5000)")
    assert frames(world, 8)[1][1]["ok"] is False  # cut to one frame
    exec_frames(world, "x = = 1")
    assert "SyntaxError" in frames(world, 8)[2][1]["error"]


def test_exec_that_waits_sees_events_and_its_successor_waits(world, boot):
    names = boot(partition({}))

    def end():
        # Both arrive while the first program runs.
        fake_hv.end(0, "poweroff")
        world.events.append(("channel", 6, 4, b"second = first"))
        world.events.append(("channel", 6, 4, b""))

    names["end"] = end
    exec_frames(world, "end(); first = g0.wait('off', timeout=1)")
    assert (names["first"], names["second"]) == ("off", "off")
    assert events(world)[-1]["state"] == "off"
    assert [s for s, _ in frames(world, 8)] == [3, 4]


def test_hello_and_quit(world, boot):
    boot(partition({}))
    world.sent.clear()
    world.events.append(("channel", 1, 0, b'{"version":1}'))
    world.notify(None)
    hello = frames(world, 1)[0][1]
    assert hello["guests"] == [
        {"id": 0, "name": "g0", "state": "running", "cpus": [1], "memory": 16 << 20}]
    world.events.append(("channel", 10, 0, b""))
    world.notify(None)
    assert world.off


@pytest.mark.parametrize(("kind", "answer"), [
    ("hypercall", ("answer", 0, 0, "done", -38)),
    ("other_insn", ("answer", 0, 0, "ud", 0)),
    ("exception", ("answer", 0, 0, "crash", "nothing handles its exit exception ()")),
])
def test_messages_that_nobody_handles(world, boot, kind, answer):
    boot(partition({}))
    world.events.append(("message", 0, 0, kind, ()))
    world.notify(None)
    assert world.calls == [answer]


def test_a_shell_is_announced_once_when_its_console_rests(world, boot):
    boot(partition({"image": "linux"}), linux=images.bzimage(preferred=2 << 20))
    console = world.guests[0]

    def later():
        world.now += fake_hv.tsc_hz()
        world.notify(None)

    console.console = b"booting # "
    later()
    console.console += b"more\r\n"
    later()
    later()
    assert world.notices == []
    console.console += b"/ # \x1b[6n"
    later()
    assert world.notices == []  # it may go on
    later()
    later()
    assert world.notices == ["[g0] shell ready: g0.console.attach()"]


def test_nobody_watches_what_ended(world, boot):
    boot(partition({"image": "linux"}), linux=images.bzimage(preferred=2 << 20))
    fake_hv.end(0, "poweroff")
    world.guests[0].console = b"# "
    for _ in range(3):
        world.now += fake_hv.tsc_hz()
        world.notify(None)
    from hv import timers

    assert timers._due == {}
    assert world.notices == ["[g0] off: power-off"]


def test_a_timer_that_raises_takes_nobodys_alarm(world, boot):
    from hv import timers

    boot(partition({}))
    seen = []
    timers.after("wrong", 10, lambda: 1 // 0)
    timers.after("as late", 10, lambda: seen.append("as late"))
    timers.after("later", 500, lambda: seen.append("later"))
    world.alarms.clear()
    world.now += fake_hv.tsc_hz() // 10
    world.notify(None)
    assert world.alarms == [0] and "ZeroDivisionError" in "".join(world.notices)
    world.notify(None)
    assert seen == ["as late"] and 0 < world.alarms[-1] <= 400
    world.now += fake_hv.tsc_hz()
    world.notify(None)
    assert seen == ["as late", "later"] and timers._due == {}


def test_notice_while_waiting_does_not_nest(world, boot, monkeypatch):
    """The core may call between two bytecodes of the pump itself."""
    names = boot(partition({}))
    real = fake_hv.event

    def event():
        world.notify(None)
        return real()

    monkeypatch.setattr(fake_hv, "event", event)
    fake_hv.end(0, "poweroff")
    assert names["g0"].wait("off", timeout=1) == "off"
    assert world.notices == ["[g0] off: power-off"]


def test_a_guest_that_ends_while_its_start_is_told_ends_once(world, boot, monkeypatch):
    """The end must not be told by the event of the start as well: a host that waits for
    the next run's end would take the second for it."""
    boot(partition({}))
    info, read = fake_hv.guest_info, []

    def ends_meanwhile(i):
        now = info(i)
        if not read:
            read.append(i)
            fake_hv.end(i, "exit")
        return now

    world.events.append(("state", 0))
    monkeypatch.setattr(fake_hv, "guest_info", ends_meanwhile)
    from hv import events as pump

    pump._seen.clear()
    world.notify(None)
    assert [s for s in states(world) if s == "off"] == ["off"]
