"""Linux as a guest against the same Linux on the bare machine: instructions that the whole
machine executes for the same work, in QEMU with `-icount shift=0`, where the kernel's clock
counts them. One CPU; the guest has it in slices."""

from __future__ import annotations

import importlib.util
import re
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vipervisor import paths
from vipervisor.cli.bench import table
from vipervisor.errors import HostError
from vipervisor.machine import Machine

ROOT = Path(__file__).resolve().parents[2]
MEMORY = 256
CMDLINE = "console=ttyS0,115200 quiet nokaslr mitigations=off cryptomgr.notests"
# Without what a guest does not see and Linux would take another way for: five-level page
# tables, more state to save at a switch, and random numbers without computing them.
CPU = "max,-la57,-pku,-mpx,-xgetbv1,-rdrand,-svm,-monitor"
RATIO_LIMIT = 1.05
BOOT = "boot"  # timed waits for devices and calibration, not work: shown, and judged by nobody
LIMIT = 300.0  # seconds for each of the two
DONE = "linux done"


@dataclass(frozen=True)
class Work:
    """Instructions for one piece of work; time that the CPU slept is not among them."""

    name: str
    bare: int
    guest: int

    @property
    def ratio(self) -> float:
        return self.guest / self.bare


def total(works: list[Work]) -> Work:
    """All but the boot."""
    counted = [work for work in works if work.name != BOOT]
    return Work("together", sum(w.bare for w in counted), sum(w.guest for w in counted))


def measure() -> list[Work]:
    kernel = paths.built("guests/linux/vmlinuz")
    with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as folder:
        initrd = Path(folder) / "initrd.cpio.gz"
        _make_initrd(initrd)
        bare = _counts(_bare(kernel, initrd))
        guest = _counts(_guest(kernel, initrd))
    return [Work(name, bare[name], guest[name]) for name in bare]


def _make_initrd(initrd: Path) -> None:
    """The Linux guest's own, and behind it an archive whose /init takes the place of its."""
    spec = importlib.util.spec_from_file_location("initramfs", ROOT / "guests/linux/initramfs.py")
    assert spec is not None and spec.loader is not None
    initramfs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(initramfs)
    init = Path(__file__).with_name("linux-init").read_bytes()
    archive = initramfs.entry(1, "init", stat.S_IFREG | 0o755, init)
    archive += initramfs.entry(0, initramfs.TRAILER, 0)
    first = paths.built("guests/linux/initrd.cpio.gz").read_bytes()
    initrd.write_bytes(first + bytes(-len(first) % 4) + archive)


def _bare(kernel: Path, initrd: Path) -> str:
    qemu = paths.program("VIPERVISOR_QEMU", ("qemu-system-x86_64",), "QEMU")
    command = [str(qemu), "-nodefaults", "-no-user-config", "-machine", "pc", "-accel", "tcg"]
    command += ["-cpu", CPU, "-m", f"{MEMORY}M", "-display", "none", "-no-reboot"]
    command += ["-icount", "shift=0,sleep=off", "-rtc", "clock=vm", "-serial", "stdio"]
    command += ["-kernel", str(kernel), "-initrd", str(initrd), "-append", CMDLINE]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT
    )
    return done.stdout


def _guest(kernel: Path, initrd: Path) -> str:
    row = {"name": "linux", "cpus": [0], "memory": MEMORY << 20, "image": "vmlinuz", "kind": None}
    row |= {"initrd": ["initrd"], "cmdline": CMDLINE, "modules": [], "devices": []}
    row |= {f"on_{end}": {"do": "stop"} for end in ("crash", "poweroff", "reboot")}
    description = {"format": 1, "name": "bench", "machine": {}, "guests": [row]}
    description["run"] = {"single": True}
    files = {"vmlinuz": kernel, "initrd": initrd}
    with Machine(description, files, backend="svm", icount=True) as machine:
        console = machine.console("linux", LIMIT)
        machine.wait_end("linux", LIMIT)
        machine.quit()
        return console.text


def _counts(text: str) -> dict[str, int]:
    if DONE not in text:
        raise HostError(f"Linux did not come to the end of its work:\n{text[-2000:]}")
    rows = re.findall(r"^linux (\w+) (\d+) (\d+)\r?$", text, re.MULTILINE)
    return {name: int(passed) - int(slept) for name, passed, slept in rows}


def report(works: list[Work]) -> str:
    rows: list[Sequence[str]] = [("svm, Linux and busybox", "bare", "guest", "ratio", "at most")]
    for work in works:
        limit = "-" if work.name == BOOT else f"{RATIO_LIMIT:.2f}"
        rows.append((work.name, f"{work.bare:,}", f"{work.guest:,}", f"{work.ratio:.3f}", limit))
    return "\n".join(table(rows))
