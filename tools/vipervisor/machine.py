"""One machine: an emulator that runs the monitor, with its prompt, its channel and its
guests. The same calls on QEMU and Bochs, synchronous, every wait bounded."""

from __future__ import annotations

import atexit
import contextlib
import json
import re
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from . import accel as accelerators
from . import iso, partition, paths, signals
from .bochs import Bochs
from .channel import End, Frame, GuestInfo, Hello, Type
from .emulator import Emulator, Setup
from .errors import EmulatorError, HostError, UsageError, WaitTimeout
from .image import Module, readable
from .link import Console, Link, Reader, close_socket
from .qemu import Qemu
from .scratch import Scratch
from .transcript import Transcript
from .waiting import Bell

MIB = 1 << 20
MEDIA = ("cd", "usb", "disk")
FIRMWARES = ("bios", "uefi")
MONITOR_MEMORY = 64 * MIB  # what a machine needs beside its guests' memory
# Seconds from power-on to the monitor's first word, ten times what a busy host needs.
BOOT_LIMIT = {"tcg": 90.0, "kvm": 60.0, "bochs": 180.0}
_PANIC = re.compile(r"^vipervisor: panic: (.*)\n", re.MULTILINE)
_PANIC_REACH = 4096
_PROMPT_REACH = 16
_PROMPT_GRACE = 20.0  # seconds from the prompt to the first word on the channel
_DRAIN = 5.0  # seconds for the lines to run dry once the emulator has ended


def machine_size(partition: Mapping[str, Any]) -> tuple[int, int]:
    """CPUs and bytes of memory that a partition's machine needs."""
    machine = partition.get("machine") or {}
    guests = partition.get("guests") or []
    memory = sum(int(g.get("memory") or 0) for g in guests) + MONITOR_MEMORY
    counted = sum(g["cpus"] for g in guests if isinstance(g.get("cpus"), int))
    listed = {c for g in guests if isinstance(g.get("cpus"), list) for c in g["cpus"]}
    cpus = max([1 + counted + len(listed - {0}), *(c + 1 for c in listed)])
    return int(machine.get("cpus") or cpus), max(int(machine.get("memory") or 0), memory)


