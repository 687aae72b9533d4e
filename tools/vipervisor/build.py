"""Images to keep: an ISO, a raw disk, or a folder for QEMU, and reading one back."""

from __future__ import annotations

import json
import shlex
import shutil
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import image, iso, paths
from .errors import HostError, UsageError
from .image import Module
from .iso import Part
from .machine import machine_size
from .scratch import Scratch

KINDS = {".iso": "iso", ".img": "disk"}
_DESCRIPTION = "partition.json"
_MODULES = "modules"  # where a folder keeps them
_READ_LIMIT = 60  # seconds for reading one file of an ISO

_RUN = """\
#!/bin/sh
# Boots this folder in QEMU: COM1, the monitor's prompt, is this terminal (Ctrl-A X ends).
cd -- "$(dirname -- "$0")" && exec ${{QEMU:-qemu-system-x86_64}} \\
    -machine pc -accel ${{ACCEL:-tcg}} -cpu max -smp {cpus} -m {megabytes}M -nodefaults \\
    -no-reboot -display none -serial mon:stdio -serial null \\
    -kernel vipervisor.elf -initrd {initrd} "$@"
"""


@dataclass(frozen=True)
class Built:
    """A made image: its kind, its parts and its size in all."""

    path: Path
    kind: str  # iso, disk or folder
    parts: list[Part]
    size: int


def kind_of(target: Path) -> str:
    """The kind of image that a target's name asks for."""
    kind = KINDS.get(target.suffix.lower())
    if kind is not None:
        if target.is_dir():
            raise UsageError(f"{target} is a folder, not a file to write")
        return kind
    if target.suffix and not target.is_dir():
        raise UsageError(f"{target}: an image is an .iso, an .img or a folder (no suffix)")
    return "folder"


def build(
    target: Path,
    description: Mapping[str, Any],
    files: Mapping[str, Path],
    cmdline: str = "",
) -> Built:
    """Make the image that the target's name asks for."""
    kind = kind_of(target)
    if not target.absolute().parent.is_dir():
        raise HostError(f"cannot write {target}: there is no folder {target.parent}")
    if kind != "folder":
        _writable(target)
    scratch = Scratch()
    try:
        text = scratch.path / _DESCRIPTION
        text.write_text(json.dumps(description, indent=1, sort_keys=True) + "\n")
        modules = [Module(_DESCRIPTION, text)]
        modules += [Module(name, Path(path)) for name, path in files.items()]
        monitor = _stripped(scratch.path)
        try:
            if kind == "iso":
                parts = iso.write_iso(target, monitor=monitor, modules=modules, cmdline=cmdline)
            elif kind == "disk":
                parts = _disk(target, modules, cmdline)
            else:
                parts = _folder(target, monitor, modules, description, cmdline)
        except OSError as error:
            raise HostError(f"cannot write {target}: {error.strerror}") from None
    finally:
        scratch.remove()
    if kind == "folder":
        return Built(target, kind, parts, sum(part.size for part in parts))
    return Built(target, kind, parts, target.stat().st_size)


def _writable(target: Path) -> None:
    """Said before the work, and in better words than a program's that makes the image."""
    there = target.exists()
    try:
        with target.open("ab"):
            pass
    except OSError as error:
        raise HostError(f"cannot write {target}: {error.strerror}") from None
    if not there:
        target.unlink()


