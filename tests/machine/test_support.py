"""A whole PC for unmodified programs: every row of tests/support.toml, as `hv run` starts it.
How each ended is kept in build/support/, for the table in docs/support.md."""

from __future__ import annotations

import binascii
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from check.support_rows import Row, read
from elftools.elf.elffile import ELFFile
from vipervisor import Machine, paths

from .beats import goes_on
from .conftest import LINUX_LIMIT, MIB, ROOT
from .linux_shell import Shell, complaints

Boot = Callable[..., Machine]
RESULTS = ROOT / "build" / "support"
FETCH_LIMIT = 600
# Seconds of this machine, and of the booted one: with few instructions a second its
# clock, which g.screen.expect goes by, is fast.
SCREEN_LIMIT = {"svm": 60, "vmx": 240}
MACHINE_LIMIT = {"svm": 60, "vmx": 3000}
PASS_LIMIT = 900  # memtest86+ waits for 160 s of its pass
WATCH = 30  # seconds of the guest's time in which its clock must stay what it is
STEP = 10

ROWS = read()


def parameter(row: Row) -> Any:
    marks = [pytest.mark.timeout(1800), *([pytest.mark.full] if row.full else [])]
    return pytest.param(row.backend, row, id=row.id, marks=marks)


@pytest.mark.parametrize("backend, row", [*map(parameter, ROWS)], indirect=["backend"])
def test_program(boot: Boot, row: Row) -> None:
    """What the row's program shows is what tests/support.toml says of it."""
    record = RESULTS / f"{row.id}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    started = time.monotonic()
    outcome = "fails"
    try:
        fetched(row.program.image)
        CHECKS[row.program.check](boot, row)
        outcome = "passes"
    finally:
        seconds = round(time.monotonic() - started)
        record.write_text(json.dumps({"outcome": outcome, "seconds": seconds}) + "\n")


def fetched(image: str) -> None:
    """A program that the distribution ships is fetched when it is not there."""
    folder, _, name = image.rpartition("/")
    if folder == ".cache/stock" and not (ROOT / image).is_file():
        done = subprocess.run([sys.executable, "-m", "prepare.stock", name], cwd=ROOT / "tools",
                              capture_output=True, text=True, timeout=FETCH_LIMIT, check=False)
        assert done.returncode == 0, done.stderr


def guest(row: Row, **more: Any) -> dict[str, Any]:
    """The guest of the row's command."""
    program = row.program
    return {
        "name": "g",
        "image": ROOT / program.image,
        "initrd": [ROOT / program.initrd] if program.initrd else [],
        "cmdline": program.cmdline,
        "memory": int(program.memory.removesuffix("M")) * MIB,
        # As `hv run` has it: in Bochs a single vCPU runs in slices on the only CPU.
        "cpus": [0] if row.backend == "vmx" and row.cpus == 1 else row.cpus,
        **more,
    }


def check_linux(boot: Boot, row: Row) -> None:
    limit = LINUX_LIMIT[row.backend] * (4 if row.full else 2)
    machine = boot([guest(row)])
    shell = Shell(machine.console("g", limit), limit)
    shell.ready()
    said = shell.console.text  # all of it comes there
    assert "Hypervisor detected: KVM" in said and "ACPI: Interpreter enabled" in said
    assert "DMI: Vipervisor PC" in said and "[8086:1237]" in said
    assert "TSC deadline timer available" in said
    assert "Using ACPI (MADT) for SMP configuration" in said
    online = "0" if row.cpus == 1 else f"0-{row.cpus - 1}"
    assert shell.run("cat /sys/devices/system/cpu/online") == online
    for number in range(row.cpus):
        before = shell.timer_interrupts()
        shell.busy(number, seconds=1)
        gained = [a - b for a, b in zip(shell.timer_interrupts(), before, strict=True)]
        # The kernel ticks 250 times a second, and a busy host loses some of them.
        assert len(gained) == row.cpus and gained[number] >= 5, (number, gained)
    if row.cpus > 1:
        for _ in range(0, WATCH, STEP):
            shell.run(f"sleep {STEP}")
            assert shell.clocksource() == "tsc"
    assert shell.clocksource() == "tsc"
    assert complaints(shell.run("dmesg")) == []
    shell.type("poweroff -f")  # by S5
    assert machine.wait_end("g", limit).reason == "poweroff"


