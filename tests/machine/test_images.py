"""Images boot: by BIOS and UEFI, from a CD, a USB stick and a disk, on both back ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from machine.conftest import describe
from vipervisor import HostError, Machine, build, iso
from vipervisor.qemu import find_uefi

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
    with Machine(partition, backend=kind, image=image, medium=medium, firmware=firmware) as booted:
        yield booted


def test_guests_and_prompt_run(machine: Machine) -> None:
    machine.console("hello").expect("hello", 60)
    machine.console("beat").expect("beat 3", 60)
    assert machine.exec("import hv; print(hv.guest('beat').state)").strip() == "running"
    count = machine.exec("import _hv; print(len([c for c in _hv.cpus() if c[2] != 'failed']))")
    assert int(count) == machine.cpus  # the other CPUs started, under UEFI too
    machine.prompt.write("\r6 * 7\r")
    machine.prompt.expect("^42$", 60)
    assert "powered" in machine.quit()
