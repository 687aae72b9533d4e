"""`hv` as a process of its own, from this tree and on this host's own back ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from vipervisor.paths import ROOT

LIMIT = 235  # seconds for one command, less than for a test


def environment(folder: Path) -> dict[str, str]:
    """With a runtime folder of its own: it knows no machines but its own."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "tools"), "XDG_RUNTIME_DIR": str(folder)}


class Hv:
    """hv(words...) runs a command to its end."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = {**env, "TERM": "xterm"}
        self.env.pop("NO_COLOR", None)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "vipervisor", *words]

    def __call__(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), env=self.env, input=stdin, capture_output=True, text=True,
            timeout=LIMIT, check=False,
        )
