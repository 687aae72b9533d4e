"""Traces over the fake core: order, counts, words, and what `hv trace` asks for."""

import json

import pytest

ANY = {"rip": 0x1000, "tsc": 0, "done": True, "entered": 0}


def note(kind, *words, vcpu=0, **more):
    """As the core gives it, its number apart."""
    row = {**ANY, **more}
    return (kind, vcpu, row["rip"], row["tsc"], tuple(words) + (0,) * (5 - len(words)),
            row["done"], row["entered"])


@pytest.fixture
def guest(world):
    import hv

    return hv.Guest("g0", memory="16M", cpus=2)


@pytest.fixture
def notes(world, guest):
    """The notes of vCPU 0 and of vCPU 1, which may be added to."""
    guest.trace.on(16)
    rings = world.guests[guest.id].traces
    return rings[0][2], rings[1][2]


def test_off_until_it_is_on_and_all_back_when_cleared(world, guest):
    rings = world.guests[guest.id].traces
    assert not guest.trace.active and len(guest.trace) == 0 == guest.trace.size
    assert "trace.on() begins" in repr(guest.trace)
    guest.trace.on(100)
    assert {vcpu: row[:2] for vcpu, row in rings.items()} == {0: (True, 128), 1: (True, 128)}
    guest.vcpus[1].trace.off()
    assert guest.trace.active and not guest.vcpus[1].trace.active
    assert repr(guest.vcpus[0].trace).endswith("0 exits of g0, on, 16K")
    guest.trace.clear()
    assert rings == {}


def test_a_size_that_is_too_large_is_said_as_it_was_given(world, guest):
    for size in (20000, 16385):
        with pytest.raises(ValueError, match="of %d exits .* the most are 16384" % size):
            guest.trace.on(size)
    assert not guest.trace.active and guest.vcpus[0].trace.on(16384).size == 16384


def test_no_memory_is_said_with_what_there_is(world, guest, monkeypatch):
    import _hv

    def refuse(*_):
        raise OSError(12)

    monkeypatch.setattr(_hv, "trace", refuse)
    monkeypatch.setattr(_hv, "memory", lambda: {"pool": 5 << 20})
    with pytest.raises(OSError, match="no memory for 1024 exits a vCPU; 5M are free"):
        guest.trace.on(1000)


def test_the_vcpus_are_merged_by_time_and_old_ones_counted(guest, notes):
    for i in range(20):
        notes[0].append(note("cpuid", i, tsc=10 * i, entered=10 * i + 4))
    for i in range(3):
        notes[1].append(note("hlt", 0x78, tsc=95 + 20 * i, vcpu=1))
    seen = list(guest.trace)
    assert [t.tsc for t in seen] == sorted([t.tsc for t in seen]) and len(seen) == len(guest.trace)
    assert [t.number for t in seen if t.vcpu == 0] == list(range(4, 20))
    assert (len(guest.trace), guest.trace.overwritten, guest.trace.size) == (19, 4, 32)
    assert [t.tsc for t in guest.trace.last(3)] == [170, 180, 190]
    assert [t.vcpu for t in guest.vcpus[1].trace] == [1, 1, 1]
    assert [(t.ticks, t.leaf) for t in guest.vcpus[0].trace.last(1)] == [(4, 19)]
    assert guest.vcpus[1].trace.last(1)[0].ticks is None

    found, at, lost = guest.trace.since([0, 1], 2)
    assert [(t.vcpu, t.number) for t in found] == [(0, 4), (0, 5), (1, 1), (1, 2)]
    assert (at, lost) == ([6, 3], 4)
    assert guest.trace.since([20, 3]) [1:] == ([20, 3], 0)


