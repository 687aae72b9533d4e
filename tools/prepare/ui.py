"""How set-up talks: numbered stages, and a failure that says what ran, how it ended and where
its log lies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

TAIL_LINES = 15


class SetupError(Exception):
    """Set-up cannot go on; the text says why and what to do."""


class Screen:
    """Prints stages `[n/of] name: …` and runs their commands with output kept in a log."""

    def __init__(self, logs: Path, total: int, quiet: bool) -> None:
        self.logs = logs
        self.total = total
        self.quiet = quiet
        self.number = 0
        self.stage_name = ""

    def say(self, text: str) -> None:
        if not self.quiet:
            print(text, flush=True)

    def stage(self, name: str, what: str) -> None:
        """Begin the next stage; `what` is "ready" or what is going to be done."""
        self.number += 1
        self.stage_name = name
        if what != "ready" or not self.quiet:
            print(f"[{self.number}/{self.total}] {name}: {what}", flush=True)

    def run(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        limit: float = 1800,
    ) -> str:
        """Run a command, its output in the stage's log; return the output."""
        self.logs.mkdir(parents=True, exist_ok=True)
        slug = "".join(c if c.isalnum() else "-" for c in self.stage_name.lower())
        log = self.logs / f"{slug}.log"
        with log.open("ab") as out:
            out.write(f"\n$ {' '.join(command)}\n".encode())
            out.flush()
            start = out.tell()
            try:
                process = subprocess.Popen(
                    command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out
                )
            except FileNotFoundError:
                raise SetupError(f"{command[0]} is missing on this machine") from None
            status = self._wait(process, limit)
        with log.open("rb") as written:
            written.seek(start)
            output = written.read().decode(errors="replace")
        if status is None:
            raise SetupError(_failure(command, f"did not end within {limit:.0f} s", output, log))
        if status != 0:
            raise SetupError(_failure(command, f"ended with status {status}", output, log))
        return output

    def _wait(self, process: subprocess.Popen[bytes], limit: float) -> int | None:
        """Wait with a running clock on a terminal; None when the limit passed."""
        show = sys.stderr.isatty() and not self.quiet
        start = time.monotonic()
        while True:
            try:
                status = process.wait(timeout=1)
                break
            except subprocess.TimeoutExpired:
                passed = time.monotonic() - start
                if passed > limit:
                    stop(process)
                    return None
                if show:
                    print(f"\r      {passed:.0f} s ", end="", file=sys.stderr, flush=True)
            except BaseException:
                stop(process)
                raise
        if show:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        return status


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a command. One run by sudo is root's: it has had the terminal's Ctrl-C itself."""
    try:
        process.kill()
    except PermissionError:
        return
    process.wait()


def _failure(command: Sequence[str], how: str, output: str, log: Path) -> str:
    lines = output.rstrip().splitlines()[-TAIL_LINES:]
    tail = "\n".join(f"    {line}" for line in lines) or "    (no output)"
    return f"this command {how}:\n    {' '.join(command)}\nits last lines:\n{tail}\nlog: {log}"


def as_root(command: Sequence[str]) -> list[str]:
    """The command as root would run it."""
    if os.geteuid() == 0:
        return ["env", "DEBIAN_FRONTEND=noninteractive", *command]
    return ["sudo", "env", "DEBIAN_FRONTEND=noninteractive", *command]
