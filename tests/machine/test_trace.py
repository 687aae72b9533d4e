"""Traces: every exit once, in order, with what the guest got; and watched reads."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from machine.claims import LIMIT, Boot, Claims
from vipervisor import Machine, MonitorError

from .test_live import shared

pytestmark = pytest.mark.machine

EXITS = "cpuid=1 rdmsr=0xfe rdmsr=0xc0de wrmsr=0xc0de inb=0x561 outb=0x561 load=0xd0000010"
OWN = "own = [t for t in g.trace if t.kind != 'none']\n"


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split()]


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Asks the monitor again and again, which has to serve another command meanwhile."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"no {what} within {LIMIT} s"


def test_a_trace(boot: Boot, tmp_path: Path) -> None:
    c = Claims(boot)
    assert c.exec("print(g.trace.active, len(g.trace), g.trace.size)") == "False 0 0\n"
    with pytest.raises(MonitorError, match="of 20000 exits a vCPU is too long"):
        c.exec("g.trace.on(20000)")
    free = c.exec("print(hv.machine.memory['pool'])")
    plain = c.run("", EXITS)
    assert c.exec("print(len(g.trace), g.vcpus[0].trace.active)") == "0 False\n"

    # Every exit, once and in order; the instructions' answers are those that the guest got.
    assert c.run("g.trace.on(4000)", EXITS) == plain
    seen, counted, over, size = numbers(c.exec(
        OWN + "print(len(own), sum(g.exits.values()), g.trace.overwritten, g.trace.size)"))
    assert seen == counted > 50 and (over, size) == (0, 4096)
    assert c.exec("kinds = {}\nfor t in own: kinds[t.kind] = kinds.get(t.kind, 0) + 1\n"
                  "print(sorted(kinds.items()) == sorted(g.exits.items()))") == "True\n"
    last = "last = own[0].tsc\nfor t in own:\n assert last <= t.tsc < t.entered, t\n"
    c.exec(last + " last = t.entered\n assert t.ticks == t.entered - t.tsc")
    msr = int(re.search(r"rdmsr fe: (\w+) trap -1", plain)[1], 16)  # type: ignore[index]
    shown = c.exec("for t in own:\n"
                   " if t.kind in ('rdmsr', 'wrmsr') and t.msr in (0xfe, 0xc0de) or"
                   " t.kind == 'io' and t.port == 0x561 or t.kind == 'nested_fault':\n"
                   "  print(t.kind, t.done, t.about())")
    written = re.search(r"^wrmsr False (msr 0xc0de: #GP)$", shown, re.MULTILINE)
    assert written and shown.splitlines() == [
        f"rdmsr True msr 0xfe -> {msr:#x}",
        "rdmsr False msr 0xc0de: #GP",
        "wrmsr False msr 0xc0de: #GP",
        "io True inb 0x561 -> 0xff",
        "io True outb 0x561 <- 0x5a",
        "nested_fault True read at 0xd0000010",
    ]
    leaves = "print([t.subleaf for t in own if t.kind == 'cpuid' and t.leaf == 1][-1])"
    assert c.exec(leaves) == "0\n"

    # What is shown, and where the time went.
    table = c.exec("print(g.trace)").splitlines()
    assert re.match(r"us +ticks +vcpu +exit +about +at$", table[0]) and len(table) == 22
    assert re.match(r"\d+ exits of claims, on, 512K$", table[-1])
    assert re.search(r"^0\.0 .* io +outl 0xf4 <- 0x0 ", "\n".join(table), re.MULTILINE)
    sums = c.exec("h = g.trace.histogram()\n"
                  "print(sum([n for n, t in h.reasons.values()]), len(g.trace),"
                  " sum([t for n, t in h.rips.values()]) == sum([x.ticks for x in g.trace]))")
    assert sums.split()[0] == sums.split()[1] and sums.split()[2] == "True"
    assert c.exec("print(h)").startswith("exits  ticks")
    # Off, the notes stay; cleared, their memory is back.
    kept = c.exec("g.trace.off(); print(len(g.trace))")
    assert c.exec("print(len(g.trace), g.trace.active)") == f"{kept.strip()} False\n"
    assert c.exec("g.trace.clear(); print(hv.machine.memory['pool'])") == free

    # A ring that is too small keeps the newest.
    c.run("g.trace.on(16)", EXITS)
    over, first, newest, count = numbers(c.exec(
        "o = [t.number for t in g.trace]\nprint(g.trace.overwritten, o[0], o[-1], len(o))"))
    assert count == 16 and over == first > 0 and newest == first + 15
    show = "print([t.number for t in g.trace.last(3)][0], len(g.trace.show(5).said.split('\\n')))"
    assert c.exec(show) == f"{newest - 2} 6\n"

    # The host's side of it.
    with shared(c.machine, tmp_path) as environment:
        c.exec("g.trace.clear(); g.reset(); g.load('claims.elf', cmdline='loop=20')")
        tracing = subprocess.Popen(
            [sys.executable, "-m", "vipervisor", "trace", "claims", "--json"], env=environment,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            wait_for(lambda: c.exec("print(g.trace.active)") == "True\n", "the trace")
            c.exec("g.start()")
            out, error = tracing.communicate(timeout=LIMIT)
        finally:
            tracing.kill()
        assert (tracing.returncode, error) == (0, "")
        rows = [json.loads(line) for line in out.splitlines()]
        assert sum(row["kind"] == "cpuid" and row["leaf"] == 1 for row in rows) >= 20
        assert [row["number"] for row in rows] == list(range(len(rows)))
        assert rows[-1]["about"].startswith("outl 0xf4 <- ") and rows[-1]["ticks"] is not None
        said = subprocess.run(
            [sys.executable, "-m", "vipervisor", "trace", "claims", "--histogram"],
            env=environment, text=True, capture_output=True, timeout=LIMIT)
        assert (said.returncode, said.stdout) == (0, "no exits in the trace\n")
    assert c.exec("print(g.trace.active, hv.machine.memory['pool'])") == f"False {free}"


def test_watched_reads_a_crash_and_a_soft_reset(boot: Boot) -> None:
    """The value from the core, from a handler beside the watch, and for several watches; the last
    exits of a guest that dies; a trace that outlives Python."""
    c = Claims(boot)
    see = "seen = []\nfor kind, about in (('msr', {'msr': (0xc0de, 0xc0e0)}),"
    see += " ('rdmsr', {'msr': 0xfe}), ('io', {'port': (0x560, 0x561)}),"
    see += " ('io', {'port': (0x71, 0x71)})):\n"
    see += " g.watch(kind, seen.append, **about)\n"
    handlers = (
        "@g.on('rdmsr', msr=0xc0de)\ndef unknown(x): x.value = 0x1122334455667788\n"
        "@g.on('io', port=0x560, instead=True)\n"
        "def port(x):\n if not x.write: x.value = 0x51\n"
        "@g.on('rdmsr', msr=0xc0df, instead=True)\ndef inject(x): x.inject(13, 0)\n"
    )
    work = "rdmsr=0xfe rdmsr=0xc0de rdmsr=0xc0df rdmsr=0xc0e0 wrmsr=0xc0de"
    work += " inb=0x560 inb=0x561 outb=0x561"
    show = "hv.clock.until(lambda: len(seen) == 8, 60, 'records, there are %d' % len(seen))\n"
    show += "print([(s.value, s.fault) if hasattr(s, 'msr') else (s.value, s.write) for s in seen])"
    for given in ("", handlers, "g.trace.on(64)", handlers):
        text = c.run("for w in list(hv.exits.slots(g).watches): w.remove()\n" + see + given, work)
        fixed = int(re.search(r"rdmsr fe: (\w+) trap -1", text)[1], 16)  # type: ignore[index]
        answered = given == handlers
        assert c.exec(show).strip() == str([
            (fixed, False),
            (0x1122334455667788, False) if answered else (0, True),
            (0, True),
            (0, True),
            (0x1122334455667788, True),
            (0x51 if answered else 0xFF, False),
            (0xFF, False),
            (0x5A, True),
        ])

    # cpuid; ud2 without anybody to catch it
    free = c.exec("print(hv.machine.memory['pool'])")
    c.exec("d = hv.guest_from(b'\\x0f\\xa2\\x0f\\x0b', cpus=[0], name='dies'); d.trace.on()")
    c.exec("d.start().wait('crashed', timeout=60)")
    record = c.exec("print(d.crash)")
    assert re.search(
        r"its last exits:\nus .*\n(-\S+ .*\n)*-\S+ +\d+ +0 +cpuid +leaf 0x0 .*\n"
        r"(-\S+ .*\n)*0\.0 +\S+ +0 +shutdown ", record), record
    assert "its last exits:\nus " in c.exec("print(hv.why(d))")
    assert c.exec("d.reset(); print(d.crash, d.trace.active)") == "None True\n"

    c.machine.prompt.write("\x04")
    c.machine.prompt.expect("MPY: soft reboot", timeout=LIMIT)
    c.machine.prompt.expect(">>> ", timeout=LIMIT)
    assert c.exec("d = hv.guest('dies'); print(d.trace.active, len(d.trace) > 1)") == "True True\n"
    assert c.exec("d.destroy(); print(hv.machine.memory['pool'])") == free


def test_two_vcpus_in_one_trace_by_time(boot: Callable[..., Machine]) -> None:
    machine = boot([{"image": "smp", "cpus": 2}])
    machine.wait_started(LIMIT)

    def run(code: str) -> str:
        return machine.exec(code, LIMIT)

    run("g = hv.guest('smp')\nif g.state == 'running': g.stop()\ng.reset(); g.load('smp.elf')")
    free = run("print(hv.machine.memory['pool'])")
    run("g.start(); g.trace.on(1024)")  # while it runs
    run("hv.clock.until(lambda: min([len(v.trace) for v in g.vcpus]) > 9, 60, 'exits of both')")
    run("if g.state == 'running': g.stop()")
    assert run(
        "at = [t.tsc for t in g.trace]\n"
        "print(at == sorted(at), sorted({t.vcpu for t in g.trace}), len(g.trace) =="
        " sum([len(v.trace) for v in g.vcpus]), [t.vcpu for t in g.vcpus[1].trace][0])"
    ) == "True [0, 1] True 1\n"
    run("g.vcpus[1].trace.clear()")
    one = run("print(g.trace.active, g.vcpus[1].trace.active, g.trace.size)")
    assert one == "True False 1024\n"
    run("g.destroy()")
    assert int(run("print(hv.machine.memory['pool'])")) > int(free)
