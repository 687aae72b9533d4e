"""`hv boot`: a partition in an emulator, this terminal at the monitor's prompt."""

from __future__ import annotations

import argparse
import threading
from typing import Any

from .. import build as builder
from .. import signals, terminal
from ..errors import EmulatorError, HostError, UsageError
from ..hub import Hub, Outlet
from ..machine import FIRMWARES, MEDIA, Machine
from ..progress import Progress
from ..registry import Claim
from . import common
from .run import describe

_FIRST_LINES = 3
_POWERED_OFF = ("powered", "asked to quit", "closed")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "boot",
        help="boot a partition and be at its prompt",
        description="Boot a partition, or an image that `hv build` made. The terminal is "
        "the prompt: exit() powers off, Ctrl-] closes. Without a terminal it shows that guests "
        "and prompt are up, and powers off.",
    )
    parser.add_argument("file", type=common.path, metavar="FILE")
    common.add_machine_options(parser)
    parser.add_argument("--timeout", type=common.seconds, default=None, metavar="S")
    parser.add_argument("--medium", choices=MEDIA, help="boot by GRUB from an image on this")
    parser.add_argument(
        "--firmware", choices=FIRMWARES, default="bios", help="what boots the image (QEMU)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the emulator's command line")
    parser.add_argument(
        "--logs", type=common.path, metavar="DIR", help="keep every line's log there"
    )
    parser.set_defaults(function=main)


def main(options: argparse.Namespace) -> int:
    machine, name = make_machine(options)
    if options.dry_run:
        print(machine.describe_command())
        return 0
    claim: Claim | None = None
    hub: Hub | None = None
    try:
        with signals.deferred():
            claim = Claim(options.machine, name)
        machine.power_on()
        hub = Hub(machine.link, machine.prompt, claim.folder)
        claim.write_info(describe(machine, hub, str(options.file)))
        terminal.say(
            f"hv boot: {claim.name} on {machine.emulator.name} ({machine.backend}), "
            f"{machine.cpus} CPUs, {common.human_size(machine.memory)}; "
            f"prompt also at {hub.pty.path}"
        )
        if terminal.stdin_is_terminal():
            return interact(machine, hub)
        return show(machine, options.timeout)
    finally:
        with signals.deferred():
            if hub is not None:
                hub.close()
            machine.close()
            if claim is not None:
                claim.release()


def make_machine(options: argparse.Namespace) -> tuple[Machine, str]:
    """The machine of a partition file or of an image that `hv build` made, and its name."""
    settings: dict[str, Any] = {"accel": options.accel, "logs": options.logs}
    settings["backend"] = options.backend
    if builder.is_image(options.file):
        opened = builder.open_image(options.file)
        partition, files = opened.description, opened.files
        settings["image"] = opened.image
        settings["medium"] = options.medium or opened.medium
        if opened.medium == "disk" and options.medium not in (None, "disk"):
            raise UsageError(f"{options.file} is a raw disk: it boots with --medium disk only")
    else:
        partition, files = common.load_partition(options.file)
        settings["medium"] = options.medium
    settings["firmware"] = options.firmware
    name = str(partition.get("name") or options.file.stem)
    return Machine(partition, files, **settings), name


def interact(machine: Machine, hub: Hub) -> int:
    """The terminal is the prompt until the machine ends or Ctrl-]."""
    terminal.say("hv boot: exit() powers off, Ctrl-] closes the machine")
    keys = terminal.Keys(terminal.CTRL_CLOSE)
    outlet = Outlet(terminal.write_out, "terminal")
    with terminal.raw():
        hub.share.join(outlet, replay=True)
        threading.Thread(
            target=_stop_at_end, args=(machine, keys), name="end of machine", daemon=True
        ).start()
        for data in keys:
            hub.share.type(data)
        hub.share.leave(outlet)
        outlet.close()
    if keys.left:
        terminal.say("\nhv boot: closed")
        return 0
    why = machine.ended or "it is gone"
    terminal.say(f"\nhv boot: {why}")
    return 0 if any(word in why for word in _POWERED_OFF) else 1


def _stop_at_end(machine: Machine, keys: terminal.Keys) -> None:
    try:
        machine.wait_off(365 * 86400.0)
    except HostError:
        pass
    keys.stop()


def show(machine: Machine, timeout: float | None) -> int:
    """Without a terminal: prove that every guest and the prompt are up, then power off."""
    limit = timeout or 2 * machine.boot_timeout
    with Progress("hv boot: booting"):
        machine.wait_monitor()
        machine.wait_started(limit)
    status = 0
    for guest in machine.partition["guests"]:
        name = guest["name"]
        state = machine.wait_state(name, "running", "off", "crashed", timeout=limit)
        console = machine.console(name)
        if state == "running":
            console.expect(r"[^\n]+\n", limit)
        lines = [line for line in console.text.splitlines() if line.strip()]
        for line in lines[:_FIRST_LINES]:
            print(f"{name}: {line}")
    look = "probe" if (machine.partition.get("run") or {}).get("probe") else "guests"
    print(machine.exec(f"import hv; print(hv.{look}())", limit).rstrip())
    for guest in machine.partition["guests"]:
        console = machine.console(guest["name"])
        print(f"{guest['name']}: {console.tail(1)}")
        # Only now: a crash may come any time after the first line.
        end = machine.link.last.get(console.guest.id)
        if end is not None and end.state == "crashed":
            terminal.say(f"hv boot: {end.describe()}")
            status = 1
    machine.prompt.write("\r")
    machine.prompt.expect(r">>> ", limit)
    print("the prompt answers on COM1")
    try:
        why = machine.quit(limit)
    except EmulatorError as error:
        why = str(error)
    terminal.say(f"hv boot: {why}")
    return status