def expect(machine: Machine, row: Row, text: str) -> str:
    """The whole screen, once the text is on it."""
    code = f"hv.guest('g').screen.expect({text!r}, {MACHINE_LIMIT[row.backend]})"
    machine.exec(code, SCREEN_LIMIT[row.backend])
    return machine.exec("print(hv.guest('g').screen.text)")


def check_invaders(boot: Boot, row: Row) -> None:
    """Multiboot 1, draws by itself, times by the PIT, polls the keyboard."""
    machine = boot([guest(row)])
    assert expect(machine, row, "-*-").count("-*-") >= 8
    state = machine.exec("g = hv.guest('g'); print(g.state, g.kind)")
    assert state.split() == ["running", "multiboot1"]


def check_gnumach(boot: Boot, row: Row) -> None:
    """A multiboot kernel packed by gzip."""
    machine = boot([guest(row)])
    screen = expect(machine, row, "No bootstrap code loaded")
    assert "GNU Mach 1.8" in screen and "DMA32: pages:" in screen


def check_memtest(boot: Boot, row: Row) -> None:
    """The Linux boot protocol with a 64-bit entry; finds its memory, its CPUs, SMBIOS and the
    clock, and writes to every byte it has."""
    machine = boot([
        guest(row),
        {"name": "quiet", "image": "spin", "memory": 16 * MIB},
        {"name": "beat", "image": "beat", "memory": 16 * MIB},
    ], cpus=row.cpus + 3)
    machine.exec("q = hv.guest('quiet'); q.pause()\n"
                 "for at in range(8 << 20, 16 << 20, 4096): q.memory[at:at + 8] = b'mine' * 2")
    beat = machine.console("beat", SCREEN_LIMIT[row.backend])
    beat.expect(r"beat \d+", timeout=SCREEN_LIMIT[row.backend])
    before = (monitor_sum(machine), memory_sum(machine))
    assert before[0] == built_sum()
    screen = expect(machine, row, "Status: Testing")
    assert "Memtest86+" in screen and "Vipervisor PC" in screen and "Errors: 0" in screen
    assert f"SMP: {row.cpus}T" in screen
    end = time.monotonic() + PASS_LIMIT
    while not re.search(r"Pass:\s+[1-9]", screen):
        assert re.search(r"Errors: 0\b", screen), screen
        assert time.monotonic() < end, f"no pass in {PASS_LIMIT} s:\n{screen}"
        goes_on(beat, SCREEN_LIMIT[row.backend], 10)
        screen = machine.exec("print(hv.guest('g').screen.text)")
    assert re.search(r"Errors: 0\b", screen), screen
    assert (monitor_sum(machine), memory_sum(machine)) == before
    info = machine.exec("import _hv; i = _hv.guest_info(0); print(i['unclaimed_memory'])")
    assert int(info) == 0


def memory_sum(machine: Machine) -> str:
    """A checksum of the paused neighbour's memory."""
    return machine.exec(
        "import binascii; s = 0\n"
        "for at in range(0, 16 << 20, 65536): s = binascii.crc32(q.memory[at:at + 65536], s)\n"
        "print(s)"
    )


def constant_sections() -> list[tuple[int, bytes]]:
    """The monitor's code, as it was built."""
    with Path(paths.built("vipervisor.elf64")).open("rb") as file:
        elf = ELFFile(file)
        return [(s["sh_addr"], s.data()) for s in elf.iter_sections()
                if s.name.startswith((".text", ".rodata"))]


def built_sum() -> str:
    total = 0
    for _, data in constant_sections():
        total = binascii.crc32(data, total)
    return f"{total}"


def monitor_sum(machine: Machine) -> str:
    """The same sum over the memory of the monitor that runs."""
    places = [(at, len(data)) for at, data in constant_sections()]
    assert sum(size for _, size in places) > 100_000
    return machine.exec(
        "import _hv, binascii; s = 0\n"
        f"for at, size in {places}:\n"
        "    for i in range(at, at + size, 65536):\n"
        "        s = binascii.crc32(_hv.peek(i, min(65536, at + size - i)), s)\n"
        "print(s)"
    ).strip()


CHECKS = {
    "linux": check_linux,
    "invaders": check_invaders,
    "gnumach": check_gnumach,
    "memtest": check_memtest,
}
