"""Handlers in Python that do what they must not: their guest is paused or dead with a
clear sentence, everything else goes on."""

from __future__ import annotations

import pytest
from machine.beats import goes_on
from machine.claims import LIMIT, Boot, Claims
from vipervisor import MonitorError

pytestmark = pytest.mark.machine

BEAT = {"image": "beat", "cmdline": "every=50"}
# What a handler of a port that must answer does, and what is said of it.
BAD = {
    "1 // 0": "ZeroDivisionError",
    "pass": "unanswered",
    "x.value = 'nonsense'": "TypeError",
    "x.nonsense": "AttributeError",
    "raise SystemExit": "SystemExit",
    "return 5": "unanswered",
    "return 'nonsense'": "unanswered",
    "x.rip = None": "TypeError",
    "x.guest.memory[x.guest.memory_size:x.guest.memory_size + 4] = b'past'": "OSError",
    "x.guest.memory.u64[1 << 60] = 1": "OSError",
    "bad(x)": "recursion",
    "x.keep = [bytes(1 << 40)]": "MemoryError",
}
# Loops that hv.handler_limit ends: in bytecode, in native code, in what native code calls.
LOOPS = {
    "bytecode": "def bad(x):\n while True: pass",
    "native": "@micropython.native\ndef bad(x):\n while True: pass",
    "viper": "@micropython.viper\ndef bad(x):\n i = 0\n while True: i += 1",
    "native that calls C": "@micropython.native\ndef bad(x):\n while True: len(b'x')",
    "native below bytecode": (
        "@micropython.native\ndef spin():\n while True: pass\n"
        "def bad(x):\n try: spin()\n except Exception: pass"
    ),
    "two handlers": (
        "@micropython.native\ndef bad(x):\n while True: pass\ng.on('cpuid', lambda x: None, leaf=1)"
    ),
}


def neighbour_goes_on(c: Claims) -> None:
    goes_on(c.machine.console("beat", LIMIT), LIMIT)


def told(c: Claims, at: int, what: str) -> None:
    """The prompt says `what` behind its position `at`."""
    prompt = c.machine.prompt
    c.machine.bell.wait(lambda: what in prompt.text[at:], LIMIT, lambda: f"{what!r} at the prompt")


def some(backend: str, every: dict[str, str], few: tuple[str, ...]) -> dict[str, str]:
    """All of them on svm; in Bochs, which takes its time, those that may differ."""
    return every if backend == "svm" else {name: every[name] for name in few}


def test_a_handler_that_fails_pauses_its_guest_only(boot: Boot, backend: str) -> None:
    c = Claims(boot, BEAT)
    for body, said in some(backend, BAD, ("1 // 0", "pass", "return 5", "bad(x)")).items():
        at = len(c.machine.prompt.text)
        c.start(
            f"def bad(x): {body}\ng.on('io', bad, port=0x560, instead=True)", "inb=0x560 cpuid=1"
        )
        told(c, at, "paused: the handler bad")
        c.machine.wait_state("claims", "paused", timeout=LIMIT)
        told(c, at, said)  # the traceback may follow the notice
        assert c.exec("print(g.state)").strip() == "paused"
        before = len(c.console.text)
        c.exec("g.resume()")
        c.machine.wait_end("claims", LIMIT)
        assert "inb 560: ff" in c.console.text[before:]  # the core's answer
    neighbour_goes_on(c)


def test_a_handler_that_loops_is_ended(boot: Boot, backend: str) -> None:
    c = Claims(boot, BEAT)
    c.exec("import micropython\nhv.handler_limit = 300")
    for name, code in some(backend, LOOPS, ("bytecode", "native")).items():
        at = len(c.machine.prompt.text)
        c.start(f"{code}\ng.on('cpuid', bad, leaf=1)", "cpuid=1")
        told(c, at, "longer than hv.handler_limit")
        c.machine.wait_state("claims", "paused", timeout=LIMIT)
        c.exec("g.resume()")
        assert c.machine.wait_end("claims", LIMIT).status == 0, name
    at = len(c.machine.prompt.text)
    c.start("g.on('cpuid', lambda x: None, leaf=1)\nhv.handler_limit = 'x'", "cpuid=1")
    told(c, at, "hv.handler_limit is no number of milliseconds")
    c.machine.wait_state("claims", "paused", timeout=LIMIT)
    c.exec("hv.handler_limit = 1000\ng.resume()")
    assert c.machine.wait_end("claims", LIMIT).status == 0
    neighbour_goes_on(c)


