"""`hv run`: one guest from any image, its console here, its status as this command's."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from .. import accel as accelerators
from .. import assemble, partition, registers, signals, terminal
from ..channel import End, Frame, Type, describe_crash
from ..errors import EmulatorError, HostError, UsageError, WaitTimeout
from ..guest_command import GuestCommand
from ..hub import Hub
from ..image import readable
from ..link import Console
from ..machine import Machine
from ..progress import Progress
from ..registry import Claim
from ..transcript import PlainText
from . import common, hold
from .hold import Hold

# The statuses of `hv run` above the guest's own 0 to 119.
LARGEST_GUEST_STATUS = 119
RESET = 121
ENDED_FIRST = 123
TIMED_OUT = 124
HOST_FAILURE = 125
CRASHED = 126

_SCRIPT = "script.py"
_MATCH_BACK = 64 * 1024
_END_OF_FILE = b"\x04"


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        help="boot one guest from an image",
        usage="hv run IMAGE|-e CODE [OPTIONS] [-- COMMAND...]",
        description="Boot one guest: its console on stdin and stdout, its status as the "
        "command's (see docs/cli.md). -e makes a guest of a line of assembly. What follows -- is "
        "typed at the guest's shell once that waits for a line: only its output is shown, and its "
        "status is the command's.",
    )
    parser.add_argument("image", type=common.path, metavar="IMAGE", nargs="?")
    parser.add_argument("-e", dest="code", metavar="CODE", help="assembly in place of an image")
    parser.add_argument(
        "--mode", type=int, choices=assemble.MODES, help="the mode that -e starts in (64)"
    )
    parser.add_argument("--regs", action="store_true", help="registers and exits at the end")
    add_guest_options(parser)
    common.add_machine_options(parser, both=True)
    parser.add_argument("--until", type=common.regex, metavar="REGEX", help="status 0 on a match")
    parser.add_argument("--timeout", type=common.seconds, metavar="S", help="status 124 after it")
    parser.add_argument("--reboot", action="store_true", help="let the guest reset itself")
    parser.add_argument("--dry-run", action="store_true", help="print the emulator's command line")
    parser.add_argument(
        "--json", action="store_true", help="how it ended, as JSON: the last line on stderr"
    )
    parser.add_argument("--stats", action="store_true", help="exit counts on stderr at the end")
    parser.set_defaults(function=main, guest_command=None)


def add_guest_options(parser: argparse.ArgumentParser) -> None:
    """What describes the guest: `plan` reads it."""
    parser.add_argument("--kind", help="what the image is, when it cannot be detected")
    parser.add_argument("--cmdline", default="", help="the guest's command line")
    parser.add_argument("--initrd", action="append", type=common.path, default=[], metavar="FILE")
    parser.add_argument("--module", action="append", type=common.path, default=[], metavar="FILE")
    parser.add_argument(
        "--symbols", type=common.path, metavar="FILE",
        help="names of addresses: System.map, ELF, kernel",
    )
    parser.add_argument("--device", action="append", default=[], metavar="NAME")
    parser.add_argument(
        "--hide", action="append", default=[], metavar="FEATURE",
        help="a CPUID feature that the guest does not see; may be given several times",
    )
    parser.add_argument(
        "--no-paravirt", action="store_true", help="show the guest no KVM-compatible clock"
    )
    parser.add_argument("--cpus", type=common.positive, default=1, metavar="N")
    parser.add_argument("--memory", default="256M", metavar="SIZE")
    parser.add_argument(
        "--script", type=common.path, metavar="FILE.py", help="run on the monitor first"
    )


def plan(options: argparse.Namespace, accel: str) -> tuple[dict[str, Any], dict[str, Path]]:
    """The partition of one guest that the options describe, and its boot modules."""
    for path in [options.image, *options.initrd, *options.module]:
        readable(path)
    loaded = partition.single_guest(
        options.image,
        kind=options.kind,
        cmdline=options.cmdline,
        initrd=options.initrd,
        modules=options.module,
        cpus=options.cpus,
        memory=options.memory,
        devices=options.device,
        hide=options.hide,
        symbols_of=options.symbols,
        paravirt=not options.no_paravirt,
        reboot=options.reboot,
        # Bochs runs its CPUs in turn: a second one for a single guest CPU only costs time.
        control=accel == "bochs",
        name=guest_name(options.image),
    )
    if loaded.description is None:
        raise UsageError(loaded.said)
    description, files = dict(loaded.description), dict(loaded.modules)
    if options.script:
        files[_SCRIPT] = readable(options.script, "script")
        description["run"] = {**description.get("run", {}), "script": _SCRIPT}
    return description, files


def guest_name(image: Path) -> str:
    """A guest's name from its image's: one that the rules take."""
    name = re.sub(r"[^a-z0-9_]+", "_", image.name.split(".")[0].lower()).strip("_")[:24]
    names = partition.rules.names
    taken = (*names.RESERVED, *names.KEYWORDS, *names.BUILTINS)
    if not name or not name[0].isalpha() or name in taken:
        return f"guest_{name}".rstrip("_")
    return name


class Until:
    """Looks for the pattern in the console's text, whatever its chunks are."""

    def __init__(self, pattern: re.Pattern[str] | None) -> None:
        self._pattern = pattern
        self._plain = PlainText()
        self._text = ""
        self.matched = False

    def feed(self, data: bytes) -> None:
        if self._pattern is None or self.matched:
            return
        self._text = self._text[-_MATCH_BACK:] + self._plain.feed(data)
        self.matched = bool(self._pattern.search(self._text))


