"""Running machines: one folder each under the user's runtime folder, held by a lock that
ends with its owner, so that a stale one is known and swept."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import paths
from .errors import HostError, UsageError
from .scratch import is_held

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}\Z")
_INFO = "machine.json"


@contextlib.contextmanager
def _guard() -> Iterator[Path]:
    """The runtime folder, with nobody else claiming or sweeping; removed when empty."""
    while True:
        base = paths.runtime_dir()
        try:
            guard = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # removed since: another process was the last one in it
        try:
            fcntl.flock(guard, fcntl.LOCK_EX)
            if not os.fstat(guard).st_nlink or not base.exists():
                continue
            yield base
            with contextlib.suppress(OSError):
                base.rmdir()
            return
        finally:
            os.close(guard)


def _sweep(base: Path) -> None:
    for folder in base.iterdir():
        if folder.is_dir() and not is_held(folder):
            shutil.rmtree(folder, ignore_errors=True)


class Claim:
    """This process's folder for one machine."""

    def __init__(self, name: str | None, default: str) -> None:
        if name is not None and not NAME.match(name):
            raise UsageError(f"{name!r} cannot name a machine: letters, digits, . _ - please")
        with _guard() as base:
            _sweep(base)
            self.name = name or _free_name(base, default)
            self.folder = base / self.name
            if self.folder.exists():
                pid = read_info(self.folder).get("pid", "?")
                raise HostError(
                    f"a machine called {self.name} is running already (process {pid}): "
                    "choose another name with --machine, or `hv stop` it"
                )
            self.folder.mkdir(mode=0o700)
            self._lock = (self.folder / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def write_info(self, info: dict[str, Any]) -> None:
        value = {"name": self.name, "pid": os.getpid(), **info}
        partial = self.folder / (_INFO + ".new")
        partial.write_text(json.dumps(value, indent=1) + "\n")
        partial.replace(self.folder / _INFO)

    def release(self) -> None:
        with _guard():
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()


def _free_name(base: Path, default: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", default).strip("-._")[:32] or "machine"
    number = 1
    while True:
        name = stem if number == 1 else f"{stem}-{number}"
        if not (base / name).exists():
            return name
        number += 1


def read_info(folder: Path) -> dict[str, Any]:
    try:
        value = json.loads((folder / _INFO).read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def machines() -> list[dict[str, Any]]:
    """What every running machine says of itself, by name; `folder` is where it listens."""
    with _guard() as base:
        _sweep(base)
        folders = sorted(folder for folder in base.iterdir() if folder.is_dir())
    found = []
    for folder in folders:
        info = read_info(folder)
        if info:
            found.append({**info, "folder": str(folder)})
    return found


def find(name: str | None) -> dict[str, Any]:
    """The named running machine, or the only one."""
    running = machines()
    names = ", ".join(str(m["name"]) for m in running)
    if name is None:
        if len(running) == 1:
            return running[0]
        if not running:
            raise HostError("no machine is running: start one with `hv boot FILE`")
        raise UsageError(f"several machines are running ({names}): say which with --machine")
    for machine in running:
        if machine["name"] == name:
            return machine
    raise HostError(f"no machine called {name} is running (running: {names or 'none'})")


def connect(machine: dict[str, Any], line: str) -> socket.socket:
    """A connection to a line of a running machine: `channel` or `prompt`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(str(Path(machine["folder"]) / line))
    except OSError as error:
        sock.close()
        raise HostError(
            f"the machine {machine['name']} does not answer ({error.strerror})"
        ) from None
    return sock
