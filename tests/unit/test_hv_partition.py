"""hv.Partition: the host's rules and messages at the prompt."""

import struct
import sys

import pytest
from unit import images
from vipervisor import partition as host
from vipervisor import rule_examples, symbols

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TWO = {"version": 1, "guest": [
    {"name": "a", "memory": "16M", "image": "../k", "cmdline": "x=1",
     "on_crash": {"do": "restart", "max": 2, "delay": "1s"}},
    {"name": "b", "memory": "8M", "image": "k", "cpus": [0]},
]}


@pytest.fixture
def hv(world):
    import hv

    world.modules = {"k": images.elf64(), "kernel": images.elf64()}
    return hv


def rules(findings):
    return [(f.rule, f.place()) for f in findings]


def test_check_start_and_end(hv):
    from hv import events

    p = hv.Partition(TWO)
    assert repr(p.check()) == "no findings" and "a, b: start() it" in repr(p)
    assert p.start() is p
    a, b = p.guests
    assert (a.state, a.kind, a.info["vcpus"][0][0], b.info["vcpus"][0][0]) == (
        "running", "elf64", 1, 0)
    assert a.policies["on_crash"] == {"do": "restart", "max": 2, "delay": 1.0}
    assert events.namespace["a"] is a and "a " in repr(p)
    # Again: names and CPUs are taken now.
    assert rules(hv.Partition(TWO).check()) == [
        ("name-duplicate", "guest[0].name"), ("name-duplicate", "guest[1].name")]
    # On CPU 0 guests take turns, those that are there already included.
    row = {"memory": "16M", "image": "k", "cpus": [0]}
    more = hv.Partition(guest=[{"name": "c", **row}, {"name": "d", **row}]).start()
    assert [g.info["vcpus"][0][0] for g in more.guests] == [0, 0]
    more.destroy()
    p.destroy()
    assert len(hv.guests()) == 0 and p.guests == []


def test_keywords_and_errors_with_rule_ids(hv):
    p = hv.Partition(machine={"cpus": 3}, guest=[
        {"name": "a", "memroy": "16M", "image": "kernl"}, {"name": "a", "memory": 5, "image": "k"}])
    assert rules(p.check()) == [
        ("key-unknown", "guest[0].memroy"), ("key-missing", "guest[0]"),
        ("size-unit", "guest[1].memory"), ("name-duplicate", "guest[1].name"),
        ("file-missing", "guest[0].image")]
    with pytest.raises(hv.PartitionError, match="did you mean memory") as raised:
        p.start()
    assert raised.value.findings[0].rule == "key-unknown"
    assert "there is no boot module kernl" in str(raised.value)
    assert "did you mean kernel?" in str(raised.value) and len(hv.guests()) == 0
    with pytest.raises(ValueError, match="not both"):
        hv.Partition(TWO, guest=[])


def test_the_test_device_is_in_c_or_in_python(hv):
    row = {"name": "x", "memory": "16M", "image": "k"}
    both = hv.Partition(guest=[{**row, "devices": ["testdev", "python-testdev"]}])
    assert rules(both.check()) == [("device-twice", "guest[0].devices")]
    one = hv.Partition(guest=[{**row, "devices": ["python-testdev"]}]).start()
    assert sorted(one.guests[0].devices) == ["echo", "lines", "memory"]


def test_what_the_machine_has_left(hv):
    hv.Guest("there", cpus=[1], memory="128M")
    row = {"memory": "16M", "image": "k"}
    assert rules(hv.Partition(guest=[{"name": "x", "cpus": [1], **row}]).check()) == [
        ("cpu-shared", "guest[0].cpus")]
    assert rules(hv.Partition(guest=[{"name": "x", "cpus": 2, **row}]).check()) == [
        ("cpu-sum", "guest")]
    big = hv.Partition(guest=[{"name": "x", **row, "memory": "1G"}])
    assert [f.rule for f in big.check()] == ["memory-sum"]
    assert hv.Partition(guest=[{"name": "x", **row}]).start().guests[0].info["vcpus"][0][0] == 2


def test_symbols_are_a_boot_module(hv, world):
    row = {"name": "x", "memory": "16M", "image": "k"}
    missing = hv.Partition(guest=[{**row, "symbols": "x.sim"}])
    assert rules(missing.check()) == [("file-missing", "guest[0].symbols")]
    with pytest.raises(ValueError, match="k is no table of symbols"):
        hv.Partition(guest=[{**row, "symbols": "k"}]).start()
    assert len(hv.guests()) == 0
    world.modules["x.sym"] = symbols.pack([(0x10_0000, "start")])
    (x,) = hv.Partition(guest=[{**row, "symbols": "build/x.sym"}]).start().guests
    assert x.symbols.module == "x.sym" and x.symbols.say(0x10_0004) == "start+0x4"


def test_all_or_none(hv, monkeypatch):
    from hv import vm

    start = vm.Guest.start

    def failing(guest):
        if guest.name == "b":
            raise OSError(12, "no memory")
        return start(guest)

    monkeypatch.setattr(vm.Guest, "start", failing)
    with pytest.raises(OSError, match="no memory"):
        hv.Partition(TWO).start()
    assert len(hv.guests()) == 0