def status_of(end: End, until: bool) -> int:
    """The command's status for the guest's end record."""
    if end.state == "crashed" or end.reason == "crash":
        return CRASHED
    if end.reason == "reset":
        return RESET
    if end.reason == "stopped":
        return HOST_FAILURE
    if until:
        return ENDED_FIRST
    if end.reason == "exit":
        return min(end.status or 0, LARGEST_GUEST_STATUS)
    return 0


def report(end: End, until: re.Pattern[str] | None, command: bool = False) -> None:
    """On stderr what the status alone does not say."""
    if end.state == "crashed" or end.reason == "crash":
        terminal.say(f"hv run: {end.guest} crashed")
        terminal.say(describe_crash(end.crash or {}))
    elif end.reason == "reset":
        terminal.say(f"hv run: {end.guest} reset itself (--reboot would let it)")
    elif end.reason == "stopped":
        terminal.say(f"hv run: {end.guest} was stopped by the monitor")
    elif until is not None:
        terminal.say(f"hv run: {end.describe()} before /{until.pattern}/ was seen")
    elif command:
        terminal.say(f"hv run: {end.describe()} before the command had ended")
    elif end.reason == "exit" and (end.status or 0) > LARGEST_GUEST_STATUS:
        terminal.say(f"hv run: the guest's status is {end.status} ({end.status:#x})")


