"""Guests of one line: `hv run -e`, and hv.guest_from() at the prompt."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from machine.command import Hv, environment
from vipervisor import Machine

pytestmark = pytest.mark.machine

LIMIT = 90.0


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    hv = Hv(environment(tmp_path))
    return lambda *words: hv("run", *words, "--timeout", "60")


def test_registers_and_exits(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """On both back ends in one go, in long mode; what differs is named."""
    done = run("-e", "mov $0,%eax; cpuid; mov $0x123456789abc,%rsi; hlt", "--regs",
               "--backend", "both")  # fmt: skip
    assert done.returncode == 0, done.stderr
    svm, _, vmx = done.stdout.partition("== vmx\n")
    assert svm.startswith("== svm\nrip 0000000000100012  rflags ")
    for text in (svm, vmx):
        assert "rsi 0000123456789abc" in text and "efer 500" in text
        assert "  cpuid            1\n  hlt              1\n" in text
    assert "rbx 0000000068747541" in svm and "rbx 00000000756e6547" in vmx
    assert vmx.splitlines()[-1] == "== different: rbx rcx rdx"


@pytest.mark.parametrize("mode", ["16", "32"])
def test_modes(
    run: Callable[..., subprocess.CompletedProcess[str]], backend: str, mode: str
) -> None:
    """The guest's status is the command's; real mode is at 7C00."""
    code = "call 1f; 1: pop %cx; mov $0xf4,%dx; mov $0x29,%al; out %al,%dx"
    done = run("-e", code, "--mode", mode, "--regs", "--backend", backend)
    assert done.returncode == 0x29, done.stderr
    address = 0x7C03 if mode == "16" else 5
    assert f"rcx {address:016x}" in done.stdout and "  io " in done.stdout


def test_a_crash_and_an_error(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run("-e", "mov $5,%ebx; ud2", "--regs")
    assert done.returncode == 126 and "triple fault" in done.stderr
    assert "rbx 0000000000000005" in done.stdout
    done = run("-e", "mov $5,%ebx; hllt")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.splitlines() == [
        "hv run: the assembler says: no such instruction: `hllt'",
        "  mov $5,%ebx; hllt",
        "               ^^^^",
    ]


def test_bytes_at_the_prompt(boot: Callable[..., Machine]) -> None:
    machine = boot(["beat"])
    said = machine.exec(
        "for mode in (16, 32, 64):\n"
        "    # add to rbx, cpuid, hlt: the same bytes in every mode\n"
        "    g = hv.guest_from(b'\\x01\\xc3\\x0f\\xa2\\xf4', mode=mode, cpus=[0],\n"
        "                      regs={'rbx': 0, 'rax': 0x40000000, 'rcx': 0}).start()\n"
        "    print(g.name, g.wait(timeout=60), hex(g.vcpus[0].rax), g.exits['cpuid'], g.kind)\n"
        "    g.reset().start()\n"
        "    print(g.wait(timeout=60), hex(g.vcpus[0].rax))\n"
        "    g.destroy()\n",
        LIMIT,
    ).splitlines()
    assert said == [
        line
        for kind in ("flat", "flat32", "flat64")
        for line in (f"code1 off 0x40000001 1 {kind}", "off 0x40000001")
    ]