REAL = "console quote root unused kernel".split()  # of a command line: by a kernel's image


def _described():
    """The examples of rules that a parsed description can break."""
    out = []
    for file in sorted(rule_examples.FOLDER.glob("*.toml")):
        if file.stem.split("-")[0] in ("file", "toml", "image", "initrd", "modules", "symbols"):
            continue
        real = ["kind-wrong", "memory-linux", *["cmdline-" + word for word in REAL]]
        if file.stem in [*real, *host.rules.WARNINGS]:
            continue
        out.append(file)
    return out


def test_warnings_do_not_keep_it_from_starting(hv, world):
    world.reset(cpus=16, memory=64 << 30, modules={"kernel.elf": images.elf64()})
    table = tomllib.loads(rule_examples.path("restart-endless").read_text())
    partition = hv.Partition(table)
    (found,) = partition.check()
    assert (found.rule, found.level) == ("restart-endless", "warning")
    assert [g.name for g in partition.start().guests] == ["one"]
    partition.destroy()


def test_answers_and_placed_devices(hv, world):
    """What a partition file says of CPUID leaves, MSRs and devices is what the core is told."""
    world.reset(cpus=2, memory=1 << 30, modules={"k.elf": images.elf64()})
    row = {"name": "one", "memory": "2M", "image": "k.elf",
           "cpuid": [{"leaf": 0x80000002, "eax": 0x41424344}, {"leaf": 7, "hide_ebx": 0x20},
                     {"leaf": 0x50000000, "edx": 7}],
           "msr": [{"index": 0x17A, "read": "refuse"},
                   {"index": 0x611, "count": 3, "value": 9, "write": "ignore"},
                   {"index": 0x700, "value": 1 << 63, "write": "store"}],
           "devices": [{"name": "watchdog", "ports": 0x590},
                       {"name": "scratch", "at": 0xD0004000, "size": "8K", "irq": 11}]}
    (g,) = hv.Partition({"version": 1, "guest": [row]}).start().guests
    world_row = world.guests[g.id]
    cpuid = {(r[0], r[1]): r[8:] for r in struct.iter_unpack("<12I", world_row.cpuid)}
    assert cpuid[0x80000002, 0][0] == 0x41424344
    assert cpuid[0x50000000, 0] == (0, 0, 0, 7)
    plain = {(r[0], r[1]): r[8:] for r in struct.iter_unpack(
        "<12I", world.guests[hv.Guest("two", [0], "2M").id].cpuid)}
    assert cpuid[7, 0][1] == plain[7, 0][1] & ~0x20 and plain[7, 0][1] & 0x20
    assert {key for key in cpuid if cpuid[key] != plain.get(key)} == {
        (0x80000002, 0), (7, 0), (0x50000000, 0), (0x40000001, 0)}
    msrs = {r[0]: r[1:] for r in struct.iter_unpack("<IIIIQQ", world_row.msrs)}
    fault, fixed, stored, ignore = range(4)
    assert msrs[0x179][:3] == msrs[0x17B][:3] == (1, fixed, ignore)  # cut in three
    assert msrs[0x17A][:3] == (1, fault, fault)
    assert msrs[0x611] == (3, fixed, ignore, 9, 0)
    assert msrs[0x700] == (1, stored, stored, 1 << 63, (1 << 64) - 1)
    assert sorted(g.devices) == ["scratch", "watchdog"]
    assert g.devices["scratch"].line == 11 and len(g.devices["scratch"].bytes) == 8192
    g.reset()
    assert world.guests[g.id].cpuid == world_row.cpuid
    with pytest.raises(ValueError, match=r"cpuid\[0\].ebx: cpuid-shown: .*write hide_ebx"):
        hv.Guest("bad", memory="2M", cpuid=[{"leaf": 7, "ebx": 1}])
    with pytest.raises(ValueError, match=r"msr\[0\].index: msr-core: MSR 0xc0000080"):
        hv.Guest("bad", memory="2M", msr=[{"index": 0xC0000080}])
    with pytest.raises(ValueError, match="device-unknown: .*did you mean watchdog"):
        hv.Guest("bad", memory="2M", devices=["watchdogg"])


@pytest.mark.parametrize("file", _described(), ids=lambda file: file.stem)
def test_the_messages_are_the_hosts(hv, world, file):
    world.reset(cpus=16, memory=64 << 30, modules={"k": images.elf64()})
    table = tomllib.loads(file.read_text())
    mine = hv.Partition(table).check()
    loaded = host.load(file)
    theirs = [(f.rule, f.place, f.text) for f in loaded.findings
              if not f.rule.startswith(("file-", "image-"))]
    assert file.stem in [f.rule for f in mine]
    said = [(f.rule, f.place(), f.text()) for f in mine if not f.rule.startswith("file-")]
    assert [(r, t) for r, _, t in said] == [(r, t) for r, _, t in theirs]
