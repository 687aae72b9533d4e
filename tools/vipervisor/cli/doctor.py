"""`hv doctor` and `hv version`: what this host can run, and what is installed."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import accel, iso, paths, qemu
from ..bochs import find_rom
from ..errors import HostError
from ..style import paint
from ..version import VERSION

_ANSWER_LIMIT = 20  # seconds for a program to say its version
_OLDEST_QEMU = (7, 0)
_OLDEST_BOCHS = (2, 7)
_MEMORY_MIB = 1024  # for the example partition and its emulator


@dataclass(frozen=True)
class Answer:
    """One thing looked at: there or not, what was found, what to do."""

    name: str
    ok: bool
    text: str


def add(commands: Any) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="what this host can run, and why not",
        description="Look at what this host can run. Status 0 when at least one back end can.",
    )
    doctor.add_argument("--json", action="store_true")
    doctor.set_defaults(function=doctor_main)
    version = commands.add_parser("version", help="the versions of hv, the monitor, the emulators")
    version.add_argument("--json", action="store_true")
    version.set_defaults(function=version_main)


def ask(name: str, look: Callable[[], str]) -> Answer:
    """The answer of one look; a HostError is a "no" with its reason."""
    try:
        return Answer(name, True, look())
    except (HostError, OSError) as error:
        return Answer(name, False, str(error))


def say_version(words: list[str], pattern: str) -> str:
    """The version that a program prints about itself."""
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=_ANSWER_LIMIT,
            stdin=subprocess.DEVNULL, check=False,
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"{words[0]} does not say its version within {_ANSWER_LIMIT} s") from None
    found = re.search(pattern, done.stdout + done.stderr)
    if found is None:
        raise HostError(f"{words[0]} does not say its version")
    return found[1]


def _new_enough(name: str, version: str, oldest: tuple[int, int]) -> str:
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if numbers < oldest:
        wanted = ".".join(map(str, oldest))
        raise HostError(f"{name} {version} is too old: {wanted} or newer is needed")
    return version


def qemu_version() -> str:
    program = paths.program("VIPERVISOR_QEMU", ("qemu-system-x86_64",), "QEMU")
    version = say_version([str(program), "--version"], r"version (\d+\.\d+(?:\.\d+)?)")
    return _new_enough("QEMU", version, _OLDEST_QEMU)


def bochs_version() -> str:
    program = paths.program("VIPERVISOR_BOCHS", ("bochs-bin", "bochs"), "Bochs")
    find_rom(("BIOS-bochs-latest",))
    find_rom(("vgabios.bin", "VGABIOS-lgpl-latest"))
    version = say_version([str(program), "--help"], r"Bochs x86 Emulator (\d+\.\d+)")
    return _new_enough("Bochs", version, _OLDEST_BOCHS)


def _iso_tools() -> str:
    lacks = iso.missing_packages()
    if lacks:
        raise HostError(f"sudo apt-get install {' '.join(lacks)}")
    return "GRUB for BIOS and UEFI, xorriso, mtools"


def _guests() -> str:
    folder = paths.build_dir() / "guests"
    names = sorted(path.stem for path in folder.glob("*.elf"))
    if not names:
        raise HostError(f"none under {folder}: {paths.guests_remedy()}")
    linux = " and linux" if (folder / "linux" / "vmlinuz").is_file() else ", without linux"
    return f"{len(names)}{linux}"


def _memory() -> str:
    with open("/proc/meminfo", encoding="ascii") as file:
        found = re.search(r"MemAvailable:\s+(\d+)", file.read())
    megabytes = int(found[1]) // 1024 if found else 0
    if megabytes < _MEMORY_MIB:
        raise HostError(f"{megabytes} MiB available: a partition may need {_MEMORY_MIB} MiB")
    return f"{megabytes:,} MiB available"


def _runtime() -> str:
    folder = paths.runtime_dir()
    space = shutil.disk_usage(folder).free
    with contextlib.suppress(OSError):
        folder.rmdir()  # empty: it was made by this look
    return f"{folder}, {space >> 20:,} MiB free"


def _kvm() -> str:
    return f"nested {accel.kvm_backend()}"


def answers() -> list[Answer]:
    """Everything that is looked at, in the order it is shown."""
    monitor = ask("monitor", lambda: str(paths.built("vipervisor.elf")))
    qemu_there, bochs_there = ask("QEMU", qemu_version), ask("Bochs", bochs_version)
    kvm = ask("KVM", _kvm)
    found = [
        ask("Python", platform.python_version),
        ask("memory", _memory),
        ask("runtime folder", _runtime),
        monitor,
        ask("guests", _guests),
        qemu_there,
        bochs_there,
        kvm,
        ask("ISO images", _iso_tools),
        ask("UEFI firmware", lambda: str(qemu.find_uefi())),
    ]
    needs = [
        ("svm on QEMU", [monitor, qemu_there]),
        ("vmx on Bochs", [monitor, bochs_there]),
        ("svm or vmx on KVM", [monitor, qemu_there, kvm]),
    ]
    for name, parts in needs:
        lacks = [part.name for part in parts if not part.ok]
        text = f"without {' and '.join(lacks)}" if lacks else "hv boot " + {
            "svm on QEMU": "FILE", "vmx on Bochs": "FILE --backend vmx",
        }.get(name, "FILE --accel kvm")
        found.append(Answer(name, not lacks, text))
    return found


def doctor_main(options: argparse.Namespace) -> int:
    found = answers()
    able = [answer for answer in found if " on " in answer.name and answer.ok]
    if options.json:
        print(json.dumps([vars(answer) for answer in found], indent=1))
    else:
        width = max(len(answer.name) for answer in found)
        for answer in found:
            word, colour = ("yes", "green") if answer.ok else ("no ", "red")
            mark = paint(word, colour, sys.stdout)
            print(f"{mark}  {answer.name:<{width}}  {answer.text}")
        if not able:
            print("nothing can be booted here yet: `make setup build` is the first step")
    return 0 if able else 1


def _monitor_mark() -> str:
    path = paths.built("vipervisor.elf")
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()[:12]} ({path})"


def version_main(options: argparse.Namespace) -> int:
    def told(look: Callable[[], str]) -> str | None:
        answer = ask("", look)
        return answer.text if answer.ok else None

    value = {
        "hv": VERSION,
        "monitor": told(_monitor_mark),
        "python": platform.python_version(),
        "qemu": told(qemu_version),
        "bochs": told(bochs_version),
        "host": f"{os.uname().sysname} {os.uname().release} {os.uname().machine}",
    }
    if options.json:
        print(json.dumps(value, indent=1))
    else:
        for name, text in value.items():
            print(f"{name:<8} {text or 'not there'}")
    return 0
