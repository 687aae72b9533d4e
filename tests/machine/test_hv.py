"""`hv` and `Machine` on the real monitor: statuses, consoles, code, the prompt, ends."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from machine.command import Hv, environment
from vipervisor import EmulatorError, Machine, MonitorError, WaitTimeout

from .conftest import LINUX_LIMIT
from .linux_shell import Shell
from .test_live import shared

ROOT = Path(__file__).resolve().parents[2]
GUESTS = ROOT / "build" / "guests"
pytestmark = pytest.mark.machine


@pytest.fixture
def hv(backend: str, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """hv(command, ...) as a process, on this back end."""
    run = Hv(environment(tmp_path))
    return lambda *words: run(*words, "--backend", backend)


SMALL = ("--memory", "16M", "--timeout", "120")


def test_run_hello(hv: Any, backend: str) -> None:
    result = hv("run", str(GUESTS / "hello.elf"), *SMALL, "--cmdline", "a=1 b", "--stats")
    assert result.returncode == 0, result.stderr
    assert "hello from a 64-bit guest" in result.stdout
    assert "cmdline: hello.elf a=1 b" in result.stdout
    assert re.search(r"^  cpuid +\d+$", result.stderr, re.MULTILINE)
    assert "exits" not in result.stdout  # the guest has stdout alone


def test_run_triple_fault(hv: Any) -> None:
    result = hv("run", str(GUESTS / "triple.elf"), *SMALL)
    assert result.returncode == 126
    assert "crash: triple fault" in result.stderr and "rip" in result.stderr


def test_run_timeout(hv: Any) -> None:
    result = hv("run", str(GUESTS / "spin.elf"), "--memory", "16M", "--timeout", "8")
    assert result.returncode == 124, result.stderr


def test_run_until(hv: Any) -> None:
    result = hv("run", str(GUESTS / "beat.elf"), *SMALL, "--until", r"^beat 2$")
    assert result.returncode == 0, result.stderr
    assert "beat 2" in result.stdout


def test_run_until_missed(hv: Any) -> None:
    result = hv("run", str(GUESTS / "hello.elf"), *SMALL, "--until", "never said")
    assert result.returncode == 123
    assert "before /never said/ was seen" in result.stderr


def test_run_script(hv: Any, tmp_path: Path) -> None:
    script = tmp_path / "first.py"
    script.write_text("assert guest.state == 'new'\nprint('script ran', guest.name)\n1 / 0\n")
    result = hv("run", str(GUESTS / "hello.elf"), *SMALL, "--script", str(script))
    assert (result.returncode, result.stdout) == (125, "")
    assert "the script failed" in result.stderr and "ZeroDivisionError" in result.stderr
    script.write_text("assert guest.state == 'new'\n")
    assert hv("run", str(GUESTS / "hello.elf"), *SMALL, "--script", str(script)).returncode == 0


def test_the_example_script(boot: Callable[..., Machine], backend: str, tmp_path: Path) -> None:
    """Eight lines, with the command that it names; Linux has one boot, which it sees whole."""
    text = (ROOT / "examples" / "first.py").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(lines) == 8
    machine = Machine.load(ROOT / "examples" / "first.toml", backend=backend)
    linux = machine.partition["guests"][0]
    if backend == "vmx":  # faster in slices of Bochs' only CPU
        linux["cpus"] = [0]
    machine.partition.update(machine={"cpus": 1 if backend == "vmx" else 2}, guests=[linux])
    booted = boot(machine.partition, machine.files, memory=512 << 20)
    limit = LINUX_LIMIT[backend]
    booted.prompt.expect(">>> ", limit)
    booted.exec("linux.stop()", limit)  # whether it has come far or not
    # It has AES unless it is hidden: mov $1,%eax; cpuid; hlt
    booted.exec("g = hv.guest_from(bytes.fromhex('b8010000000fa2f4'), cpus=[0]).start()", limit)
    booted.exec("g.wait('off', timeout=60); aes = g.vcpus[0].rcx >> 25 & 1; g.destroy()", limit)
    assert booted.exec("print(aes)") == "1\n"
    shell = Shell(booted.console("linux", limit), limit)
    with shared(booted, tmp_path) as environ:
        said = Hv(environ)("exec", "-", "--timeout", "120", stdin=text)
    assert said.returncode == 0, said.stderr
    found = re.fullmatch(r"asked for: (\{.*\}) hidden: (\{.*\})\n", said.stdout)
    assert found is not None, said.stdout
    leaves = ast.literal_eval(found[1])
    assert {0, 1, 7, 0x80000000, 0x80000008} <= set(leaves) and min(leaves.values()) > 0
    assert ast.literal_eval(found[2]) == {1: 1 << 25}
    shell.ready()
    assert shell.run("grep -cw sse2 /proc/cpuinfo; grep -cw aes /proc/cpuinfo") == "1\n0"
    assert booted.exec("print(see.hits == sum(leaves.values()))") == "True\n"


def test_a_script_with_exits_and_a_device(hv: Any) -> None:
    script = str(ROOT / "examples" / "script.py")
    result = hv("run", str(GUESTS / "hello.elf"), *SMALL, "--script", script)
    assert result.returncode == 0, result.stderr
    assert "hypervisor: Hello There, leaves to 40000001" in result.stdout


def test_boot_without_a_terminal(hv: Any, tmp_path: Path) -> None:
    part = tmp_path / "two.toml"
    guest = '[[guest]]\nname = "{0}"\nimage = "' + str(GUESTS) + '/{1}.elf"\nmemory = "16M"\n'
    part.write_text("version = 1\n" + guest.format("a", "beat") + guest.format("b", "spin"))
    result = hv("boot", str(part))
    assert result.returncode == 0, result.stderr
    assert re.search(r"^a: beat \d+$", result.stdout, re.MULTILINE)
    assert "b: spinning" in result.stdout and "the prompt answers" in result.stdout
    assert "the monitor powered the machine off" in result.stderr


def test_exec_and_prompt(boot: Callable[..., Machine]) -> None:
    machine = boot(["beat"])
    machine.console("beat").expect(r"beat 1\n", 60)
    assert machine.exec("print(hv.guest('beat').state)") == "running\n"
    with pytest.raises(MonitorError, match="ZeroDivisionError"):
        machine.exec("1 / 0")
    machine.prompt.expect(">>> ", 60)
    machine.prompt.write("6 * 7\r")
    machine.prompt.expect(r"^42\n>>> ", 60)
    assert machine.exec("print('y' * 5000)") == "y" * 5000 + "\n"
    # What is not waited for any more does not go on.
    for endless in ("while True: pass", "import time; time.sleep(1000)"):
        with pytest.raises(WaitTimeout, match="the monitor to finish"):
            machine.exec(endless, timeout=1)
        assert machine.exec("print('alive')", timeout=60) == "alive\n"
    with pytest.raises(MonitorError, match="MemoryError"):
        machine.exec("hog = []\nwhile True: hog.append(bytes(1000))")
    assert machine.exec("del hog; print('alive')", timeout=60) == "alive\n"
    guest = machine.guests()["beat"]
    assert (guest.state, guest.memory, len(guest.cpus)) == ("running", 16 << 20, 1)


def test_pause_and_resume_are_told(boot: Callable[..., Machine]) -> None:
    machine = boot(["beat"])
    machine.wait_state("beat", "running")
    machine.exec("hv.guest('beat').pause()")
    machine.wait_state("beat", "paused", timeout=30)
    machine.exec("hv.guest('beat').resume()")
    machine.wait_state("beat", "running", timeout=30)
    machine.exec("hv.guest('beat').stop()")
    end = machine.wait_end("beat", 30)
    assert end.reason == "stopped" and end.exits


def test_power_off_from_the_prompt(boot: Callable[..., Machine]) -> None:
    machine = boot(["beat"])
    machine.prompt.expect(">>> ", 60)
    machine.prompt.write("exit()\r")
    assert machine.wait_off(60) == "the monitor powered the machine off"
    with pytest.raises(EmulatorError, match="the machine has ended"):
        machine.exec("print(1)")


def test_guest_status(run_guest: Callable[..., Any]) -> None:
    run = run_guest("hello")
    assert run.status == 0 and "hello" in run.output
    assert run.end.exits["cpuid"] > 0 and run.end.exits["io"] > 0


def test_image_that_does_not_fit(run_guest: Callable[..., Any], tmp_path: Path) -> None:
    broken = tmp_path / "broken.elf"
    broken.write_bytes((GUESTS / "hello.elf").read_bytes()[:200])
    run = run_guest(broken)
    assert run.status == 125
    assert "broken was not started" in run.machine.link.error
