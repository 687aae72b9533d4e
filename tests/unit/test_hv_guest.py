"""Guests at the prompt: states, errors, registers, memory, console, tables."""

import re
from pathlib import Path

import pytest
from unit import fake_hv, images


@pytest.fixture
def hv(world):
    import hv

    world.modules = {"k": images.elf64(), "rd": b"R"}
    return hv


def test_life(hv):
    g = hv.Guest("a", memory="16M").load("k")
    assert g.state == "new"
    for verb, state in (("start", "running"), ("pause", "paused"), ("resume", "running"),
                        ("stop", "off"), ("reset", "new"), ("start", "running")):
        getattr(g, verb)()
        assert g.state == state
    g.destroy()
    assert len(hv.guests()) == 0
    with pytest.raises(OSError, match="a was destroyed"):
        _ = g.state


@pytest.mark.parametrize(("before", "verb", "text"), [
    ("start", "start", "a is running; only a new guest can start"),
    ("start", "load", r"a is running; stop\(\) and reset\(\) it first"),
    ("start", "resume", "a is running; only a paused guest can resume"),
    ("", "pause", "a is new; only a running guest can pause"),
    ("", "resume", r"a is new; start\(\) it"),
    ("", "stop", "a is new; only a running or paused guest can stop .now it can load, start"),
    ("start stop", "start", r"a is off; reset\(\) it first"),
    ("start pause", "start", r"a is paused; resume\(\) it"),
])
def test_states_are_errors_with_a_remedy(hv, before, verb, text):
    g = hv.Guest("a", memory="16M").load("k")
    for step in before.split():
        getattr(g, step)()
    with pytest.raises(OSError, match=text):
        getattr(g, verb)("k") if verb == "load" else getattr(g, verb)()


def test_the_page_has_the_table_of_moves():
    from hv import moves

    page = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text()
    for row in moves.Moves().rows():
        assert "| %s |" % " | ".join(row) in page
    assert "crashed" in repr(moves.states()) and moves.legal("off") == ("reset", "destroy")


def test_a_destroyed_guest_reaches_no_other(hv):
    old = hv.Guest("a", memory="2M")
    old.destroy()
    new = hv.Guest("b", memory="2M")
    assert new.id == 0 and not old.exists()
    for use in (lambda: old.state, lambda: old.memory[0], lambda: old.vcpus[0].rax,
                lambda: old.exits, old.stop, old.destroy):
        with pytest.raises((OSError, ValueError)):
            use()
    assert new.exists() and new.state == "new"


def test_a_guest_of_bytes(hv):
    g = hv.guest_from(b"\x0f\xa2\xf4", regs={"rax": 7, "rcx": 0})
    assert (g.name, g.kind, g.state, g.info["vcpus"][0][0]) == ("code1", "flat64", "new", 1)
    assert g.memory[0x100000:0x100006] == b"\x0f\xa2\xf4\xf4\xeb\xfd"
    assert (g.vcpus[0].rax, g.vcpus[0].rip) == (7, 0x100000)
    g.start().stop().reset()
    assert (g.vcpus[0].rax, g.memory[0x100000]) == (7, 0x0F)
    hv.guest_from(b"\xf4")
    small = hv.guest_from(b"\xf4", mode=16)  # no CPU is left: in slices
    assert (small.name, small.vcpus[0].rip, small.info["vcpus"][0][0]) == ("code3", 0x7C00, 0)
    for wrong, text in (({"code": "f4"}, "give bytes"), ({"mode": 8}, "no mode 8; known: 16"),
                        ({"regs": {"rxx": 1}}, "did you mean"),
                        ({"code": bytes(3 << 20)}, "does not fit|memory")):
        with pytest.raises(ValueError, match=text):
            hv.guest_from(**{"code": b"\xf4", "cpus": [0], **wrong})
    assert len(hv.guests()) == 3


def test_start_without_image(hv):
    with pytest.raises(OSError, match=r"a has no image; load\(\) one first"):
        hv.Guest("a", memory="16M").start()