class Session:
    """One run, from power-on to the verdict."""

    def __init__(self, options: argparse.Namespace, machine: Machine, guest: str) -> None:
        self._options = options
        self._machine = machine
        self._guest = guest
        self._until = Until(options.until)
        kind = machine.partition["guests"][0].get("kind")
        words, person = options.guest_command, terminal.stdin_is_terminal()
        self._hold = Hold(kind, person, words is not None)
        self._broken = False
        self.ended: End | None = None
        limit = options.timeout
        self._end: float | None = None if limit is None else time.monotonic() + limit
        self.keys = terminal.Keys()
        self._command = None if words is None else GuestCommand(words, self._show, person)
        self.registers: dict[str, int] = {}
        self.exits: dict[str, int] = {}

    def _output(self, data: bytes) -> None:
        self._until.feed(data)
        self._hold.feed(data)
        if self._command is None:
            self._show(data)
        else:
            self._command.feed(data)
            if self._command.began:
                self._hold.release()

    def _show(self, data: bytes) -> None:
        if self._command is not None and not terminal.stdin_is_terminal():
            data = data.replace(b"\r\n", b"\n")
        try:
            terminal.write_out(data)
        except OSError:
            self._broken = True  # nobody reads our stdout any more

    def left(self, usual: float) -> float:
        """Seconds for a wait that usually takes no more than `usual`."""
        if self._end is None:
            return usual
        return max(0.0, min(usual, self._end - time.monotonic()))

    def boot(self) -> Console:
        """Power on, have the console, type stdin at it."""
        machine = self._machine
        machine.power_on()
        machine.boot_timeout = self.left(machine.boot_timeout)
        with Progress("hv run: booting"):
            machine.wait_monitor()
            console = machine.console(self._guest, self.left(machine.boot_timeout))
        console.listen(self._output)
        threading.Thread(target=self._type, args=(console,), name="stdin", daemon=True).start()
        return console

    def _type(self, console: Console) -> None:
        watched, line_end = False, True
        for data in self.keys:
            if self._hold.watches and not watched:
                watched = True
                self._watch_port()
            if not self._hold.wait():
                return
            line_end = data.endswith(b"\n")
            if not self._write(console, data):
                return
        if self._command is not None and self.keys.ended and self._hold.wait():
            # A terminal's end of file behind a line; within one the first only ends that.
            self._write(console, _END_OF_FILE if line_end else 2 * _END_OF_FILE)

    def _write(self, console: Console, data: bytes) -> bool:
        """False when nobody is there any more."""
        try:
            while data:
                console.write(data[:512])
                data = data[512:]
        except WaitTimeout:
            pass  # the guest does not read: drop what it left
        except HostError:
            return False
        return True

    def _watch_port(self) -> None:
        """Have the hold told when the guest opens its serial port."""
        machine = self._machine

        def hear(frame: Frame) -> None:
            if frame.type == Type.EVENT and f'"{hold.LISTENING}"'.encode() in frame.payload:
                self._hold.listening()

        machine.link.listen(hear)
        code = hold.WATCH.format(event=hold.LISTENING, type=int(Type.EVENT), name=self._guest)
        try:
            machine.exec(code, machine.boot_timeout)
        except HostError:
            self._hold.listening()  # the output alone has to tell

    def stop(self) -> None:
        """No more input."""
        self.keys.stop()
        self._hold.give_up()

    def verdict(self, console: Console) -> int:
        """Wait for what decides the status."""
        machine, options = self._machine, self._options
        while True:
            decided = machine.bell.wait(
                self._look, self.left(365 * 86400.0), f"the guest {self._guest} to end"
            )
            if decided == "broken":
                raise BrokenPipeError
            if decided == "match":
                return 0
            if decided == "ready":
                self._start_command(console)
                continue
            if decided == "done":
                return self._command_status()
            end = machine.wait_end(self._guest, 1)
            if end.reason == "reset" and options.reboot:
                continue
            self.ended = end
            self.stats(end.exits)
            self.look(end.exits)
            report(end, options.until, self._command is not None)
            waited = options.until is not None or self._command is not None
            return status_of(end, waited)

    def _start_command(self, console: Console) -> None:
        assert self._command is not None
        self._command.typed = True
        console.write(self._command.line)

    def _command_status(self) -> int:
        assert self._command is not None and self._command.status is not None
        status = self._command.status
        if status > LARGEST_GUEST_STATUS:
            terminal.say(f"hv run: the command's status is {status}")
        return min(status, LARGEST_GUEST_STATUS)

    def _look(self) -> str | None:
        if self._broken:
            return "broken"
        if self._until.matched:
            return "match"
        if self._command is not None:
            if self._command.status is not None:
                return "done"
            if self._command.ready and not self._command.typed:
                return "ready"
        return "end" if self._machine.has_end(self._guest) else None

    @property
    def matched(self) -> bool:
        """True when --until or the command decided, and the guest still ran."""
        return self._until.matched or (
            self._command is not None and self._command.status is not None
        )

    def stats(self, exits: dict[str, int] | None) -> None:
        if self._options.stats and exits is not None:
            terminal.say(common.exits_table(exits))

    def tell(self, status: int) -> None:
        """`--json`: the status and the end record."""
        if self._options.json:
            end = self.ended.json() if self.ended is not None else None
            terminal.say(json.dumps({"status": status, "guest": self._guest, "end": end}))

    def look(self, exits: dict[str, int] | None) -> None:
        """Registers and counts for --regs, as they are now."""
        if self._options.regs:
            with contextlib.suppress(HostError, ValueError):
                self.registers = registers.read(self._machine, self._guest)
            self.exits = exits or {}

    def live_exits(self) -> dict[str, int] | None:
        """The counts of a guest that still runs, asked at the prompt's back door."""
        if not (self._options.stats or self._options.regs):
            return None
        number = self._machine.guests()[self._guest].id
        code = f"import _hv, json; print(json.dumps(_hv.guest_exits({number})))"
        try:
            return {str(k): int(v) for k, v in json.loads(self._machine.exec(code, 10)).items()}
        except (HostError, ValueError):
            return None


