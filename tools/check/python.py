"""ruff over all Python, mypy in strict mode over the host's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDERS = ("tools", "tests", "firmware", "guests", "examples")


def check_ruff(root: Path) -> list[str]:
    present = [folder for folder in FOLDERS if (root / folder).is_dir()]
    return _run(root, ["ruff", "check", "--quiet", "--output-format=concise", *present])


def check_mypy(root: Path) -> list[str]:
    wanted = (
        "tools/vipervisor", "tools/prepare", "tools/check", "tools/mptests", "tools/font.py",
        "guests/linux/initramfs.py",
    )
    present = [name for name in wanted if (root / name).exists()]
    return _run(root, ["mypy", "--no-error-summary", "--hide-error-context", *present])


def _run(root: Path, command: list[str]) -> list[str]:
    answer = subprocess.run(
        [sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False
    )
    if answer.returncode == 0:
        return []
    lines = (answer.stdout + answer.stderr).strip().splitlines()
    return lines or [f"{command[0]} ended with status {answer.returncode}"]
