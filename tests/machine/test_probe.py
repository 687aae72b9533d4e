"""hv.probe(), hv probe and hv build --probe: a machine tells what it has, with and without
virtualisation, and a partition is checked against that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from machine.command import Hv, environment
from vipervisor import Machine, board, build, iso, partition

pytestmark = pytest.mark.machine
ROOT = Path(__file__).resolve().parents[2]
Boot = Callable[..., Machine]
WITHOUT = {"svm": "qemu64,-svm", "vmx": "core2_penryn_t9600"}
PARTITION = 'version = 1\n[[guest]]\nname = "a"\nmemory = "{}"\nimage = "{}"\n'


def described(machine: Machine) -> tuple[str, dict[str, Any]]:
    table, text = board.cut(machine.exec(board.CODE))
    return table, board.parse(text, "the machine").value


def test_a_machine_describes_itself(boot: Boot, backend: str, tmp_path: Path) -> None:
    machine = boot(board.DESCRIPTION)
    table, value = described(machine)
    assert value["backend"] == backend and value["missing"] == []
    assert value["cpus"] == machine.cpus
    assert 200 << 20 < value["memory"] <= 256 << 20
    ram = sum(r["size"] for r in value["range"] if r["type"] == "ram")
    assert 0 <= ram - value["memory"] < 1 << 20  # pages that a range does not fill
    assert {"APIC", "FACP"} <= set(value["acpi"])
    assert value["serial"][:2] == [0x3F8, 0x2F8]
    assert value["pci"][0]["class"] == "0600"  # the host bridge
    assert value["features"]["AMD-V" if backend == "svm" else "VT-x"] is True
    assert value["features"]["nested paging" if backend == "svm" else "EPT"] is True
    assert "guests can run here" in table
    # What the screen and COM1 have had: the same, to be cut out of a log.
    machine.prompt.expect(board.END, 60)
    assert board.parse(machine.prompt.text, "COM1").value["cpus"] == machine.cpus
    # A partition that fits this machine, and one that does not.
    image = ROOT / "build" / "guests" / "hello.elf"
    file = tmp_path / "p.toml"
    file.write_text(PARTITION.format("64M", image))
    found = board.Board(value)
    assert partition.load(file, found.for_rules).ok
    file.write_text(PARTITION.format("512M", image))
    assert [f.rule for f in partition.load(file, found.for_rules).findings] == ["memory-sum"]


def test_a_machine_without_virtualisation_says_so(boot: Boot, backend: str) -> None:
    table, value = described(boot(board.DESCRIPTION, model=WITHOUT[backend]))
    assert value["backend"] == "none" and value["missing"]
    assert "no guest can run here; missing: " in table
    machine = board.Board(value).for_rules(0)
    assert machine["missing"] == value["missing"]


def test_probe_writes_a_board_that_check_reads(backend: str, tmp_path: Path) -> None:
    hv = Hv(environment(tmp_path))
    file = tmp_path / "board.toml"
    done = hv("probe", "--backend", backend, "--cpus", "1", "-o", str(file))
    assert done.returncode == 0, done.stderr
    assert "64-bit mode" in done.stdout and "describes it" in done.stderr
    part = tmp_path / "p.toml"
    part.write_text(PARTITION.format("16M", ROOT / "build" / "guests" / "hello.elf"))
    done = hv("check", str(part), "--board", str(file))
    assert done.returncode == 1
    assert "cpu-sum: the guests and Python need 2 CPUs and the machine has 1" in done.stdout


@pytest.mark.parametrize("kind", ["iso", "img"])
def test_an_image_that_probes_boots(kind: str, backend: str, tmp_path: Path) -> None:
    if kind == "iso" and iso.missing_packages():
        pytest.skip(f"not installed: {' '.join(iso.missing_packages())}")
    image = tmp_path / f"probe.{kind}"
    build.build(image, board.DESCRIPTION, {})
    with Machine.load(image, backend=backend) as machine:
        machine.prompt.expect(board.END, 60)
        assert board.parse(machine.prompt.text, "COM1").value["backend"] == backend
