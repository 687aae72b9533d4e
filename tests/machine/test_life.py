"""Guests come, change their state and go: the table of moves, and nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vipervisor import Machine

pytestmark = pytest.mark.machine

Boot = Callable[..., Machine]
LIMIT = 200.0
GUESTS = Path(__file__).resolve().parents[2] / "build" / "guests"
FILES = {f"{name}.elf": GUESTS / f"{name}.elf" for name in ("triple", "spin", "beat")}
# One Bochs CPU runs as fast as two take turns; there a guest costs 50 ms.
CPUS = {"svm": (2, "1"), "vmx": (1, "[0]")}
CYCLES = {"svm": 1000, "vmx": 80}
PIECE = 40  # cycles of one wait

# A walk through every move of the table. In each state everything else is tried, too.
TABLE = """
import json
import _hv
from hv import moves
WALK = ("load reset start pause resume reset start pause reset start stop reset"
        " start pause stop reset start wait reset").split()
refused, made = [], set()

def look(g, state):
    assert g.state == state and g.moves == moves.legal(state), (state, g.state, g.moves)
    for verb in moves.MOVES:
        if state in moves.MOVES[verb]: continue
        try: g.load("spin.elf") if verb == "load" else getattr(g, verb)()
        except OSError as e: refused.append((state, verb, e.args[1]))
    for call, what in ((_hv.guest_platform, 0), (_hv.guest_firmware, bytes(4)),
                       (_hv.guest_set_cpuid, b""), (_hv.guest_set_msrs, b"")):
        try:
            if state != "new": call(g.id, what); assert 0, "%s changed it" % call
        except OSError as e: assert e.args[0] == 16  # EBUSY

g = hv.Guest("probe", cpus=CPU, memory="2M")
state = "new"
for n, verb in enumerate(WALK):
    if verb != "wait":
        look(g, state)
    else:  # it may have crashed already
        state = g.wait("crash", timeout=100)
        continue
    after = moves.MOVES[verb][state]
    if n + 2 == len(WALK) - 1:
        g.load("triple.elf")
    g.load("spin.elf") if verb == "load" else getattr(g, verb)()
    if not (verb == "start" and WALK[n + 1] == "wait"):
        assert g.state == after, (state, verb, g.state)
    made.add((state, verb))
    state = after
for state in moves.STATES:  # and gone from each of them
    if not g.exists():
        g = hv.Guest("probe", cpus=CPU, memory="2M").load("triple.elf" if state == "crashed"
                                                          else "spin.elf")
    if state != "new": g.start()
    if state == "paused": g.pause()
    if state == "off": g.stop()
    if state == "crashed": g.wait("crashed", timeout=100)
    assert g.state == state
    g.destroy()
    made.add((state, "destroy"))
print(json.dumps([refused, sorted(made)]))
"""

PAUSED = """
g = hv.Guest("probe", cpus=CPU, memory="2M").load("spin.elf").start()
try:
    with g.paused():
        with g.paused(): a = g.vcpus[0].rip, g.state
        b = g.vcpus[0].rip, g.state
        1 // 0
except ZeroDivisionError: print(a == b, a[1], g.state)
try: g.wait("off", timeout=0.05)
except hv.TimeoutError as e: print(e.args[1])
with g.paused(): g.stop()
print(g.state)
with g.paused(): g.destroy()
try: g.memory[0]
except (OSError, ValueError) as e: print("gone")
"""

COUNT = """
import gc, json, _hv
for _ in range(3): gc.collect()
m = hv.machine.memory
print(json.dumps([gc.mem_alloc(), m["free"], m["pool"], m["largest"], len(_hv.guest_ids()),
    len(hv.making.owners()), len(hv.events._seen), len(hv.timers._due), len(hv.vm._known)]))
"""

CYCLE = """
for i in range(%d):
    g = hv.Guest("probe%%d" %% (i %% 3), cpus=CPU, memory="2M")
    if i %% 20 == 0:
        g.on("cpuid", lambda x: None, leaf=1)
        g.attach(hv.Device(), ports=0x560).after(10**6, print)
        g.watch("hlt", print)
        g.load("triple.elf" if i %% 40 else "spin.elf").start()
        if i %% 40:
            g.wait("crashed", timeout=100)
        else:
            with g.paused():
                g.vcpus[0].rip
    g.destroy()
"""


@pytest.fixture
def machine(boot: Boot, backend: str) -> Machine:
    count, cpu = CPUS[backend]
    machine = boot([], cpus=count, memory=128 << 20, files=FILES)
    machine.exec(f"import hv; CPU = {cpu}; hv.events.quiet = True")
    return machine


def test_states_and_moves(machine: Machine) -> None:
    """What the table says a state's verb does, it does; all others are refused in words."""
    refused, made = json.loads(machine.exec(TABLE, LIMIT))
    moves: dict[str, dict[str, Any]] = json.loads(machine.exec("print(json.dumps(moves.MOVES))"))
    verbs = machine.exec("print(*moves.VERBS)").split()
    assert sorted(verbs) == sorted(moves)
    legal = {(state, verb) for verb, row in moves.items() for state in row}
    assert {(state, verb) for state, verb in made} == legal
    states = ("new", "running", "paused", "off", "crashed")
    assert {(s, v) for s, v, _ in refused} == {(s, v) for s in states for v in moves} - legal
    for state, verb, text in refused:
        can = ", ".join(v for v in verbs if state in moves[v])
        assert text.startswith(f"probe is {state}; "), (state, verb, text)
        assert text.endswith(f"(now it can {can})")

    assert machine.exec(PAUSED, LIMIT).splitlines() == [
        "True paused running",
        "no off of probe within 0.05 s",
        "off",
        "gone",
    ]


def cycles(machine: Machine, count: int) -> None:
    """Memory, the monitor's pages, Python's heap, CPUs and tables are as they were."""
    machine.exec(CYCLE % PIECE, LIMIT)  # what is made once and kept is made now
    before = json.loads(machine.exec(COUNT, LIMIT))
    for _ in range(count // PIECE):
        machine.exec(CYCLE % PIECE, LIMIT)
    after = json.loads(machine.exec(COUNT, LIMIT))
    # The collector looks at the stack word by word: it may keep a few objects more.
    assert after[0] - before[0] < 32 * 1024
    assert after[1:] == before[1:]


def test_a_thousand_guests_leave_nothing_behind(machine: Machine, backend: str) -> None:
    cycles(machine, CYCLES[backend])


@pytest.mark.full
def test_a_thousand_guests_on_each_back_end(machine: Machine) -> None:
    cycles(machine, 1000)