@pytest.mark.parametrize(("options", "kind", "text"), [
    ({"cpus": 9}, ValueError, "9 cpus; a guest has 1 to 8"),
    ({"cpus": 2}, OSError, "2 cpus are wanted; free: 2"),
    ({"cpus": [2, 2]}, ValueError, "names a cpu twice"),
    ({"cpus": [0, 2]}, ValueError, "a guest on cpu 0 runs in slices and has no other cpu"),
    ({"cpus": (2, 2)}, ValueError, r"cpus=\(2, 2\) names a cpu twice"),
    ({"cpus": (0, 2)}, ValueError, r"cpus=\(0, 2\): a guest on cpu 0"),
    ({"cpus": [7]}, ValueError, "no cpu 7; this machine has 0 to 2"),
    ({"cpus": [1]}, OSError, "cpu 1 is taken by first; free: 2"),
    ({"memory": "17M"}, ValueError, "17M is not a multiple of 2M"),
    ({"memory": "16"}, ValueError, "has no unit"),
    ({"memory": "4G"}, OSError, "no memory for 4G: 432M are free"),
    ({"name": "first"}, ValueError, r"first exists already; destroy\(\) it"),
])
def test_making_a_guest_fails_with_the_value(hv, options, kind, text):
    hv.Guest("first", memory="16M")
    with pytest.raises(kind, match=text):
        hv.Guest(**{"name": "x", "memory": "16M", **options})
    assert [g.name for g in hv.guests()] == ["first"]


def test_a_cpu_that_is_given_is_not_given_again_before_the_start(hv):
    a, b = hv.Guest("a", memory="2M"), hv.Guest("b", memory="2M")
    assert a.info["vcpus"][0][0] != b.info["vcpus"][0][0]
    with pytest.raises(OSError, match="no cpu is free"):
        hv.Guest("c", memory="2M")
    assert hv.Guest("c", memory="2M", cpus=[0]).info["vcpus"][0][0] == 0
    a.destroy()
    hv.Guest("d", memory="2M")


def test_ram_is_pieced_together_from_what_is_free(hv, monkeypatch):
    real = fake_hv.memory

    def memory():
        out = real()
        out["largest"] = min(out["free"], 65 << 20)
        return out

    monkeypatch.setattr(fake_hv, "memory", memory)
    hv.Guest("a", memory="256M")
    assert fake_hv.WORLD.guests[0].ram == [(i * (64 << 20), 64 << 20) for i in range(4)]


def test_unknown_names_list_the_known(hv):
    hv.Guest("linux", memory="2M")
    hv.Guest("beat", memory="2M")
    with pytest.raises(ValueError, match="no guest 'lniux'; did you mean linux.*: beat, linux"):
        hv.guest("lniux")
    with pytest.raises(ValueError, match="no boot module 'kk'; did you mean k. known: k, rd"):
        hv.guest("beat").load("kk")
    with pytest.raises(AttributeError, match="no register 'rxa'; did you mean rax"):
        hv.guest("beat").vcpus[0].get("rxa")


def test_registers(hv):
    g = hv.Guest("a", memory="16M").load("k")
    v = g.vcpus[0]
    v.rax, v.r15, v.cr3 = 5, 6, 0x7000
    assert (v.rax, v.r15, v.cr3) == (5, 6, 0x7000)
    assert fake_hv.reg_get(g.id, 0, fake_hv.RAX) == 5
    v.set_segment("fs", 8, 0x1234, 0xFFFF, 0x93)
    assert (v.fs.base, v.fs.selector) == (0x1234, 8)
    assert "rip 0000000000100000" in repr(v) and "cr3 7000" in repr(v)
    g.start()
    assert repr(v) == "<vcpu 0, running: pause() the guest to see its registers>"
    with pytest.raises(OSError):
        _ = v.rax
    with g.paused():
        assert v.rax == 5
    assert g.state == "running"


def test_memory_views(hv, capsys):
    g = hv.Guest("a", memory="16M")
    m = g.memory
    m[0x1000:0x1004] = b"\x01\x02\x03\x04"
    assert (m.u8[0x1000], m.u16[0x1000], m.u32[0x1000]) == (1, 0x201, 0x4030201)
    m.u32[0x1000] += 1
    m.u64[0x1008] = 0xFFFF_FFFF_FFFF_FFFF
    assert m[0x1000:0x1010] == b"\x02\x02\x03\x04\0\0\0\0" + b"\xff" * 8
    m[0x1FFFE] = 0x41
    m[0x1FFFF:0x20003] = b"needle"[:4]
    assert m.find(b"Aneed", 0x2000) == 0x1FFFE
    assert m.find(b"absent") is None
    m.dump(0x1000, 20)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "00001000  02 02 03 04 00 00 00 00 ff ff ff ff ff ff ff ff  " + "." * 16
    assert out[1].startswith("00001010  00 00 00 00   ")
    for bad in (lambda: m[5:], lambda: m[9:5], lambda: m.u8.__setitem__(0, 256),
                lambda: m.__setitem__(slice(0, 4), b"12345")):
        with pytest.raises(ValueError):
            bad()
    with pytest.raises(OSError):
        m[16 << 20]


