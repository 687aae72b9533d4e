"""COM1 served by the core and by Python: its guest sees no difference."""

from __future__ import annotations

import re
from typing import Any

import pytest
from machine.beats import goes_on
from machine.claims import LIMIT, Boot
from vipervisor import paths

pytestmark = pytest.mark.machine

GUESTS = paths.build_dir() / "guests"


def checked(boot: Boot, devices: list[str]) -> str:
    """What the self-checking guest wrote."""
    machine = boot([{"image": "uart", "cmdline": "input=5", "devices": devices}])
    console = machine.console("uart", LIMIT)
    console.expect("type 5 bytes", timeout=LIMIT)
    console.write("hello")
    end = machine.wait_end("uart", LIMIT)
    assert (end.reason, end.status) == ("exit", 0), console.text
    return str(console.text)


def test_moving_the_uart_changes_nothing_for_its_guest(boot: Boot) -> None:
    in_c, in_python = checked(boot, []), checked(boot, ["python-uart"])
    assert in_python == in_c
    assert "typed: hello" in in_c
    assert re.search(r"^[1-9]\d* passed, 0 failed, 0 skipped", in_c, re.MULTILINE), in_c


def test_replaced_and_given_back_while_the_guest_runs(boot: Boot) -> None:
    machine = boot([{"image": "beat", "cmdline": "every=30"}])
    beat = machine.console("beat", LIMIT)
    beat.expect(r"beat 3\b", timeout=LIMIT)
    machine.exec("g = hv.guest('beat')")
    for _ in range(3):
        assert "Uart" in machine.exec("u = g.replace('uart'); print(u)")
        hits = "sum([h.hits for h in g.handlers.values()])"
        machine.exec(f"hv.clock.until(lambda: {hits} > 20, 60, 'exits')", timeout=LIMIT)
        machine.exec("g.detach('uart')")
        goes_on(beat, LIMIT)


def linux(boot: Boot, **more: Any) -> Any:
    guest = {
        "image": "linux/vmlinuz",
        "name": "linux",
        "memory": 192 << 20,
        "initrd": ["linux/initrd.cpio.gz"],
        "cmdline": "console=ttyS0,115200 cryptomgr.notests quiet",
        **more,
    }
    return boot([guest])


def says(console: Any, command: str, what: str) -> None:
    console.write(command + "\n")
    console.expect(what, timeout=LIMIT)


# Bochs takes minutes for it, and runs CPUs in turn: one is faster.
@pytest.mark.parametrize("backend", ["svm", pytest.param("vmx", marks=pytest.mark.full)])
@pytest.mark.timeout(900)
def test_linux_lives_on_a_uart_in_python(boot: Boot, backend: str) -> None:
    machine = linux(boot, devices=["python-uart"], cpus=[0] if backend == "vmx" else 1)
    console = machine.console("linux", LIMIT)
    console.expect("linux ready", timeout=LIMIT * (2 if backend == "svm" else 6))
    says(console, "echo $((6 * 7)) bytes", "42 bytes")
    # Back to the core's and to Python's again, under a driver that works by interrupts.
    machine.exec("g = hv.guest('linux'); g.detach('uart')")
    says(console, "echo $((6 * 8)) bytes", "48 bytes")
    machine.exec("g.replace('uart')")
    says(console, "echo $((6 * 9)) bytes; grep -c ttyS0 /proc/interrupts", "54 bytes")
    # Python starts anew, in the midst of what the guest writes: no byte is lost.
    console.write("seq 2000\n")
    console.expect(r"\n100\r?\n", timeout=LIMIT)
    machine.prompt.write("\x04")
    machine.prompt.expect("MPY: soft reboot", timeout=LIMIT)
    console.expect(r"\n2000\r?\n", timeout=LIMIT)
    numbers = [int(n) for n in re.findall(r"^(\d+)\r?\n", console.text, re.MULTILINE)]
    assert numbers[-2000:] == list(range(1, 2001))
    says(console, "echo $((6 * 10)) bytes", "60 bytes")
    assert machine.exec("print(hv.guest('linux').state)").strip() == "running"
