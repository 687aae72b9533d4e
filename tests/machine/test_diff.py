"""`hv diff`: one guest on both back ends."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from machine.command import Hv, environment
from vipervisor import assemble

pytestmark = pytest.mark.machine

ROOT = Path(__file__).resolve().parents[2]
GUESTS = ROOT / "build" / "guests"


def diff(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return Hv(environment(folder))("diff", *words)


def test_a_guest_that_is_the_same_on_both(tmp_path: Path) -> None:
    code = "mov $3,%ecx; 1: push %rcx; cpuid; pop %rcx; mov %cl,%al; out %al,$0xe9; loop 1b; hlt"
    image, kind = assemble.assemble(code, 64, tmp_path)
    done = diff(tmp_path, str(image), "--kind", kind, "--memory", "2M", "--trace")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "console: the same, 1 lines\n" in done.stdout
    assert "exits, one by one: the same, 7\n" in done.stdout
    for kind, count in (("cpuid", 3), ("io", 3), ("hlt", 1)):
        assert re.search(rf"^  {kind} +{count} +{count}$", done.stdout, re.MULTILINE)


def test_a_guest_that_is_not(tmp_path: Path) -> None:
    """The vendor is another, so are the line that says it and the exits to print it."""
    done = diff(tmp_path, str(GUESTS / "hello.elf"), "--memory", "16M")
    assert done.returncode == 1, done.stderr
    assert re.search(r"^> +3  cpu: AuthenticAMD .*  cpu: GenuineIntel", done.stdout, re.MULTILINE)
    assert re.search(r"^> io +\d+ +\d+$", done.stdout, re.MULTILINE)
    done = diff(tmp_path, str(GUESTS / "hello.elf"), "--memory", "16M", "--console", "--until",
                "cmdline: ")  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "console: the same, 2 lines\n")


def test_trouble_is_2(tmp_path: Path) -> None:
    done = diff(tmp_path, "/no/such/image")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot read the file /no/such/image" in done.stderr
