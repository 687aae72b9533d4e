"""What every emulator has in common: a process of its own, two serial lines, an end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import signals
from .errors import EmulatorError
from .image import Module

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass
class Setup:
    """What an emulator is to boot."""

    cpus: int
    memory: int  # bytes
    modules: Sequence[Module] = ()
    cmdline: str = ""
    accel: str = "tcg"
    backend: str = "svm"
    model: str | None = None  # CPU model; None is the back end's usual one
    icount: bool = False
    extra: Sequence[str] = field(default_factory=tuple)  # for QEMU's command line
    image: Path | None = None  # a built ISO or raw disk to boot instead of the modules
    medium: str = "cd"  # how an ISO is there: a CD or a USB stick
    firmware: str = "bios"  # what boots an image: bios or uefi

    @property
    def megabytes(self) -> int:
        return -(-self.memory // (1 << 20))


class Emulator:
    """One emulator process. Order of use: start, resume, any number of waits, kill."""

    name = "emulator"

    def __init__(self, setup: Setup, folder: Path) -> None:
        self.setup = setup
        self.folder = folder  # its own, removed by the owner
        self.process: subprocess.Popen[bytes] | None = None
        self.prompt: socket.socket | None = None  # COM1
        self.channel: socket.socket | None = None  # COM2

    def start(self) -> None:
        """Start the machine with both lines connected, before its first instruction where
        the emulator can."""
        raise NotImplementedError

    def resume(self) -> None:
        """Let it run."""

    def describe(self) -> str:
        """What `start` would run, for a person to run by hand."""
        raise NotImplementedError

    def why_ended(self) -> str:
        """One sentence, after the process has ended."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    def spawn(self, command: Sequence[str | Path], pass_fds: Sequence[int] = ()) -> None:
        """Run the emulator in a process group of its own that dies with this process."""
        parent = os.getpid()

        def in_child() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

        with (
            (self.folder / "stdout").open("wb") as out,
            (self.folder / "stderr").open("wb") as err,
            signals.deferred(),  # else Ctrl-C could leave a process that nobody knows
        ):
            try:
                self.process = subprocess.Popen(
                    [str(word) for word in command],
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    pass_fds=pass_fds,
                    start_new_session=True,
                    preexec_fn=in_child,
                )
            except OSError as error:
                raise EmulatorError(f"cannot run {command[0]}: {error.strerror}") from None

    def kill(self) -> None:
        """End the process, its children with it, and take its status."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stderr_tail(self, lines: int = 4) -> str:
        """The last lines of its stderr that say something."""
        try:
            text = (self.folder / "stderr").read_text(errors="replace")
        except OSError:
            return ""
        kept = [line for line in text.splitlines() if line.strip() and not self.is_noise(line)]
        return "\n".join(kept[-lines:])

    def is_noise(self, line: str) -> bool:
        """True for a line of stderr that says nothing about a failure."""
        return False

    def died(self, detail: str = "") -> EmulatorError:
        """The error for an end that nobody asked for."""
        status = self.process.poll() if self.process else None
        text = f"{self.name} ended"
        if status is not None:
            text += f" with status {status}" if status >= 0 else f" by signal {-status}"
        text += f": {detail}" if detail else ""
        tail = self.stderr_tail()
        return EmulatorError(f"{text}; it said:\n{tail}" if tail else text)
