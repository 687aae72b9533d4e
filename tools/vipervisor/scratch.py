"""Folders of a machine's own files; those of owners that were killed are swept."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

_PREFIX = f"vipervisor-{os.getuid()}-"
_LOCK = "lock"
_NEW = 60.0  # seconds


def is_held(folder: Path) -> bool:
    """True while the process that locked this folder lives."""
    try:
        with (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


class Scratch:
    """A fresh folder, held until it is removed."""

    def __init__(self) -> None:
        base = Path(tempfile.gettempdir())
        for stale in base.glob(_PREFIX + "machine-*"):
            with contextlib.suppress(OSError):
                info = stale.lstat()
                old = time.time() - info.st_mtime > _NEW  # else it may not be locked yet
                if old and info.st_uid == os.getuid() and not is_held(stale):
                    shutil.rmtree(stale, ignore_errors=True)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX + "machine-"))
        self._lock = (self.path / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()
