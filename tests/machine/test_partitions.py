"""hv.Partition: several guests from a description, at the prompt of a running machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from vipervisor import Machine

pytestmark = pytest.mark.machine

GUESTS = Path(__file__).resolve().parents[2] / "build" / "guests"
LIMIT = 90.0

CODE = """
p = hv.Partition(guest=[
    {"name": "one", "memory": "4M", "image": "guests/hello.elf", "cpus": [0], "cmdline": "n=1"},
    {"name": "beat", "memory": "5M", "image": "helo.elf"}])
try: p.start()
except hv.PartitionError as e: print([(f.rule, f.place()) for f in e.findings])
p.description["guest"][1].update(name="two", memory="4M", image="hello.elf", cpus=[1])
print([(f.rule, f.place()) for f in p.check()])
p.description["guest"][1]["cpus"] = [0]
p.start()
for g in p.guests: g.wait("off", timeout=60)
print([(g.name, g.state, g.kind, g.info["status"]) for g in p.guests], hv.guests()[0].state)
p.destroy()
print([g.name for g in hv.guests()])
"""


def test_a_partition_at_the_prompt(boot: Callable[..., Machine]) -> None:
    machine = boot(["beat"], files={"hello.elf": GUESTS / "hello.elf"}, cpus=3)
    said = machine.exec(CODE, LIMIT).splitlines()
    assert said == [
        "[('memory-step', 'guest[1].memory'), ('file-missing', 'guest[1].image')]",
        "[('cpu-shared', 'guest[1].cpus')]",
        "[('one', 'off', 'multiboot1', 0), ('two', 'off', 'multiboot1', 0)] running",
        "['beat']",
    ]


def test_guests_take_turns_on_cpu_0(boot: Callable[..., Machine]) -> None:
    """None of them ever sleeps, and each goes on; so does Python."""
    spin = {"image": "beat", "cmdline": "every=20 spin=1", "cpus": [0]}
    machine = boot([{**spin, "name": name} for name in ("one", "two", "three")], cpus=1)
    for name in ("one", "two", "three"):
        machine.console(name, LIMIT).expect("beat 3\\b", timeout=LIMIT)
    said = machine.exec("print([g.info['vcpus'][0][0] for g in hv.guests()])")
    assert said.strip() == "[0, 0, 0]"