def test_a_handler_in_native_code_that_ends_in_time_is_left_alone(boot: Boot) -> None:
    c = Claims(boot)
    code = (
        "import micropython, time\n"
        "hv.handler_limit = 60000\n"
        "@micropython.native\n"
        "def slow(x):\n"
        " start = time.ticks_ms()\n"
        " while time.ticks_diff(time.ticks_ms(), start) < 200: pass\n"  # looked at meanwhile
        "@g.on('cpuid', leaf=1)\n"
        "def good(x): slow(x); x.eax = 0x77\n"
    )
    assert "cpuid 1: 00000077" in c.run(code, "cpuid=1")
    assert c.exec("print(good.hits)").strip() == "1"
    for limit in ("1 << 58", "1 << 100"):  # more than the clock can count
        code = f"hv.handler_limit = {limit}\n@g.on('cpuid', leaf=1)\ndef good(x): x.eax = 0x78\n"
        assert "cpuid 1: 00000078" in c.run(code, "cpuid=1")


def test_a_handler_that_pauses_ends_or_destroys_its_guest(boot: Boot) -> None:
    c = Claims(boot, BEAT)
    before = c.start("@g.on('cpuid', leaf=1)\ndef rest(x): x.pause(); x.eax = 0x31", "cpuid=1")
    c.machine.wait_state("claims", "paused", timeout=LIMIT)
    assert c.exec("print(g.state, rest.hits, g.vcpus[0].rax == 0x31)") == "paused 1 True\n"
    c.exec("g.resume()")
    assert c.machine.wait_end("claims", LIMIT).status == 0
    assert "cpuid 1: 00000031 " in c.console.text[before:]
    c.start("@g.on('cpuid', leaf=1)\ndef end(x): x.stop()", "cpuid=1")
    assert c.machine.wait_end("claims", LIMIT).reason == "stopped"
    c.start("@g.on('cpuid', leaf=1)\ndef end(x): x.guest.destroy()", "cpuid=1")
    c.exec("hv.clock.until(lambda: not g.exists(), 60, 'end')")
    assert c.exec("print([guest.name for guest in hv.guests()])").strip() == "['beat']"
    with pytest.raises(MonitorError, match="destroyed"):
        c.exec("g.state")
    neighbour_goes_on(c)


def test_handlers_come_and_go_while_the_guest_runs(boot: Boot) -> None:
    machine = boot([{"image": "beat", "cmdline": "every=30"}])
    beat = machine.console("beat", LIMIT)
    beat.expect(r"beat 3\b", timeout=LIMIT)
    # A timer that raises leaves the next one its alarm: nothing else asks for it here.
    machine.exec(
        "def wrong(): raise ValueError('wrong timer')\n"
        "hv.timers.after('wrong', 300, wrong)\n"
        "hv.timers.after('next', 600, lambda: print('the next timer'))"
    )
    machine.prompt.expect("ValueError: wrong timer", timeout=LIMIT)
    machine.prompt.expect("the next timer", timeout=LIMIT)
    code = (
        "g = hv.guest('beat')\n"
        "for i in range(20):\n"
        "    h = g.on('io', lambda x: None, port=(0, 0x3ff))\n"
        "    hv.clock.until(lambda: h.hits, 60, 'an exit')\n"
        "    h.off(); h.on(); h.remove()\n"
        "print(g.handlers)\n"
    )
    assert machine.exec(code, timeout=LIMIT).startswith("no handlers")
    goes_on(beat, LIMIT)


def test_no_exit_is_lost_or_seen_twice_while_handlers_come_and_go(boot: Boot) -> None:
    """The guest counts 20,000 exits; so does the core, with handlers as without."""
    c = Claims(boot)
    c.run("", "wait=100 loop=20000")
    alone = int(c.exec("print(g.exits['cpuid'])"))
    assert alone >= 20000
    # In one request with the loop: an idle Bochs runs the guest to its end before a second one.
    code = (
        "g.reset()\n"
        "g.load('claims.elf', cmdline='wait=100 loop=20000')\n"
        "g.start()\n"
        "hits = rounds = 0\n"
        "while g.state == 'running' and rounds < 200:\n"
        "    h = g.on('cpuid', lambda x: None, leaf=1)\n"
        "    hv.clock.until(lambda: h.hits or g.state != 'running', 60, 'an exit')\n"
        "    h.remove(); hits += h.hits; rounds += 1\n"
        "    w = g.watch('cpuid', lambda seen: None, leaf=1); w.remove()\n"
        "g.wait('off', timeout=60)\n"
        "print(g.exits['cpuid'], 0 < hits <= 20000)\n"
    )
    assert c.exec(code).split() == [str(alone), "True"]