def _stripped(folder: Path) -> Path:
    """The monitor without its debug information, which nobody reads on the machine."""
    monitor = paths.built("vipervisor.elf")
    out = folder / "vipervisor.elf"
    strip = shutil.which("strip")
    if strip is None:
        shutil.copyfile(monitor, out)
        return out
    done = subprocess.run(
        [strip, "--strip-all", "-o", out, monitor], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise HostError(f"strip failed on {monitor}: {done.stderr.strip()}")
    return out


def _disk(target: Path, modules: list[Module], cmdline: str) -> list[Part]:
    monitor = paths.built("vipervisor.bin")
    partial = target.with_name(target.name + ".new")
    try:
        image.write_disk(
            partial,
            bootsector=paths.built("bootsector.bin").read_bytes(),
            monitor=monitor.read_bytes(),
            plan=image.elf32_plan(paths.built("vipervisor.elf")),
            modules=modules,
            cmdline=cmdline,
        )
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    parts = [Part("monitor", monitor.stat().st_size)]
    parts += [Part(module.name, module.path.stat().st_size) for module in modules]
    rest = target.stat().st_size - sum(part.size for part in parts)
    return [*parts, Part("boot sector, directory, padding", rest)]


def _folder(
    target: Path,
    monitor: Path,
    modules: list[Module],
    description: Mapping[str, Any],
    cmdline: str,
) -> list[Part]:
    if target.is_dir() and any(target.iterdir()) and not (target / "vipervisor.elf").is_file():
        raise UsageError(f"{target} holds other files: name an empty or a new folder")
    shutil.rmtree(target / _MODULES, ignore_errors=True)
    (target / _MODULES).mkdir(parents=True)
    shutil.copyfile(monitor, target / "vipervisor.elf")
    named = []
    for module in modules:
        copy = Path(_MODULES) / module.name
        shutil.copyfile(module.path, target / copy)
        named.append(Module(module.name, copy, module.args))
    cpus, memory = machine_size(description)
    script = _RUN.format(
        cpus=cpus, megabytes=-(-memory // (1 << 20)), initrd=shlex.quote(image.qemu_modules(named))
    )
    if cmdline:
        script = script.replace(' "$@"', f' -append {shlex.quote(cmdline)} "$@"')
    (target / "run.sh").write_text(script)
    (target / "run.sh").chmod(0o755)
    names = ["vipervisor.elf", *(str(module.path) for module in named), "run.sh"]
    return [Part(name, (target / name).stat().st_size) for name in names]


# --- reading back ---


@dataclass(frozen=True)
class Opened:
    """A built image: what it boots, and how."""

    description: dict[str, Any]
    files: dict[str, Path]  # of a folder; an image file holds its own
    image: Path | None
    medium: str | None


def is_image(path: Path) -> bool:
    """True when `path` is something `hv build` makes, by its name or by its content."""
    return path.suffix.lower() in KINDS or (path / _MODULES / _DESCRIPTION).is_file()


def open_image(path: Path) -> Opened:
    """The partition in a built image."""
    if path.is_dir():
        modules = path / _MODULES
        text = image.readable(modules / _DESCRIPTION, "partition of the folder").read_bytes()
        description = _parse(path, text)
        files = {f.name: f for f in sorted(modules.iterdir()) if f.name != _DESCRIPTION}
        return Opened(description, files, None, None)
    image.readable(path, "image")
    if path.suffix.lower() == ".iso":
        return Opened(_parse(path, _from_iso(path)), {}, path, "cd")
    return Opened(_parse(path, _from_disk(path)), {}, path, "disk")


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or "guests" not in value:
        raise HostError(f"{path} holds no partition: was it made by `hv build`?")
    return value


def _from_iso(path: Path) -> bytes:
    program = shutil.which("xorriso")
    if program is None:
        raise HostError("reading an ISO needs xorriso: sudo apt-get install xorriso")
    scratch = Scratch()
    try:
        out = scratch.path / _DESCRIPTION
        words = [program, "-osirrox", "on", "-indev", str(path), "-extract", "/boot/modules/0"]
        subprocess.run(
            [*words, str(out)], capture_output=True, timeout=_READ_LIMIT, check=False,
            stdin=subprocess.DEVNULL,
        )
        return out.read_bytes() if out.is_file() else b""
    finally:
        scratch.remove()


def _from_disk(path: Path) -> bytes:
    with path.open("rb") as disk:
        try:
            return image.read_module(disk, _DESCRIPTION)
        except struct.error:
            return b""
