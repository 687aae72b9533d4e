"""Linux as a guest against the same Linux on the bare machine: instructions that the whole
machine executes for the same work, in QEMU with `-icount shift=0`, where the kernel's clock
counts them. One CPU; the guest has it in slices."""

from __future__ import annotations

import importlib.util
import re
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vipervisor import paths
from vipervisor.errors import HostError
from vipervisor.machine import Machine

ROOT = Path(__file__).resolve().parents[2]
MEMORY = 256
CMDLINE = "console=ttyS0,115200 quiet nokaslr mitigations=off cryptomgr.notests"
RATIO_LIMIT = 1.05
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
    command += ["-cpu", "max", "-m", f"{MEMORY}M", "-display", "none", "-no-reboot"]
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
        if "--exits" in sys.argv:
            print(machine.exec("import _hv; print(_hv.guest_exits(0))"), file=sys.stderr)
        machine.quit()
        return console.text


def _counts(text: str) -> dict[str, int]:
    if DONE not in text:
        raise HostError(f"Linux did not come to the end of its work:\n{text[-2000:]}")
    rows = re.findall(r"^linux (\w+) (\d+) (\d+)\r?$", text, re.MULTILINE)
    return {name: int(passed) - int(slept) for name, passed, slept in rows}


if __name__ == "__main__":
    for work in measure():
        print(f"{work.name:12} {work.bare:>14,} {work.guest:>14,} {work.ratio:.4f}")
