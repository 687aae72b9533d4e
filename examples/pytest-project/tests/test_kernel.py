"""What a kernel's own tests look like."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from vipervisor import Guest

BootGuest = Callable[..., Guest]


@pytest.fixture
def kernel() -> Path:
    path = os.environ.get("KERNEL")
    if not path:
        pytest.fail("set KERNEL to the image under test", pytrace=False)
    return Path(path).absolute()


def test_boot(guest: BootGuest, kernel: Path) -> None:
    guest(kernel).expect("hello", timeout=30)


def test_status(guest: BootGuest, kernel: Path) -> None:
    end = guest(kernel, cmdline="status=3").wait_end(timeout=30)
    assert (end.reason, end.status) == ("exit", 3)


def test_it_makes_few_exits(guest: BootGuest, kernel: Path) -> None:
    end = guest(kernel, memory="16M").wait_end(timeout=30)
    assert sum(end.exits.values()) < 10_000


def test_two_guests_do_not_mind_each_other(
    machine: Callable[..., object], kernel: Path, tmp_path: Path
) -> None:
    text = "version = 1\n"
    for name in ("left", "right"):
        text += f'[[guest]]\nname = "{name}"\nmemory = "16M"\nimage = "{kernel}"\n'
    file = tmp_path / "two.toml"
    file.write_text(text)
    booted = machine(file)
    for name in ("left", "right"):
        Guest(booted, name).expect("hello", timeout=30)