def test_what_it_was_about(guest, notes):
    rows = [
        (note("io", 0x71, 1, 0, 0x26), "inb 0x71 -> 0x26"),
        (note("io", 0x71, 1, 0, 0, done=False), "inb 0x71"),
        (note("io", 0x3F8, 1, 1, 0x41), "outb 0x3f8 <- 0x41"),
        (note("io", 0x1F0, 2, 2, 0), "insw 0x1f0"),
        (note("io", 0x1F0, 4, 3, 0), "outsl 0x1f0"),
        (note("rdmsr", 0x10, 0x1234), "msr 0x10 -> 0x1234"),
        (note("rdmsr", 0x10, 0, done=False), "msr 0x10"),
        (note("rdmsr", 0x10, 0, done=False, entered=9), "msr 0x10: #GP"),
        (note("wrmsr", 0x10, 5), "msr 0x10 <- 0x5"),
        (note("wrmsr", 0x10, 5, done=False, entered=9), "msr 0x10: #GP"),
        (note("cpuid", 7, 1), "leaf 0x7 subleaf 0x1"),
        (note("nested_fault", 0xFEE000B0, 0, 1), "write at 0xfee000b0"),
        (note("hlt", 0x78, 99), "reason 0x78"),
        (note("interrupt", 1, 0), "reason 0x1 detail 0x0"),
    ]
    notes[0].extend(row for row, _ in rows)
    assert [t.about() for t in guest.trace] == [said for _, said in rows]
    strings = [t.number for t in guest.trace if t.string]
    assert strings == [3, 4] and not next(iter(guest.trace)).write
    assert "msr 0x10 <- 0x5" in repr(guest.trace.show(9))


def test_the_time_by_reason_and_by_place(guest, notes):
    notes[0].extend([
        note("cpuid", 0, rip=0x10, tsc=5, entered=10),
        note("cpuid", 1, rip=0x20, tsc=15, entered=35),
        note("io", 0x70, 1, 1, 0, rip=0x10, tsc=40, entered=41),
        note("hlt", 0, rip=0x30, tsc=50),
    ])
    histogram = guest.trace.histogram()
    assert histogram.reasons == {"cpuid": (2, 25), "io": (1, 1), "hlt": (1, 0)}
    assert histogram.rips[(0x10, "cpuid")] == (1, 5) and histogram.rips[(0x10, "io")] == (1, 1)
    assert repr(histogram).splitlines()[1].split() == ["2", "25", "0", "12", "cpuid"]
    guest.trace.clear()
    assert repr(guest.trace.histogram()) == "no exits in the trace"


def test_saved_as_lines(guest, notes, tmp_path):
    notes[0].extend([note("io", 0x71, 1, 0, 0x26, tsc=3, entered=8), note("hlt", 0)])
    assert guest.trace.save(str(tmp_path / "t")) == 2
    rows = [json.loads(line) for line in (tmp_path / "t").read_text().splitlines()]
    assert rows[0] == {"number": 0, "vcpu": 0, "kind": "io", "rip": 0x1000, "tsc": 3, "ticks": 5,
                       "done": True, "about": "inb 0x71 -> 0x26", "port": 0x71, "size": 1,
                       "write": False, "value": 0x26}
    assert rows[1]["ticks"] is None


def test_what_hv_trace_asks_for(world, guest, capsys):
    from hv import trace

    def said():
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    trace.begin("g0", 32)
    assert said()[0]["was"] is False and guest.trace.size == 64
    world.guests[guest.id].traces[0][2].append(note("cpuid", 1, entered=4))
    trace.tell("g0", [0, 0], 64)
    row, more = said()
    assert row["about"] == "leaf 0x1 subleaf 0x0" and row["at"] == "0x1000"
    assert (more["next"], more["lost"], more["left"], more["state"]) == ([1, 0], 0, 0, "new")
    trace.begin("g0", 16)  # a trace that is on stays as it is, and is read from its beginning
    begun = said()[0]
    assert (begun["was"], begun["next"], guest.trace.size) == (True, [0, 0], 64)
    trace.end("g0", True)
    assert guest.trace.active
    trace.end("g0", False)
    assert guest.trace.size == 0


def test_a_crash_record_ends_with_the_last_exits(world, guest, notes):
    import hv

    world.guests[guest.id].state = "crashed"
    world.guests[guest.id].crash = {"why": "x", "kind": "shutdown", "vcpu": 0, "rip": 0x1000,
                                    "registers": {}, "bytes": b""}
    assert "trace" not in guest.crash.record
    notes[0].append(note("cpuid", 7))
    assert "leaf 0x7" in guest.crash.record["trace"] and "leaf 0x7" in repr(guest.crash)
    assert "its last exits:\n" in repr(hv.why(guest))
    assert "trace" not in guest.crash.json()
