"""Where things lie: the source tree, what it builds, emulators and the runtime folder."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from .errors import HostError

ROOT = Path(__file__).resolve().parents[2]


_INSTALLED = Path(__file__).resolve().parent / "_monitor"


def build_dir() -> Path:
    """Where `make build` puts the monitor, or where an installed package has it."""
    chosen = os.environ.get("VIPERVISOR_BUILD")
    if chosen:
        return Path(chosen)
    return _INSTALLED if _INSTALLED.is_dir() else ROOT / "build"


def built(name: str) -> Path:
    """A built file, or one sentence how to get it."""
    path = build_dir() / name
    if not path.is_file():
        if name.startswith("guests/"):
            raise HostError(f"{path} is missing: {guests_remedy()}")
        raise HostError(f"{path} is missing: run `make build` first")
    return path


def guests_remedy() -> str:
    """How to get the tree's guests, which an installed package does not have."""
    if build_dir() == _INSTALLED:
        return "the installed package has no guests; `make guests` builds them in the source tree"
    return "run `make guests`"


def program(variable: str, names: tuple[str, ...], what: str) -> Path:
    """An emulator: from its environment variable, or from PATH."""
    chosen = os.environ.get(variable)
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise HostError(f"{variable} says {chosen}, which is no program that can be run")
        return Path(found)
    for name in names:
        found = shutil.which(name)
        if found:
            return Path(found)
    raise HostError(
        f"{what} is not installed ({names[0]} is not in PATH): run `make setup`, "
        f"or set {variable} to the program"
    )


def runtime_dir() -> Path:
    """The user's folder of running machines, private to the user."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    path = Path(base) / "vipervisor" if base else Path(f"/tmp/vipervisor-{os.getuid()}")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = path.lstat()
    except OSError as error:
        raise HostError(f"cannot use the runtime folder {path}: {error.strerror}") from None
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise HostError(f"{path} is not this user's folder: set XDG_RUNTIME_DIR to one")
    return path
