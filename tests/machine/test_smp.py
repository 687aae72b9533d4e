"""Guests with several vCPUs: what they check themselves, and their life as seen from outside."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import LINUX_LIMIT, MIB
from .linux_shell import Shell, complaints
from .test_guests import check

Boot = Callable[..., Any]
Run = Callable[..., Any]
LIMIT = 60.0
# On Bochs each CPU takes its turn: fewer of them, and shorter.
CPUS = {"svm": 3, "vmx": 2}
ROUNDS = {"svm": 1000, "vmx": 200}


@pytest.mark.parametrize("mode", ["", "x2"])
def test_interrupts_between_cpus(run_guest: Run, backend: str, mode: str) -> None:
    line = f"rounds={ROUNDS[backend]} {mode}"
    run = run_guest("smp", cpus=CPUS[backend], cmdline=line, timeout=2 * LIMIT)
    check(run)
    assert f"shootdown of {CPUS[backend] - 1} CPUs" in run.output


def beats(text: str) -> int:
    found = re.findall(r"beat (\d+)", text)
    return int(found[-1]) if found else -1


def test_all_vcpus_pause_resume_stop_and_start_again(boot: Boot, backend: str) -> None:
    machine = boot([{"image": "smp", "cpus": CPUS[backend], "cmdline": "mode=beat"}])
    console = machine.console("smp", LIMIT)
    console.expect("beat 3", timeout=LIMIT)
    machine.exec("g = hv.guest('smp'); g.pause()")
    rips = machine.exec("print([v.rip for v in g.vcpus])")
    assert len(re.findall(r"\d+", rips)) == CPUS[backend]
    assert machine.exec("print([v.rip for v in g.vcpus])") == rips
    paused_at = beats(console.text)
    machine.exec("import time; time.sleep_ms(1500); g.resume()")
    console.expect(f"beat {paused_at + 4}", timeout=LIMIT)
    assert "gap" not in console.text  # its clock stood still as well
    for _ in range(5):
        machine.exec("g.pause(); g.resume()")
    now = beats(console.text)
    console.expect(f"beat {now + 3}", timeout=LIMIT)
    assert machine.exec("g.stop(); print(g.state)").strip() == "off"
    machine.exec("g.reset(); g.start()")
    console.expect(r"beat 0\r?\n", timeout=LIMIT)
    console.expect(r"beat 2\r?\n", timeout=LIMIT)
    assert machine.exec("g.destroy(); print(hv.guests())").strip().startswith("no guests")


def test_the_crash_of_one_vcpu_stops_the_guest(boot: Boot, backend: str) -> None:
    machine = boot([{"image": "smp", "cpus": CPUS[backend], "cmdline": "mode=crash"}])
    end = machine.wait_end("smp", LIMIT)
    assert end.reason == "crash"
    assert end.crash["vcpu"] == CPUS[backend] - 1
    assert "triple fault" in end.crash["why"]
    # All its CPUs can be had again.
    machine.exec("g = hv.guest('smp'); n = len(g.vcpus); g.destroy()")
    assert machine.exec("print(len(hv.Guest('b', cpus=n, memory='16M').vcpus))").strip() == str(
        CPUS[backend]
    )


def test_any_vcpu_may_end_the_guest(run_guest: Run, backend: str) -> None:
    run = run_guest("smp", cpus=CPUS[backend], cmdline="mode=exit", timeout=LIMIT)
    assert run.status == 7


STOCK = {"image": "linux/vmlinuz", "name": "linux", "initrd": ["linux/initrd.cpio.gz"]}


def test_stock_linux_on_two_cpus(boot: Boot, backend: str) -> None:
    """Without its self-tests, which take half a minute where the CPU is slow; what else runs
    unmodified is in test_support.py."""
    limit = 2 * LINUX_LIMIT[backend]
    line = "console=ttyS0 cryptomgr.notests"
    machine = boot([{**STOCK, "cpus": 2, "cmdline": line, "memory": 256 * MIB}])
    shell = Shell(machine.console("linux", limit), limit)
    shell.ready()
    assert shell.run("cat /sys/devices/system/cpu/online") == "0-1"
    assert shell.clocksource() == "tsc"
    assert complaints(shell.console.text) == []
    # Every CPU takes work, and interrupts go round.
    for i in range(4):
        assert shell.run(f"taskset {1 << i % 2} echo on $(({i} + 1))") == f"on {i + 1}"
    shell.type("poweroff -f")
    assert machine.wait_end("linux", limit).reason == "poweroff"