def test_console(hv):
    g = hv.Guest("a", memory="2M")
    core = fake_hv.WORLD.guests[g.id]
    core.console = b"boot\r\nlogin: \xff"
    assert g.console.read() == "boot\r\nlogin: \xff"
    assert g.console.read() == ""
    assert g.console.write("root\n") == 5 and core.typed == b"root\n"
    core.console += b"Password: "
    assert g.console.expect("Password") == "Password: "
    core.console += b"/ # "
    assert g.console.expect(r"/ [#$] $") == "/ # "
    core.console += b"a+b ("
    assert g.console.expect("a+b (") == "a+b ("
    assert g.console.tail(5) == "a+b ("
    core.console += b"\x1b[1;32mro\x1b[0mot\x1b[6"
    assert g.console.expect("^root$") == "root"
    core.console += b"login: \x1b[6n"
    assert g.console.expect("login: $").endswith("login: ")
    with pytest.raises(OSError, match="no 'never' on the console of a within 0.01 s.*wrote last"):
        g.console.expect("never", timeout=0.01)


def test_screen(hv):
    g = hv.Guest("a", memory="2M")
    assert g.screen.lines == [""] * 25 and g.screen.find("x") is None
    g.memory[0xB8000 : 0xB8006] = b"H\x07i\x1f!\x70"
    at = 0xB8000 + (24 * 80 + 78) * 2
    g.memory[at : at + 4] = b"\xc9\x07\xbb\x07"
    assert g.screen.lines[0] == "Hi!" and g.screen.lines[24] == " " * 78 + "╔╗"
    assert g.screen.find("i!") == (0, 1) and g.screen.expect("╔") == (24, 78)
    assert g.screen.find("☃") is None and g.screen.find("!H") is None
    g.memory[0xB8000 + 159 * 2] = 0x41  # the end of a line is no place to go on
    g.memory[0xB8000 + 160 * 2] = 0x42
    assert g.screen.find("AB") is None and g.screen.find("A") == (1, 79)
    row = b"".join([bytes([c, 7]) for c in b"a b\0c\xffd"])
    g.memory[0xB8000 + 5 * 160 : 0xB8000 + 5 * 160 + len(row)] = row
    assert g.screen.find("a b c d") == (5, 0) and g.screen.find(" b c") == (5, 1)
    with pytest.raises(ValueError, match="everywhere"):
        g.screen.find("  ")
    assert g.screen.cell(0, 1) == ("i", 0x1F)
    assert g.screen.attributes[0][:4] == b"\x07\x1f\x70\0" and len(g.screen.attributes) == 25
    shown = repr(g.screen).splitlines()
    assert len(shown) == 27 and {len(line) for line in shown} == {82}
    with pytest.raises(ValueError, match="no cell 25, 0"):
        g.screen.cell(25, 0)
    with pytest.raises(OSError, match="no 'never' on the screen within 0.01 s; it shows:\nHi!"):
        g.screen.expect("never", timeout=0.01)


def test_the_screen_begins_where_the_crt_controller_says(hv):
    import _hv

    g = hv.Guest("a", memory="2M")
    at = 0xB8000 + 2 * 80 * 2
    g.memory[at : at + 4] = b"H\x07i\x07"
    _hv._g(g.id).screen = 80
    assert g.screen.find("Hi") == (1, 0) and g.screen.cell(1, 1) == ("i", 7)
    _hv._g(g.id).screen = 0x4000 - 10 * 80  # past the end it goes on at the beginning
    assert g.screen.lines[12] == "Hi" and len(g.screen.lines) == 25


def test_characters_of_the_screen_are_code_page_437(hv):
    from hv import screen

    assert len(screen._CHARACTERS) == 256
    text = bytes(range(256)).decode("cp437")
    assert "".join(screen._CHARACTERS[32:127]) == text[32:127]
    assert "".join(screen._CHARACTERS[128:255]) == text[128:255]


def test_wait(hv):
    g = hv.Guest("a", memory="16M").load("k").start()
    fake_hv.end(g.id, "poweroff")
    assert g.wait("crash", "off", timeout=1) == "off"
    with pytest.raises(OSError, match="no running of a within 0.01 s"):
        g.wait("running", timeout=0.01)
    with pytest.raises(ValueError, match="no state 'of'; did you mean off"):
        g.wait("of")


def test_tables(hv):
    assert "no guests; make one" in repr(hv.guests())
    g = hv.Guest("linux", memory="16M").load("k")
    fake_hv.WORLD.guests[g.id].exits = {"io": 5, "cpuid": 12, "hlt": 0}
    assert repr(hv.guests()).splitlines()[1].split() == ["linux", "new", "1", "16M", "17"]
    assert [line.split() for line in repr(g.exits).splitlines()] == [
        ["exits", "kind"], ["12", "cpuid"], ["5", "io"]]
    assert "linux" in repr(hv.machine) and "missing: nothing" in repr(hv.machine)
    assert "AMD-V (svm) in QEMU, 3 CPUs at 1000 MHz" in repr(hv.machine)


