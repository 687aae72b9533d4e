"""Stock Linux for longer: its ends, its clocks beside the host's, and two of them at work
beside the prompt."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from vipervisor import Machine

from .beats import goes_on
from .conftest import GUESTS, LINUX_LIMIT, MIB, ROOT
from .linux_shell import Shell

Boot = Callable[..., Machine]
IMAGE = GUESTS / "linux" / "vmlinuz"
INITRD = GUESTS / "linux" / "initrd.cpio.gz"
LINE = "console=ttyS0"
# Without the self-tests where nobody looks at them: half a minute where the CPU is slow.
SHORT = f"{LINE} cryptomgr.notests quiet"

TRIES, CLOSE = 50, 0.02  # readings of the clocks, seconds that one may take
SPAN = 30  # seconds over which the clocks are compared
DRIFT = 0.01
RTC_SECOND = 2  # the RTC tells whole seconds
LOAD_SECONDS = 120
PADDING = "0123456789abcdefghijklmnopqrstuvwxyz"
LOAD = (
    "dd if=/dev/zero bs=1M count=16 | md5sum",
    "seq 60000 | sort -n -r | tail -n 1",
    "dd if=/dev/urandom of=/tmp/file bs=1M count=32; cat /tmp/file | md5sum",
    "timeout 5 yes",
)
# Lines as fast as the console takes them, until the guest's clock says that it is enough.
FLOOD = (
    f"end=$(($(date +%s) + {LOAD_SECONDS})); n=0; while [ $(date +%s) -lt $end ]; do "
    "for i in 1 2 3 4 5 6 7 8 9 10; do n=$((n + 1)); "
    f"echo line $n {PADDING}; done; done; echo flood ''over $n"
)

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]


def linux(name: str, cpus: Any, line: str = SHORT, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": IMAGE, "initrd": [INITRD], "cmdline": line,
            "memory": 256 * MIB, "cpus": cpus, **more}


@pytest.mark.parametrize("end, status", [("reboot", 121), ("poweroff", 0)])
def test_the_end_is_the_status_of_hv_run(backend: str, end: str, status: int) -> None:
    words = [ROOT / "tools" / "hv", "run", IMAGE, "--initrd", INITRD, "--cpus", "2",
             "--cmdline", f"{SHORT} run={end}+-f", "--backend", backend, "--timeout", "1500"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=1600, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert "vipervisor: linux ready" in done.stdout


def test_a_reboot_resets_that_guest_only(boot: Boot, backend: str) -> None:
    limit = 4 * LINUX_LIMIT[backend]
    machine = boot([
        linux("one", 2, on_reboot={"do": "restart"}),
        {"name": "beat", "image": "beat", "cmdline": "every=1000", "memory": 16 * MIB},
    ])
    console, beat = machine.console("one", limit), machine.console("beat", limit)
    shell = Shell(console, limit)
    shell.ready()
    assert shell.run("cat /sys/devices/system/cpu/online") == "0-1"
    shell.type("reboot")
    assert machine.wait_end("one", limit).reason == "reset"
    console.expect("vipervisor: linux ready", timeout=limit)
    shell.ready()
    assert shell.run("cat /sys/devices/system/cpu/online") == "0-1"
    goes_on(beat, limit, 2)  # never started anew
    shell.type("poweroff")
    assert machine.wait_end("one", limit).reason == "poweroff"
    states = machine.exec("print([g.state for g in hv.guests()])")
    assert states.strip() == "['off', 'running']"


def readings(shell: Shell) -> tuple[tuple[float, float], dict[str, float]]:
    """The guest's clocks, and the host's just before and after: the closest of some tries, for
    a busy host holds one up now and then."""
    best: tuple[tuple[float, float], dict[str, float]] | None = None
    for _ in range(TRIES):
        before = time.monotonic()
        words = shell.run("echo | ts %.s; cat /proc/uptime").split()
        after = time.monotonic()
        if best is None or after - before < best[0][1] - best[0][0]:
            clocks = {"CLOCK_REALTIME": float(words[0]), "CLOCK_BOOTTIME": float(words[1])}
            best = (before, after), clocks
        if best[0][1] - best[0][0] < CLOSE:
            break
    assert best is not None
    return best


@pytest.mark.parametrize("backend", ["svm"], indirect=True)
@pytest.mark.parametrize("cpus", [1, 2])
def test_clocks_keep_to_the_host_s(boot: Boot, backend: str, cpus: int) -> None:
    """QEMU's time is the host's; Bochs counts instructions."""
    limit = LINUX_LIMIT[backend]
    machine = boot([linux("one", cpus)])
    shell = Shell(machine.console("one", limit), limit)
    shell.ready()
    (first, last), start = readings(shell)
    assert abs(start["CLOCK_REALTIME"] - time.time()) < RTC_SECOND + (time.monotonic() - first)
    time.sleep(SPAN)  # what is measured
    (again, end), stop = readings(shell)
    least, most = again - last, end - first
    for name in start:
        passed = stop[name] - start[name]
        assert (1 - DRIFT) * least <= passed <= (1 + DRIFT) * most, (name, passed, least, most)


@pytest.mark.parametrize("backend", ["svm"], indirect=True)
def test_two_guests_under_load_lose_nothing(boot: Boot, backend: str) -> None:
    """CPUs, memory and consoles at work for two minutes, and the prompt answers."""
    limit = 4 * LINUX_LIMIT[backend]
    machine = boot([linux("one", 2), linux("two", 2)])
    assert machine.cpus == 5
    shells = [Shell(machine.console(name, limit), limit) for name in ("one", "two")]
    for shell in shells:
        shell.ready()
        for work in LOAD:
            shell.run(f"( while :; do {work}; done ) >/dev/null 2>&1 & :")
    starts = [len(shell.console.text) for shell in shells]
    for shell in shells:
        shell.type(FLOOD)
    answers = 0
    over = time.monotonic() + LOAD_SECONDS
    while time.monotonic() < over:
        answers += 1
        assert machine.exec(f"print({answers} * 7)").strip() == str(answers * 7)
        machine.prompt.write(f"print({answers} * 11)\r")
        machine.prompt.expect(rf"^{answers * 11}\n", timeout=60)
        time.sleep(1)  # the guests are to be loaded, not the prompt
    for shell, start in zip(shells, starts, strict=True):
        shell.console.expect(r"\nflood over (\d+)\n", timeout=limit)
        said = shell.console.text[start:]
        count = int(re.findall(r"\nflood over (\d+)\n", said)[-1])
        lines = said[said.index("\nline 1 ") + 1 : said.rindex("\nflood over")].split("\n")
        assert lines == [f"line {n} {PADDING}" for n in range(1, count + 1)]
        assert count > 100, "it hardly ran"
        assert shell.clocksource() == "tsc"
        said = shell.run("cat /proc/loadavg; free")
        assert float(said.split()[0]) > 2, said  # it was loaded indeed
    assert answers > 10
