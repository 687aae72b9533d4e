"""The small self-checking guests, each one behaviour, on both back ends."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from conftest import read_limits

SELF_CHECKING = [
    "access",
    "apic",
    "exits-cpuid",
    "exits-cr",
    "exits-dr",
    "exits-exception",
    "exits-hlt",
    "exits-hypercall",
    "exits-io",
    "exits-mmio",
    "exits-msr",
    "exits-xsetbv",
    "fpu",
    "hpet",
    "ioapic",
    "isa",
    "samerip",
    "tasks",
]
CPUID_1_ECX_X2APIC = 21
Run = Callable[..., Any]


def check(run: Any) -> None:
    """Everything the guest checked was right, and nothing was left out but for a fault of the
    emulator that tests/limits.toml names."""
    summary = re.search(r"^(\d+) passed, (\d+) failed, (\d+) skipped", run.output, re.MULTILINE)
    assert summary is not None, run.output
    failures = [line for line in run.output.splitlines() if line.startswith("FAIL")]
    assert (run.status, failures) == (0, [])
    assert int(summary[1]) > 0 and int(summary[2]) == 0
    due = skips_due(run.machine)
    said = [line for line in run.output.splitlines() if line.startswith("SKIP ")]
    assert len(said) == len(due) == int(summary[3])
    assert [name for name in due if not any(s.startswith(f"SKIP {name}: ") for s in said)] == []


def skips_due(machine: Any) -> list[str]:
    """The checks that the machine's guest must skip."""
    image = machine.partition["guests"][0]["image"]
    entries = [entry for entry in read_limits("skip")
               if (f"{entry['guest']}.elf", entry["backend"]) == (image, machine.backend)]
    there: dict[str, bool] = {}
    for probe in {entry["probe"] for entry in entries}:
        there[probe] = machine.exec(f"import _hv; print(bool({probe}))").strip() == "False"
    return [entry["check"] for entry in entries if there[entry["probe"]]]


@pytest.mark.parametrize("guest", SELF_CHECKING)
def test_self_checking_guest_passes(run_guest: Run, guest: str) -> None:
    check(run_guest(guest))


def test_x2apic_is_offered_where_the_cpu_has_none(run_guest: Run, backend: str) -> None:
    """TCG has none on any model."""
    model = {"svm": "max", "vmx": "corei5_arrandale_m520"}[backend]
    run = run_guest("apic", machine={"model": model})
    ecx = run.machine.exec("import _hv; print(_hv.cpuid(1, 0)[2])")
    assert not int(ecx) >> CPUID_1_ECX_X2APIC & 1
    check(run)
    assert "PASS x2APIC" in run.output


def test_what_is_hidden_cannot_be_switched_on(run_guest: Run) -> None:
    hidden = ["fsgsbase", "smap", "smep", "umip"]
    run = run_guest("exits-cr", hide=hidden)
    check(run)
    for bit in ("FSGSBASE", "LA57", "PKE", "SMAP", "SMEP", "UMIP"):
        assert f"PASS CR4.{bit}" in run.output


def test_every_line_of_the_io_apic(run_guest: Run) -> None:
    check(run_guest("ioapic", devices=["testdev"], cmdline="lines"))


def test_instructions_on_device_memory(run_guest: Run) -> None:
    check(run_guest("mmio-forms", devices=["testdev"], timeout=200))


def test_locked_instructions_on_misaligned_device_memory(run_guest: Run) -> None:
    check(run_guest("mmio-forms", devices=["testdev"], cmdline="locks", timeout=60))


def test_string_io(run_guest: Run) -> None:
    check(run_guest("string-io", devices=["testdev"]))


def test_real_mode(run_guest: Run) -> None:
    check(run_guest("bigreal", devices=["testdev"]))


def test_single_steps_over_all_that_leaves_the_guest(run_guest: Run) -> None:
    check(run_guest("steps", devices=["testdev"]))


@pytest.mark.parametrize("guest", ["hello", "hello32"])
def test_hello_returns_the_status_it_was_given(run_guest: Run, guest: str) -> None:
    run = run_guest(guest, cmdline="status=42")
    assert run.status == 42
    assert "hello" in run.output and "ViperVisorHV" in run.output


def test_real_mode_guest_runs_as_a_boot_sector(run_guest: Run) -> None:
    run = run_guest("realmode.bin", kind="flat")
    assert run.status == 0, run.output


def test_triple_fault_is_a_crash_that_says_why(run_guest: Run) -> None:
    run = run_guest("triple")
    assert run.status == 126
    assert run.end is not None and run.end.reason == "crash"
    assert "triple fault" in run.end.crash["why"]


def test_what_device_memory_cannot_answer_is_a_crash_that_shows_the_bytes(run_guest: Run) -> None:
    run = run_guest("mmio-forms", devices=["testdev"], cmdline="x87")
    assert run.status == 126
    assert run.end is not None and run.end.reason == "crash"
    assert "ff000000" in run.end.crash["why"]
    assert run.end.crash["bytes"].startswith("dd07")


def test_reset_ends_the_guest_with_that_reason(run_guest: Run, tmp_path: Any) -> None:
    # mov $0xFE, %al; out %al, $0x64 in real mode
    image = tmp_path / "reset.bin"
    image.write_bytes(bytes.fromhex("b0fee664ebfe").ljust(510, b"\0") + b"\x55\xaa")
    run = run_guest(image, kind="flat")
    assert run.end is not None and run.end.reason == "reset"
    assert run.status == 121


def test_halt_with_interrupts_off_ends_the_guest(run_guest: Run, tmp_path: Any) -> None:
    image = tmp_path / "halt.bin"
    image.write_bytes(bytes.fromhex("faf4").ljust(510, b"\0") + b"\x55\xaa")
    run = run_guest(image, kind="flat")
    assert run.end is not None and run.end.reason == "poweroff"
    assert run.status == 0