def test_crash_is_readable(hv):
    g = hv.Guest("a", memory="16M").load("k").start()
    assert g.crash is None
    fake_hv.end(g.id, "crash", crash={"why": "triple fault", "kind": "shutdown", "rip": 0x7C00,
                                      "cs": 8, "cr3": 0x1000, "bytes": b"\x0f\x0b"})
    assert g.crash.why == "triple fault" and g.crash.rip == 0x7C00
    text = repr(g.crash)
    assert text.startswith("triple fault\nrip 0000000000007c00")
    assert text.endswith("bytes at rip: 0f 0b")
    assert g.crash.json()["bytes"] == "0f0b"


def test_guests_of_an_earlier_python_are_found_again(hv):
    from hv import vm

    hv.Guest("old", memory="16M").load("k").start()
    vm._known.clear()
    g = hv.guest("old")
    assert g.state == "running" and g.memory.size == 16 << 20
    with pytest.raises(OSError, match="not loaded from here"):
        g.reset()


def test_help(hv, capsys):
    names = {}
    hv._init(names)
    names["help"](hv)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 13 and "help(g.on)" in lines[10] and "g.console.attach()" in lines[6]
    g = hv.Guest("a", memory="2M")
    for asked, what in ((g, g), (hv.Guest, g), (g.console, g.console), (g.memory, g.memory)):
        names["help"](asked)
        listed = capsys.readouterr().out
        for word in re.findall(r"^(\w+)", listed.replace("memory.", ""), re.M):
            if word not in ("with", "memory"):
                assert hasattr(what, word), word
    names["help"](len)
    assert "len" in capsys.readouterr().out


WRONG = [
    ("hv.Guest(5)", TypeError, "5 is no name"),
    ("hv.Guest('a b')", ValueError, "'a b' is no name; use letters, digits and _"),
    ("hv.Guest('for')", ValueError, "for is a keyword"),
    ("hv.Guest('b', cpus='two')", TypeError, "cpus='two' is no count"),
    ("hv.Guest('b', memory=None)", TypeError, "memory=None is no size"),
    ("g.memory[4:2]", ValueError, "0x4 to 0x2 ends before it starts"),
    ("g.memory.u8.__setitem__(0, None)", TypeError, "None is no number"),
    ("g.memory.find('x')", TypeError, "'x' is no bytes"),
    ("g.wait('off', timeout='x')", TypeError, "timeout='x' is no number of seconds"),
    ("g.console.write(5)", TypeError, "5 is neither text nor bytes"),
    ("g.console.expect(None)", TypeError, "None is neither text nor a regular expression"),
    ("g.on('cpuid', 5)", TypeError, "takes a function, not 5"),
    ("g.on('cpuid')(5)", TypeError, "takes a function, not 5"),
    ("g.watch('cpuid', 5)", TypeError, "takes a function, not 5"),
    ("g.on('io', print, port=70000)", ValueError, "port 0x11170 is outside 0 to 0xffff"),
    ("g.on('io', print, port='x')", TypeError, "port='x' is no number"),
    ("g.on('io', print, port=('a', 'b'))", TypeError, "is no number"),
    ("g.on('cpuid', print, leaf=-1)", ValueError, "leaf -0x1 is outside 0"),
    ("g.attach(5, ports=5)", TypeError, "5 is no hv.Device"),
    ("g.attach(hv.Device, ports=5)", TypeError, "is no hv.Device"),
    ("g.attach(hv.Device(), ports=(0, 0x10000))", ValueError, "port 0x10000 is outside"),
    ("g.detach(5)", ValueError, "no device 5"),
    ("hv.guests()['a']", TypeError, r"has no names; write hv.guest\('a'\)"),
    ("hv.guests()[1]", IndexError, "range"),
    ("hv.after('x', print)", TypeError, "'x' is no number of milliseconds"),
    ("hv.after(1, 2)", TypeError, "a timer takes a function, not 2"),
    ("hv.why('nobody')", ValueError, "no guest 'nobody'; known: a"),
    ("hv.explain('nope')", ValueError, "no exit, rule, error, MSR, field or CPUID bit 'nope'"),
]


@pytest.mark.parametrize(("code", "error", "text"), WRONG)
def test_wrong_arguments_get_one_sentence(hv, code, error, text):
    g = hv.Guest("a", memory="16M")
    with pytest.raises(error) as got:
        eval(code, {"hv": hv, "g": g})
    assert re.search(text, str(got.value)), got.value
    assert "\n" not in str(got.value) and len(str(got.value)) < 500
    assert [one.name for one in hv.guests()] == ["a"] and not g.handlers
    assert str(hv.why("a")) == "a is new"
