"""docs/recipes.md on a machine with Linux and a small guest, one recipe after the other; and
that neither of the two notices any of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.terminal import Terminal
from vipervisor import Machine

from .beats import goes_on
from .command import Hv
from .conftest import LINUX_LIMIT
from .test_docs import pattern
from .test_live import shared

pytestmark = [pytest.mark.machine, pytest.mark.timeout(480)]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "recipes.md"
LIMIT = 120.0
_RECIPE = re.compile(
    r"^## (\d+\. .*)\n(?:(?!^## ).*\n)*?^```python recipe\n((?:.*\n)*?)^```\n\n"
    r"^```text\n((?:.*\n)*?)^```$",
    re.MULTILINE,
)
# Something that is read anew all the time, on the guest whose life is watched.
POLICY = """
count = old.get("count", 0)
@beat.on("io", port=(0x3f8, 0x3ff))
def uart(x):
    global count
    count += 1
@linux.on("cpuid", leaf={leaf})
def leaf(x): pass
"""


BEAT = """
beat = hv.Guest("beat", cpus=[0], memory="16M").load("beat.elf", cmdline="every=1000").start()
"""


def recipes() -> list[tuple[str, str, str]]:
    return [(m[1], m[2], m[3]) for m in _RECIPE.finditer(PAGE.read_text())]


def test_the_page_has_its_recipes() -> None:
    assert len(recipes()) == PAGE.read_text().count("```python recipe") >= 10


def uptime(machine: Machine) -> float:
    console = machine.console("linux", LIMIT)
    console.write("cat /proc/uptime\n")
    return float(console.expect(r"\n(\d+\.\d+) \d+\.\d+", timeout=LIMIT)[1])


def consoles_on_several_terminals(machine: Machine, folder: Path) -> None:
    """Two of Linux and one of the other guest; both write, both read, a later one reads all."""
    with shared(machine, folder) as environment:
        hv = Hv(environment)
        with (
            Terminal(hv, "console", "linux") as one,
            Terminal(hv, "console", "linux") as two,
            Terminal(hv, "console", "beat") as beat,
        ):
            one.expect("linux ready")
            two.expect("linux ready")
            for number, writer in enumerate((one, two, one)):
                writer.type(f"echo from-$(({number} + 40))\r")
                one.expect(rf"\nfrom-{number + 40}\r?\n")
                two.expect(rf"\nfrom-{number + 40}\r?\n")
            beat.expect(r"\nbeat \d+")
            with Terminal(hv, "console", "linux") as late:
                late.expect(r"linux ready(.|\n)*from-40(.|\n)*from-41(.|\n)*from-42")
            for terminal in (one, two, beat):
                terminal.type("\x1c")
                assert terminal.wait() == 0


def test_recipes(boot: Callable[..., Machine], backend: str, tmp_path: Path) -> None:
    machine = Machine.load(ROOT / "examples" / "first.toml", backend=backend)
    if backend == "vmx":
        # Bochs' CPUs take turns: both guests in slices of one are twice as fast.
        linux = machine.partition["guests"][0]
        linux["cpus"] = [0]
        machine.partition.update(machine={"cpus": 1}, guests=[linux])
    booted = boot(machine.partition, machine.files, memory=512 << 20)
    limit = LINUX_LIMIT[backend]
    booted.console("linux", limit).expect("# $", timeout=limit)
    if backend == "vmx":
        booted.exec(BEAT, LIMIT)
    before = uptime(booted)
    for name, code, shown in recipes():
        said = booted.exec(code, LIMIT).replace("\r\n", "\n").replace("\r", "")
        wanted = pattern(tuple(shown.splitlines()))
        assert wanted.fullmatch(re.sub("\n\n+", "\n", said)), f"recipe {name} printed:\n{said}"
        assert booted.exec("print(len(hv.guests()), len(hv.policies))", LIMIT) == "2 0\n", name

    # Policies swapped beneath both of them.
    for round_ in range(8):
        source = POLICY.format(leaf=round_)
        said = booted.exec(f"print(hv.policy('p', {source!r}))", LIMIT)
        assert said == f"p: 2 handlers (version {round_ + 1})\n"
    more = "hv.clock.until(lambda: hv.policies['p'].names['count'] > 20, 60, 'exits')"
    booted.exec(more, LIMIT)

    consoles_on_several_terminals(booted, tmp_path)

    # No beat is lost, and Linux's clock went on.
    goes_on(booted.console("beat", LIMIT), LIMIT, 2)
    assert uptime(booted) > before
