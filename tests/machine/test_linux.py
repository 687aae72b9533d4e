"""Stock Debian Linux as a guest, up to its shell and back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import LINUX_LIMIT, MIB

Boot = Callable[..., Any]
LINE = "console=ttyS0,115200 cryptomgr.notests lsm= quiet noapic nolapic acpi=off"
SHORT = {"svm": "console=ttyS0 quiet", "vmx": "console=ttyS0 quiet cryptomgr.notests"}


def linux(**more: Any) -> dict[str, Any]:
    return {
        "image": "linux/vmlinuz",
        "name": "linux",
        "initrd": ["linux/initrd.cpio.gz"],
        "cmdline": LINE,
        "memory": 256 * MIB,
        **more,
    }


def test_shell_answers_and_powers_off(boot: Boot, backend: str) -> None:
    limit = LINUX_LIMIT[backend]
    cpus: Any = [0] if backend == "vmx" else 1
    machine = boot([linux(cpus=cpus)], single=True)
    console = machine.console("linux", limit)
    console.expect("# $", timeout=limit)
    console.write("echo $((6 * 7)) $(uname -s)\n")
    console.expect("42 Linux", timeout=limit)
    # One burst of typing, longer than the UART's FIFO: nothing may be lost.
    word = "x" * 400
    console.write(f"echo {word} | wc -c\n")
    console.expect(r"\n401", timeout=limit)
    # Its virtual terminal is the text screen, which scrolls by the CRT controller.
    console.write("seq 3000 >/dev/tty1; echo drawn''-on\n")
    console.expect(r"\ndrawn-on", timeout=limit)
    lines = machine.exec("print(hv.guest('linux').screen.text)").split()
    assert lines[-24:] == [str(n) for n in range(2977, 3001)]
    console.write("poweroff -f\n")
    end = machine.wait_end("linux", limit)
    assert end.reason == "poweroff"


@pytest.mark.full
def test_reset_register(boot: Boot, backend: str) -> None:
    limit = LINUX_LIMIT[backend]
    line = LINE.replace(" acpi=off", "") + " reboot=acpi"
    machine = boot([linux(cpus=[0] if backend == "vmx" else 1, cmdline=line)], single=True)
    console = machine.console("linux", limit)
    console.expect("# $", timeout=limit)
    console.write("reboot -f\n")
    assert machine.wait_end("linux", limit).reason == "reset"


@pytest.mark.full
def test_without_the_kvm_block_the_frequency_is_told(boot: Boot, backend: str) -> None:
    limit = LINUX_LIMIT[backend]
    guest = linux(cpus=[0] if backend == "vmx" else 1, cmdline=SHORT[backend], paravirt=False)
    console = boot([guest]).console("linux", limit)
    console.expect("# $", timeout=limit)
    console.write("dmesg | grep -c 'Hypervisor detected: KVM'; cat /proc/cmdline; echo END\n")
    console.expect(r"\nEND", timeout=limit)
    assert re.search(r"\n0\r?\n", console.text)
    assert ("tsc_early_khz=" in console.text) == (backend == "svm")


def test_two_linux_guests_beside_the_prompt(boot: Boot, backend: str) -> None:
    if backend == "vmx":
        guests = [linux(name="one", cpus=[0])]
    else:
        guests = [linux(name="one"), linux(name="two")]
    limit = LINUX_LIMIT[backend]
    machine = boot(guests)
    for guest in guests:
        console = machine.console(guest["name"], limit)
        console.expect("# $", timeout=limit)
        console.write("cat /proc/uptime\n")
        console.expect(r"\n\d+\.\d+ \d+\.\d+", timeout=limit)
    assert machine.exec("print(len(hv.guests()))").strip() == str(len(guests))


def test_uptime_follows_the_host_clock(boot: Boot, backend: str) -> None:
    limit = LINUX_LIMIT[backend]
    machine = boot([linux(cpus=[0] if backend == "vmx" else 1)])
    console = machine.console("linux", limit)
    console.expect("# $", timeout=limit)

    def host() -> float:
        return float(machine.exec("import _hv; print(_hv.tsc() / _hv.tsc_hz())"))

    def uptime() -> tuple[float, float, float]:
        """The guest's, between two readings of the host's."""
        before = host()
        at = len(console.text)
        console.write("cat /proc/uptime\n")
        console.expect(r"\n\d+\.\d+ \d+\.\d+", timeout=limit)
        found = re.search(r"\n(\d+\.\d+) \d+\.\d+", console.text[at:])
        assert found is not None
        return before, float(found[1]), host()

    before, start, after = uptime()
    console.write("sleep 3; echo slept\n")
    console.expect(r"\nslept", timeout=limit)
    before_end, end, after_end = uptime()
    # How long the readings took depends on how busy this computer is, so it bounds them.
    least, most = before_end - after, after_end - before
    assert 0.95 * least - 0.02 < end - start < 1.05 * most + 0.02
