"""What the tests around the fake emulator share: its environment and hv as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
TOOLS = TESTS.parents[1] / "tools"
FAKE = TESTS / "fake_qemu.py"
LIMIT = 60


class Hv:
    """`hv` with a fake QEMU, a runtime folder and a temporary folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        build = folder / "build"
        build.mkdir()
        (build / "vipervisor.elf").touch()
        for name in ("runtime", "tmp"):
            (folder / name).mkdir()
        self.env = {
            **os.environ,
            "VIPERVISOR_BUILD": str(build),
            "VIPERVISOR_QEMU": str(FAKE),
            "XDG_RUNTIME_DIR": str(folder / "runtime"),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONPATH": str(TOOLS),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def image(self, name: str = "guest.img", **behaviour: Any) -> str:
        path = self.folder / name
        path.write_text(json.dumps(behaviour))
        return str(path)

    def partition(self, **guests: dict[str, Any]) -> str:
        lines = ["version = 1"]
        for name, behaviour in guests.items():
            image = self.image(f"{name}.img", **behaviour)
            lines += ["[[guest]]", f'name = "{name}"', f'image = "{image}"']
            lines += ['kind = "flat32"', 'memory = "16M"']
        path = self.folder / "part.toml"
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "vipervisor", *words]

    def start(self, *words: str, stdin: Any = subprocess.DEVNULL, **env: str) -> Any:
        return subprocess.Popen(
            self.command(*words),
            env={**self.env, **env},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self, *words: str, stdin: str | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        given: dict[str, Any] = {"input": stdin}
        if stdin is None:
            given = {"stdin": subprocess.DEVNULL}
        return subprocess.run(
            self.command(*words),
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
            **given,
        )

    def run(
        self,
        *words: str,
        stdin: str | None = None,
        env: dict[str, str] | None = None,
        **behaviour: Any,
    ) -> subprocess.CompletedProcess[str]:
        """`hv run` on a fake guest that behaves so."""
        image = self.image(**behaviour)
        return self("run", image, "--kind", "flat32", *words, stdin=stdin, **(env or {}))

    def leftovers(self) -> list[str]:
        """Files and processes that should be gone."""
        found = [str(p) for name in ("tmp", "runtime") for p in (self.folder / name).rglob("*")]
        for status in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"TMPDIR={self.folder / 'tmp'}\0".encode() in status.read_bytes():
                    found.append((status.parent / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found