class Machine:
    """A booted machine; use it as a context manager.

    `partition` is a description in the format of partition.json, `files` says which host
    file each boot module it names is. Start it from a thread that outlives it: the
    emulator dies with the thread that started it.
    """

    def __init__(
        self,
        partition: Mapping[str, Any],
        files: Mapping[str, Path | str] | None = None,
        *,
        backend: str | None = None,
        accel: str | None = None,
        cpus: int | None = None,
        memory: int | None = None,
        model: str | None = None,
        icount: bool = False,
        cmdline: str = "",
        boot_timeout: float | None = None,
        logs: Path | None = None,
        qemu_args: Sequence[str] = (),
        image: Path | str | None = None,
        medium: str | None = None,
        firmware: str = "bios",
    ) -> None:
        self.partition = dict(partition)
        self.backend, self.accel = accelerators.choose(backend, accel)
        if icount and self.accel != "tcg":
            raise UsageError("icount is QEMU TCG's (Bochs counts instructions anyway)")
        needs = machine_size(partition)
        self.cpus = cpus or needs[0]
        self.memory = -(-(memory or needs[1]) // (32 * MIB)) * 32 * MIB
        self.files = {name: Path(path) for name, path in (files or {}).items()}
        for name, path in self.files.items():
            readable(path.absolute(), f"module {name}")
        self.boot_timeout = boot_timeout or BOOT_LIMIT[self.accel]
        self._setup = Setup(
            cpus=self.cpus,
            memory=self.memory,
            cmdline=cmdline,
            accel=self.accel,
            backend=self.backend,
            model=model,
            icount=icount,
            extra=tuple(qemu_args),
            image=None if image is None else Path(image),
            medium=medium or "cd",
            firmware=firmware,
        )
        self._made_image = image is None and (medium is not None or firmware != "bios")
        self._check_medium()
        self._logs = logs
        self._open_logs: list[BinaryIO] = []
        self._console_logs: dict[str, BinaryIO] = {}
        self._scratch: Scratch | None = None
        self._folder: Path | None = None
        self._emulator: Emulator | None = None
        self._link: Link | None = None
        self._prompt: Transcript | None = None
        self._prompt_reader: Reader | None = None
        self._watcher: threading.Thread | None = None
        self._ends_seen: dict[str, int] = {}
        self._closing = False
        self.bell = Bell()
        self.ended: str | None = None  # why the machine ended, once it has

    def _check_medium(self) -> None:
        setup = self._setup
        if setup.medium not in MEDIA:
            raise UsageError(f"there is no medium {setup.medium} (there are: {', '.join(MEDIA)})")
        if setup.firmware not in FIRMWARES:
            known = ", ".join(FIRMWARES)
            raise UsageError(f"there is no firmware {setup.firmware} (there are: {known})")
        if self.accel == "bochs" and (setup.firmware == "uefi" or setup.medium == "usb"):
            raise UsageError("Bochs boots by BIOS from a CD or a disk: use QEMU for UEFI and USB")
        if setup.image is not None:
            readable(setup.image, "image")

    @classmethod
    def load(cls, file: Path | str, **options: Any) -> Machine:
        """The machine of a partition file, or of an image or a folder that `hv build` made;
        not powered on yet. `options` are this class's own."""
        from . import build  # it needs this module

        path = Path(file)
        if build.is_image(path):
            opened = build.open_image(path)
            options = {"medium": opened.medium, **options}
            return cls(opened.description, opened.files, image=opened.image, **options)
        loaded = partition.load(path)
        if loaded.description is None:
            raise UsageError(loaded.said)
        return cls(loaded.description, loaded.files, **options)

    # --- life ---

    def __enter__(self) -> Machine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> Hello:
        """Power on and wait until the monitor's Python is up."""
        self.power_on()
        try:
            return self.wait_monitor()
        except BaseException:
            self.close()
            raise

    def power_on(self) -> None:
        """Start the emulator with every line connected, then let it run."""
        if self._folder is not None:
            raise UsageError("a machine is started once")
        atexit.register(self.close)
        with signals.deferred():
            self._scratch = Scratch()
        self._folder = self._scratch.path
        try:
            self._emulator = self._prepare(self._folder)
            self._emulator.start()
            self._connect(self._emulator)
            self._emulator.resume()
        except BaseException:
            self.close()
            raise

    def _prepare(self, folder: Path) -> Emulator:
        if self._setup.image is None:
            self._setup.modules = self._modules(folder)
        if self._made_image:
            image = folder / "image.iso"
            kernel = paths.built("vipervisor.elf")
            modules = [Module(m.name, folder / m.path) for m in self._setup.modules]
            iso.write_iso(image, monitor=kernel, modules=modules, cmdline=self._setup.cmdline)
            self._setup.image = image
        kind = Bochs if self.accel == "bochs" else Qemu
        return kind(self._setup, folder)

    def describe_command(self) -> str:
        """What `power_on` would run, as text; nothing is started."""
        scratch = Scratch()
        try:
            return self._prepare(scratch.path).describe()
        finally:
            scratch.remove()

    def _modules(self, folder: Path) -> list[Module]:
        """Every module as a plain name in the machine's folder: QEMU cuts a path at its
        first space, and a machine's files must not move under it."""
        description = folder / "partition"
        description.write_text(json.dumps(self.partition))
        modules = [Module("partition.json", description)]
        for number, (name, path) in enumerate(self.files.items()):
            link = folder / f"module{number}"
            link.symlink_to(path.absolute())
            modules.append(Module(name, link))
        if self.accel != "bochs":
            modules = [Module(m.name, Path(m.path.name), m.args) for m in modules]
        return modules

    def _log(self, name: str) -> BinaryIO | None:
        if self._logs is None:
            return None
        self._logs.mkdir(parents=True, exist_ok=True)
        log = (self._logs / name).open("wb", buffering=0)
        self._open_logs.append(log)
        return log

    def _connect(self, emulator: Emulator) -> None:
        assert emulator.prompt is not None and emulator.channel is not None
        prompt_socket = emulator.prompt
        prompt_socket.settimeout(15)
        self._prompt = Transcript(self.bell, "the prompt", prompt_socket.sendall)
        log = self._log("prompt.txt")
        if log:
            self._prompt.listen(lambda data: void(log.write(data)))
        self._prompt_reader = Reader(prompt_socket, self._hear, "prompt")
        self._prompt_reader.start()
        self._link = Link(emulator.channel, self.bell, log=self._log("channel.bin"))
        if self._logs is not None:
            self._link.listen(self._log_console)
        self._watcher = threading.Thread(target=self._watch, name="emulator", daemon=True)
        self._watcher.start()

    def _hear(self, data: bytes) -> None:
        """Take what COM1 says; a panic of the core ends every wait, for nothing comes after."""
        self.prompt.feed(data)
        panic = _PANIC.search(self.prompt.text[-_PANIC_REACH:])
        if panic and self.ended is None:
            with self.bell:
                self.ended = f"the monitor stopped: {panic.group(1)}"
            self.bell.fail(EmulatorError(self.ended))

    def _watch(self) -> None:
        """Take the emulator's end, after all it said has been read."""
        emulator = self._emulator
        assert emulator is not None and emulator.process is not None
        emulator.process.wait()
        if self._prompt_reader is not None and self._link is not None:
            self._prompt_reader.join(_DRAIN)
            self._link.reader.join(_DRAIN)
        why = "closed" if self._closing else emulator.why_ended()
        with self.bell:
            self.ended = self.ended or why
        self.bell.fail(EmulatorError(f"the machine has ended: {why}"))

    def wait_monitor(self) -> Hello:
        """Wait for the monitor's first word on the channel."""
        link = self.link
        try:
            # With a prompt but without a word on the channel, Python failed on its way.
            self.bell.wait(
                lambda: bool(link.hello) or ">>> " in self.prompt.text[-_PROMPT_REACH:],
                self.boot_timeout,
                "the monitor's first word",
            )
            return link.wait_hello(min(self.boot_timeout, _PROMPT_GRACE))
        except (WaitTimeout, EmulatorError) as error:
            said = self.prompt.tail()
            place = f"; the last lines on COM1:\n{said}" if said.strip() else "; COM1 said nothing"
            tail = self.emulator.stderr_tail()
            place += f"\nand {self.emulator.name} said:\n{tail}" if tail else ""
            raise EmulatorError(f"the monitor did not come up: {error}{place}") from None

    def close(self) -> None:
        """End the machine now, whatever it does. Nothing is left behind."""
        if self._closing:
            return
        self._closing = True
        atexit.unregister(self.close)
        if self._emulator is not None:
            self._emulator.kill()
        if self._link is not None:
            self._link.close()
        if self._emulator is not None:
            for sock in (self._emulator.prompt, self._emulator.channel):
                if sock is not None:
                    close_socket(sock)
        if self._watcher is not None:
            self._watcher.join(2 * _DRAIN)
        self._keep_logs()
        if self._scratch is not None:
            self._scratch.remove()

    def _log_console(self, frame: Frame) -> None:
        """What a guest says, in its log at once: `tail -f` shows it."""
        if frame.type != Type.CONSOLE_OUT or self._link is None:
            return
        name = f"console-{self._link.console(frame.stream).guest.name}.txt"
        if name not in self._console_logs:
            log = self._log(name)
            if log is None:
                return
            self._console_logs[name] = log
        with contextlib.suppress(OSError, ValueError):  # a full disk, or closed since
            self._console_logs[name].write(frame.payload)

    def _keep_logs(self) -> None:
        for log in self._open_logs:
            log.close()
        if self._logs is None or self._folder is None:
            return
        self._logs.mkdir(parents=True, exist_ok=True)
        if self._link is not None:
            for console in self._link.consoles.values():
                name = f"console-{console.guest.name}.txt"
                (self._logs / name).write_bytes(console.raw)
            ends = [end.json() for end in self._link.ends]
            (self._logs / "events.json").write_text(json.dumps(ends, indent=1))
        for name in ("stderr", "bochs.log", "bochsrc", "partition"):
            with contextlib.suppress(OSError):
                shutil.copyfile(self._folder / name, self._logs / name)

    def quit(self, timeout: float = 30) -> str:
        """Have the monitor power off and wait for it; returns why the machine ended."""
        if self.ended is None:
            with contextlib.suppress(EmulatorError):
                self.link.quit()
            self.wait_off(timeout)
        return self.ended or "closed"

    def wait_off(self, timeout: float = 60) -> str:
        """Wait until the machine has ended by itself; returns why."""
        try:
            return self.bell.wait(lambda: self.ended, timeout, "the machine to power off")
        except EmulatorError:
            return self.ended or "closed"

    # --- lines ---

    @property
    def link(self) -> Link:
        """The channel."""
        if self._link is None:
            raise UsageError("the machine is not powered on")
        return self._link

    @property
    def prompt(self) -> Transcript:
        """COM1: the prompt."""
        if self._prompt is None:
            raise UsageError("the machine is not powered on")
        return self._prompt

    @property
    def hello(self) -> Hello:
        """What the monitor said about itself."""
        if self.link.hello is None:
            raise UsageError("the monitor is not up yet")
        return self.link.hello

    @property
    def emulator(self) -> Emulator:
        if self._emulator is None:
            raise UsageError("the machine is not powered on")
        return self._emulator

    def exec(self, code: str, timeout: float = 60) -> str:
        """Run Python on the monitor; returns what it printed."""
        return self.link.exec(code, timeout)

    def guests(self) -> dict[str, GuestInfo]:
        """The guests the monitor has told of, by name."""
        with self.bell:
            return {guest.name: guest for guest in self.link.guests.values()}

    def console(self, guest: str, timeout: float | None = None) -> Console:
        """A guest's console; waits until the monitor has made the guest. One that is not in
        the partition must be there, unless `timeout` says how long it may take."""
        if timeout is None and all(g["name"] != guest for g in self.partition["guests"]):
            self.wait_started()
            self.exec("pass")  # all that the monitor has told so far is here then
            return self.link.console(guest)
        return self.link.console(self.link.wait_guest(guest, timeout or 60).id)

    def wait_started(self, timeout: float = 60) -> None:
        """Wait until the monitor says that it started the partition."""

        def look() -> bool:
            self.link.check_started()
            return self.link.booted

        self.bell.wait(look, timeout, "the monitor to start the partition")

    def wait_state(self, guest: str, *states: str, timeout: float = 60) -> str:
        """Wait until a guest is in one of `states`."""

        def look() -> str | None:
            self.link.check_started()
            info = self.guests().get(guest)
            return info.state if info and info.state in states else None

        wanted = " or ".join(states)
        return self.bell.wait(look, timeout, f"the guest {guest} to be {wanted}")

    def has_end(self, guest: str) -> bool:
        """True when `wait_end` would return at once."""
        self.link.check_started()
        return any(
            end.guest == guest and end.final
            for end in self.link.ends[self._ends_seen.get(guest, 0) :]
        )

    def wait_end(self, guest: str, timeout: float = 60) -> End:
        """Wait for a guest's next end record, and for what the guest said before it; each
        is returned once."""
        end = self.link.wait_end(guest, timeout, self._ends_seen.get(guest, 0))
        self._ends_seen[guest] = self.link.ends.index(end, self._ends_seen.get(guest, 0)) + 1
        self.settle(guest)
        return end

    def settle(self, guest: str) -> None:
        """Have all that a guest which has ended said before."""
        if self.link.console(guest).raw:
            return  # it goes before the end record
        # It may have ended before the monitor read that its console is wanted. A wanted
        # console goes before every answer, so an answer means that it is here.
        with contextlib.suppress(HostError):
            self.link.exec("pass", _DRAIN)


def void(_: object) -> None:
    """For a listener that has nothing to give back."""
