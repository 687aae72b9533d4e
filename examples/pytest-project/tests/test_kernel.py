"""What a kernel's own tests look like."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from vipervisor import Guest, Machine

BootGuest = Callable[..., Guest]
SOURCE = Path(__file__).resolve().parents[1] / "kernel.S"
LINK = ["-m32", "-nostdlib", "-static", "-Wl,-n,-Ttext=0x100000,--build-id=none"]


@pytest.fixture(scope="session")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image under test: KERNEL, or what kernel.S becomes."""
    path = os.environ.get("KERNEL")
    if path:
        return Path(path).absolute()
    built = tmp_path_factory.mktemp("kernel") / "kernel.elf"
    subprocess.run(["gcc", *LINK, "-o", built, SOURCE], check=True)
    return built


def test_boot(guest: BootGuest, kernel: Path) -> None:
    guest(kernel).expect("hello", timeout=30)


def test_status(guest: BootGuest, kernel: Path) -> None:
    end = guest(kernel, cmdline="status=3").wait_end(timeout=30)
    assert (end.reason, end.status) == ("exit", 3)


def test_it_makes_few_exits(guest: BootGuest, kernel: Path) -> None:
    end = guest(kernel, memory="16M").wait_end(timeout=30)
    assert sum(end.exits.values()) < 10_000


def test_two_guests_do_not_mind_each_other(
    machine: Callable[..., Machine], kernel: Path, tmp_path: Path
) -> None:
    text = "version = 1\n"
    for name in ("left", "right"):
        text += f'[[guest]]\nname = "{name}"\nmemory = "16M"\nimage = "{kernel}"\n'
    file = tmp_path / "two.toml"
    file.write_text(text)
    booted = machine(file)
    for name in ("left", "right"):
        Guest(booted, name).expect("hello", timeout=30)