def main(options: argparse.Namespace) -> int:
    if (options.image is None) == (options.code is None):
        raise UsageError(
            "the following arguments are required: IMAGE, or -e CODE"
            if options.code is None
            else "IMAGE and -e CODE both say what to run: give one of them"
        )
    if options.guest_command is not None and options.until is not None:
        raise UsageError("--until and -- COMMAND both say when the run ends: give one of them")
    if options.code is None:
        if options.mode is not None:
            raise UsageError("--mode is for -e CODE: an image knows its own")
        if options.backend == common.BOTH:
            raise UsageError("--backend both is for -e CODE: `hv diff IMAGE` compares the two")
        return run_one(options)[0]
    if options.kind is not None:
        raise UsageError("--kind is for an image: -e CODE takes --mode 16, 32 or 64")
    with tempfile.TemporaryDirectory(prefix="vipervisor-code-") as folder:
        options.image, options.kind = assemble.assemble(
            options.code, options.mode or 64, Path(folder)
        )
        if options.backend != common.BOTH:
            return run_one(options)[0]
        return run_both(options)


def run_both(options: argparse.Namespace) -> int:
    """The same code on each back end; the worse of the two statuses."""
    statuses, seen = [], []
    for backend in accelerators.BACKENDS:
        print(f"== {backend}", flush=True)
        options.backend = backend
        status, session = run_one(options)
        statuses.append(status)
        seen.append(session.registers if session else {})
    if options.regs and all(seen):
        names = [name for name in seen[0] if seen[0][name] != seen[1][name]]
        print(f"== {'different: ' + ' '.join(names) if names else 'the same on both'}")
    return max(statuses)


def run_one(options: argparse.Namespace) -> tuple[int, Session | None]:
    """One run; its status, and the session that knows the registers."""
    backend, accel = accelerators.choose(options.backend, options.accel)
    description, files = plan(options, accel)
    guest = str(description["guests"][0]["name"])
    machine = Machine(description, files, backend=backend, accel=accel)
    if options.dry_run:
        print(machine.describe_command())
        return 0, None
    claim: Claim | None = None
    hub: Hub | None = None
    session = Session(options, machine, guest)
    try:
        with signals.deferred():
            claim = Claim(options.machine, guest)
        with terminal.raw(keep_signals=True):
            try:
                console = session.boot()
                hub = Hub(machine.link, machine.prompt, claim.folder)
                claim.write_info(describe(machine, hub, str(options.image)))
                status = session.verdict(console)
                if session.matched:
                    exits = session.live_exits()
                    session.stats(exits)
                    session.look(exits)
            except (WaitTimeout, EmulatorError) as error:
                if session.left(1) > 0:
                    raise HostError(str(error)) from None
                detail = "" if hub else f" ({error})"
                terminal.say(f"hv run: no end within {options.timeout:g} s{detail}")
                exits = session.live_exits() if hub else None
                session.stats(exits)
                session.look(exits)
                status = TIMED_OUT
        if options.regs and session.registers:
            print(registers.text(session.registers))
            print(common.exits_table(session.exits), flush=True)
        session.tell(status)
        return status, session
    finally:
        with signals.deferred():
            session.stop()
            if hub is not None:
                hub.close()
            machine.close()
            if claim is not None:
                claim.release()


def describe(machine: Machine, hub: Hub, partition: str) -> dict[str, Any]:
    """What `hv ps` shows of a machine, and where its prompt is."""
    return {
        "backend": machine.backend,
        "accel": machine.accel,
        "cpus": machine.cpus,
        "memory": machine.memory,
        "partition": partition,
        "pty": hub.pty.path,
        "emulator_pid": machine.emulator.pid,
        "started": int(time.time()),
    }
