"""QEMU: AMD-V in its TCG, or whatever the CPU has under KVM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import socket
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from qemu.qmp import Message, QMPClient, QMPError

from . import paths
from .emulator import Emulator, Setup
from .errors import EmulatorError, HostError
from .image import qemu_modules

T = TypeVar("T")
_QMP_LIMIT = 60.0  # seconds for QEMU to start and to answer
_DRAIN = 5.0  # seconds for its last events to be read

# Its errors are reported here in words of our own.
logging.getLogger("qemu").addHandler(logging.NullHandler())


# All that TCG has. Its own family is 15, a K8: stock kernels then look for a northbridge with
# a GART on 256 buses of PCI. Family 20 had none, and no fault that kernels warn of.
TCG_MODEL = "max,family=20,model=1"

# OVMF of the distributions; VIPERVISOR_OVMF names another.
_UEFI = (
    "/usr/share/ovmf/OVMF.fd",
    "/usr/share/OVMF/OVMF.fd",
    "/usr/share/qemu/OVMF.fd",
    "/usr/share/edk2/ovmf/OVMF.fd",
)


def find_uefi() -> Path:
    """The UEFI firmware for QEMU."""
    chosen = os.environ.get("VIPERVISOR_OVMF")
    for name in (chosen,) if chosen else _UEFI:
        if Path(name).is_file():
            return Path(name)
    if chosen:
        raise HostError(f"VIPERVISOR_OVMF says {chosen}, which is no file")
    raise HostError(
        "there is no UEFI firmware for QEMU here: sudo apt-get install ovmf, or set "
        "VIPERVISOR_OVMF to an OVMF.fd"
    )


class Qmp:
    """A QMP connection: asyncio on a thread of its own, plain calls outside."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._client = QMPClient("vipervisor")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()
        self.shutdown_reason: str | None = None
        self._over = threading.Event()

    def _call(self, work: Coroutine[Any, Any, T], timeout: float = _QMP_LIMIT) -> T:
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, timeout), self._loop)
        return future.result()

    def connect(self) -> None:
        self._call(self._connect())

    async def _connect(self) -> None:
        await self._client.connect(self._sock)
        self._watch = asyncio.ensure_future(self._watch_events())

    async def _watch_events(self) -> None:
        """Until the connection is lost, and what came before that is seen."""
        with self._client.listener(("SHUTDOWN",)) as listener:
            lost = asyncio.ensure_future(self._client.runstate_changed())
            while True:
                event = asyncio.ensure_future(listener.get())
                await asyncio.wait({lost, event}, return_when=asyncio.FIRST_COMPLETED)
                if not event.done():
                    event.cancel()  # the loop's end collects it
                    break
                self._note(event.result())
            while not listener.empty():
                self._note(await listener.get())
        self._over.set()

    def _note(self, event: Message) -> None:
        data = event.get("data")
        if isinstance(data, dict):
            self.shutdown_reason = str(data.get("reason"))

    def last_reason(self) -> str | None:
        """The reason of the SHUTDOWN event, once QEMU has closed the connection."""
        self._over.wait(_DRAIN)
        return self.shutdown_reason

    def execute(self, command: str, timeout: float = _QMP_LIMIT, **arguments: Any) -> Any:
        return self._call(self._client.execute(command, arguments or None), timeout)

    def close(self) -> None:
        if self._thread.is_alive():
            with contextlib.suppress(Exception):
                self._call(self._disconnect(), 5)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
        if not self._thread.is_alive():
            self._loop.close()
        self._sock.close()

    async def _disconnect(self) -> None:
        with contextlib.suppress(QMPError, EOFError):
            await self._client.disconnect()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class Qemu(Emulator):
    """qemu-system-x86_64, started paused, every line on a socket pair: no file, no port."""

    name = "QEMU"

    def __init__(self, setup: Setup, folder: Path) -> None:
        super().__init__(setup, folder)
        self.program = paths.program("VIPERVISOR_QEMU", ("qemu-system-x86_64",), "QEMU")
        self.qmp: Qmp | None = None

    def command(self, kernel: Path, lines: dict[str, int]) -> list[str]:
        """The command line; `lines` are the file descriptors of com1, com2 and qmp."""
        setup = self.setup
        cpu = setup.model or ("host" if setup.accel == "kvm" else TCG_MODEL)
        words = [str(self.program), "-name", "vipervisor", "-nodefaults", "-no-user-config"]
        words += ["-machine", "pc", "-accel", setup.accel, "-cpu", cpu]
        words += ["-smp", str(setup.cpus), "-m", f"{setup.megabytes}M"]
        words += ["-display", "none", "-S", "-no-reboot"]
        if setup.icount:
            words += ["-icount", "shift=0,sleep=off", "-rtc", "clock=vm"]
        for line in ("com1", "com2", "qmp"):
            words += ["-chardev", f"socket,id={line},fd={lines[line]}"]
        words += ["-serial", "chardev:com1", "-serial", "chardev:com2"]
        words += ["-mon", "chardev=qmp,mode=control"]
        return words + self._boot_words(kernel) + list(setup.extra)

    def _boot_words(self, kernel: Path) -> list[str]:
        setup = self.setup
        if setup.image is None:
            words = ["-kernel", str(kernel)]
            if setup.cmdline:
                words += ["-append", setup.cmdline]
            if setup.modules:
                words += ["-initrd", qemu_modules(setup.modules)]
            return words
        words = ["-bios", str(find_uefi())] if setup.firmware == "uefi" else []
        file = str(setup.image.absolute()).replace(",", ",,")
        drive = f"if=none,id=image,format=raw,readonly=on,file={file}"
        if setup.medium == "usb":
            device = ["-device", "qemu-xhci", "-device", "usb-storage,drive=image,bootindex=0"]
        elif setup.medium == "disk":
            drive = drive.replace("readonly=on", "snapshot=on")  # an IDE disk cannot be read-only
            device = ["-device", "ide-hd,bus=ide.0,drive=image,bootindex=0"]
        else:
            device = ["-device", "ide-cd,drive=image,bootindex=0"]
        return [*words, "-drive", drive, *device]

    def describe(self) -> str:
        kernel = paths.built("vipervisor.elf") if self.setup.image is None else Path()
        return shlex.join(self.command(kernel, {"com1": 3, "com2": 4, "qmp": 5}))

    def start(self) -> None:
        kernel = paths.built("vipervisor.elf") if self.setup.image is None else Path()
        pairs = {name: socket.socketpair() for name in ("com1", "com2", "qmp")}
        ours = {name: pair[0] for name, pair in pairs.items()}
        theirs = [pair[1] for pair in pairs.values()]
        self.prompt, self.channel = ours["com1"], ours["com2"]
        try:
            fds = {name: pair[1].fileno() for name, pair in pairs.items()}
            self.spawn(self.command(kernel, fds), [sock.fileno() for sock in theirs])
        finally:
            for sock in theirs:
                sock.close()
        self.qmp = Qmp(ours["qmp"])
        self._ask(self.qmp.connect)

    def resume(self) -> None:
        assert self.qmp is not None
        self._ask(lambda: self.qmp and self.qmp.execute("cont"))

    def _ask(self, call: Any) -> None:
        try:
            call()
        except (QMPError, EOFError, OSError, asyncio.TimeoutError) as error:
            assert self.process is not None
            with contextlib.suppress(Exception):
                self.process.wait(2)
            if self.process.poll() is not None:
                raise self.died("before the machine was powered on") from None
            raise EmulatorError(f"QEMU does not answer on QMP: {error!r}") from None

    def why_ended(self) -> str:
        reason = self.qmp.last_reason() if self.qmp else None
        if reason == "guest-shutdown":
            return "the monitor powered the machine off"
        if reason == "guest-reset":
            return "the machine reset itself (a reboot, or a triple fault of the monitor)"
        if reason == "host-qmp-quit":
            return "it was asked to quit"
        return f"QEMU's reason was {reason}" if reason else str(self.died())

    def kill(self) -> None:
        super().kill()
        if self.qmp is not None:
            self.qmp.close()

    def is_noise(self, line: str) -> bool:
        return "TCG doesn't support requested feature" in line
