"""Images boot: by BIOS and UEFI, from a CD, a USB stick and a disk, on both back ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine.conftest import ROOT, describe
from vipervisor import HostError, Machine, build, iso, paths
from vipervisor.qemu import find_uefi

UUID = uuid.UUID("5f0e9c2a-1d34-4b6e-8a77-0123456789ab")
WAYS = [
    ("svm", "cd", "bios"),
    ("svm", "usb", "bios"),
    ("svm", "cd", "uefi"),
    ("svm", "usb", "uefi"),
    ("svm", "disk", "bios"),
    ("vmx", "cd", "bios"),
    ("vmx", "disk", "bios"),
]


def possible(medium: str, firmware: str) -> None:
    if medium != "disk" and iso.missing_packages():
        pytest.skip(f"not installed: {' '.join(iso.missing_packages())}")
    if firmware == "uefi":
        try:
            find_uefi()
        except HostError as error:
            pytest.skip(str(error))


@pytest.fixture(params=WAYS, ids="-".join)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """A machine booted from an image with two guests."""
    kind, medium, firmware = request.param
    possible(medium, firmware)
    description, files = describe(["hello", {"image": "beat", "cmdline": "every=10"}], kind)
    image = tmp_path / ("x.img" if medium == "disk" else "x.iso")
    build.build(image, description, files)
    partition = build.open_image(image).description
    more = ("-uuid", str(UUID)) if kind == "svm" else ()
    with Machine(partition, backend=kind, image=image, medium=medium, firmware=firmware,
                 qemu_args=more) as booted:
        yield booted


def test_guests_and_prompt_run(machine: Machine) -> None:
    machine.console("hello").expect("hello", 60)
    machine.console("beat").expect("beat 3", 60)
    assert machine.exec("import hv; print(hv.guest('beat').state)").strip() == "running"
    count = machine.exec("import _hv; print(len([c for c in _hv.cpus() if c[2] != 'failed']))")
    assert int(count) == machine.cpus  # the other CPUs started, under UEFI too
    # The firmware's own name for the machine, below 1 MiB or where UEFI says.
    found = machine.exec("import machine; print(list(machine.unique_id()))").strip()
    assert found == str(list(UUID.bytes_le) if machine.backend == "svm" else [])
    machine.prompt.write("\r6 * 7\r")
    machine.prompt.expect("^42$", 60)
    assert "powered" in machine.quit()


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_monitor_has_the_same_bytes_from_another_folder(tmp_path: Path) -> None:
    """Built again from copies of all sources, MicroPython's included, under other names."""
    for name in ("Makefile", "hypervisor", "firmware", "guests", "tools"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    config = (ROOT / ".cache" / "config.mk").read_text().replace("$(CURDIR)", str(ROOT))
    source = next(line.split()[-1] for line in config.splitlines() if "MICROPY_DIR" in line)
    shutil.copytree(source, tmp_path / "mp")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "config.mk").write_text(config)
    done = subprocess.run(
        ["make", "-j2", "monitor", f"MICROPY_DIR={tmp_path / 'mp'}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=800, check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("vipervisor.bin", "bootsector.bin"):
        assert (tmp_path / "build" / name).read_bytes() == paths.built(name).read_bytes(), name
