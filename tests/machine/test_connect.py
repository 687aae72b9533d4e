"""[[connect]]: guests of a partition with doorbells and memory in common from the start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from vipervisor import Machine, partition

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.machine

GUEST = '[[guest]]\nname = "{0}"\nmemory = "16M"\nimage = "{1}/build/guests/beat.elf"\n'
CONNECT = """
[[connect]]
guests = ["one", "two"]
memory = 0xa00000
size = "64K"
at = 0xd0000000

[[connect]]
guests = ["three", "one"]
ports = 0x588
irq = 11
"""
LOOK = """
one, two, three = [hv.guest(n) for n in ("one", "two", "three")]
print(sorted(one.devices), sorted(two.devices), sorted(three.devices))
print(one.devices["doorbell"].line, three.devices["doorbell"].line)
two.devices["doorbell"].write(0, 4, 1)
two.devices["doorbell"].write(0, 4, 1)
print(one.devices["doorbell"].read(4, 4), one.devices["doorbell"].read(4, 4))
"""
SHARED = """
one.memory[0xa00010:0xa00016] = b"shared"
print(two.memory[0xd0000010:0xd0000016])
"""
FOUND = "['doorbell', 'doorbell_three'] ['doorbell'] ['doorbell', 'watchdog']\n10 11\n2 0\n"


# Four CPUs in turn make Bochs slow.
@pytest.mark.parametrize("backend", ["svm", pytest.param("vmx", marks=pytest.mark.full)])
def test_connected_guests(
    boot: Callable[..., Machine], backend: str, tmp_path: Path
) -> None:
    file = tmp_path / "p.toml"
    guests = "".join(GUEST.format(name, ROOT) for name in ("one", "two", "three"))
    file.write_text("version = 1\n" + guests + 'devices = ["watchdog"]\n' + CONNECT)
    loaded = partition.load(file)
    assert loaded.description is not None, loaded.findings
    machine = boot(loaded.description, loaded.files)
    machine.wait_state("three", "running")
    assert machine.exec(LOOK).replace("\r", "") == FOUND
    assert machine.exec(SHARED).strip() == "b'shared'"
    # Python starts again: the memory is still shared, the doorbells are there anew.
    machine.prompt.expect(">>> ", 60)
    machine.prompt.write("\x04")
    machine.prompt.expect(r"^MPY: soft reboot\n(.*\n)*>>> ", 60)
    assert machine.exec(LOOK).replace("\r", "") == FOUND
    assert machine.exec(SHARED).strip() == "b'shared'"
