"""Programs for PCs that know nothing of Vipervisor, as a distribution ships them, seen on
their text screens."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vipervisor import Machine

from .conftest import MIB, ROOT

Boot = Callable[..., Machine]
Stock = Callable[[str, str], Path]
CACHE = ROOT / ".cache" / "stock"
FETCH_LIMIT = 120
# Seconds of this machine, and of the booted one: with few instructions a second its
# clock, which g.screen.expect goes by, is fast.
LIMIT = {"svm": 60, "vmx": 240}
MACHINE_LIMIT = {"svm": 60, "vmx": 3000}

pytestmark = pytest.mark.full


@pytest.fixture
def stock() -> Stock:
    """stock(package, file in it) -> its path, downloaded when it is not there."""

    def fetch(package: str, member: str) -> Path:
        folder = CACHE / package
        if not (folder / member).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            done = subprocess.run(["apt-get", "download", package], cwd=folder, timeout=FETCH_LIMIT,
                                  capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"apt-get download {package}: {done.stderr.strip()[-200:]}")
            deb = next(folder.glob("*.deb"))
            subprocess.run(["dpkg-deb", "--extract", str(deb), str(folder)], check=True)
            deb.unlink()
        return folder / member

    return fetch


def start(boot: Boot, backend: str, image: Path, **guest: Any) -> Machine:
    cpus: Any = [0] if backend == "vmx" else 1
    row = {"name": "g", "image": image, "memory": 64 * MIB, "cpus": cpus, **guest}
    return boot([row])


def expect(machine: Machine, backend: str, text: str) -> str:
    """The whole screen, once the text is on it."""
    code = f"hv.guest('g').screen.expect({text!r}, {MACHINE_LIMIT[backend]})"
    machine.exec(code, LIMIT[backend])
    return machine.exec("print(hv.guest('g').screen.text)")


def test_grub_invaders(boot: Boot, backend: str, stock: Stock) -> None:
    """Multiboot 1, draws by itself, times by the PIT, polls the keyboard."""
    image = stock("grub-invaders", "boot/invaders.exec")
    machine = start(boot, backend, image)
    screen = expect(machine, backend, "-*-")
    assert screen.count("-*-") >= 8
    state = machine.exec("g = hv.guest('g'); print(g.state, g.kind)")
    assert state.split() == ["running", "multiboot1"]


def test_memtest(boot: Boot, backend: str, stock: Stock) -> None:
    """The Linux boot protocol with a 32-bit entry; finds its memory, SMBIOS and the clock."""
    image = stock("memtest86+", "boot/memtest86+ia32.bin")
    machine = start(boot, backend, image, memory=16 * MIB)
    screen = expect(machine, backend, "Status: Testing")
    assert "Memtest86+" in screen and "Vipervisor PC" in screen and "Errors: 0" in screen


def test_gnumach(boot: Boot, backend: str, stock: Stock) -> None:
    """A multiboot kernel packed by gzip, up to where it looks for its first program."""
    image = stock("gnumach-image-1.8-486", "boot/gnumach-1.8-486.gz")
    machine = start(boot, backend, image, cmdline="console=com0")
    console = machine.console("g", LIMIT[backend])
    console.expect("No bootstrap code loaded", timeout=LIMIT[backend])
    assert "GNU Mach" in console.text and "available" in console.text
