"""Commands for a machine that another process runs: repl, exec, console, ps, stop."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import sys
import threading
import time
from typing import Any

from .. import registry, signals, terminal
from ..channel import GuestInfo, Type
from ..errors import HostError, MonitorError, WaitTimeout
from ..link import Link
from . import common

_QUIET = 1.0  # seconds of silence after which piped input has had its answer
_TALK_LIMIT = 10.0  # and for one that never is silent
_ANSWER_LIMIT = 60.0
_TRIES, _BETWEEN = 8, 0.3  # of Ctrl-C, and seconds for it to work
_FOR_EVER = 365 * 86400.0


def add(commands: Any) -> None:
    repl = commands.add_parser("repl", help="the prompt of a running machine (Ctrl-] leaves)")
    repl.set_defaults(function=repl_main)
    run = commands.add_parser("exec", help="run Python on the monitor")
    run.add_argument("code", metavar="CODE", help="Python source, or - for stdin")
    run.add_argument("--timeout", type=common.seconds, default=_ANSWER_LIMIT, metavar="S")
    run.set_defaults(function=exec_main)
    console = commands.add_parser("console", help="a guest's console (Ctrl-\\ leaves)")
    console.add_argument("guest", metavar="GUEST")
    console.set_defaults(function=console_main)
    listing = commands.add_parser("ps", help="running machines and their guests")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(function=ps_main)
    stop = commands.add_parser("stop", help="power a machine off")
    stop.add_argument("--timeout", type=common.seconds, default=30.0, metavar="S")
    stop.add_argument("--json", action="store_true")
    stop.set_defaults(function=stop_main)
    for parser in (repl, console):
        parser.add_argument(
            "--timeout", type=common.seconds, default=_TALK_LIMIT, metavar="S",
            help="how long to read on after piped input has ended",
        )
    for parser in (repl, run, console, listing, stop):
        parser.add_argument("--machine", metavar="NAME")


def open_link(machine: dict[str, Any], attach: bool = False) -> Link:
    link = Link(registry.connect(machine, "channel"), attach=attach)
    link.say_hello()
    return link


def catch_up(link: Link) -> None:
    """Until all that was said so far is here: a machine answers in order."""
    with contextlib.suppress(HostError):  # it has gone: nothing more comes
        link.exec("pass", _ANSWER_LIMIT)


def until_end(link: Link, guest: GuestInfo) -> None:
    """Until the guest has ended; the machine's end is an end, too."""
    with contextlib.suppress(HostError):
        link.bell.wait(
            lambda: link.final(guest.id), _FOR_EVER, f"the guest {guest.name} to end"
        )


class _Answer:
    """What is said to piped input: it ends with a rest, or with the one who says it."""

    def __init__(self) -> None:
        self._heard = 0.0
        self.over = threading.Event()

    def show(self, data: bytes) -> None:
        self._heard = time.monotonic()
        terminal.write_out(data)

    def wait(self, who: str, limit: float) -> None:
        """Behind the end of stdin; no more than `limit` seconds."""
        now = start = self._heard = time.monotonic()
        end = start + limit
        while now < min(self._heard + _QUIET, end):
            if self.over.wait(min(self._heard + _QUIET, end) - now):
                return
            now = time.monotonic()
        if start < self._heard > now - _QUIET:
            terminal.say(f"{who} still talks after {limit:g} s: --timeout S reads for longer")


def repl_main(options: argparse.Namespace) -> int:
    machine = registry.find(options.machine)
    sock = registry.connect(machine, "prompt")
    if terminal.stdin_is_terminal():
        terminal.say(f"hv repl: {machine['name']}; Ctrl-] leaves, the machine goes on")
    keys = terminal.Keys(terminal.CTRL_CLOSE)
    answer = _Answer()

    def show() -> None:
        while True:
            try:
                data = sock.recv(65536)
            except OSError:
                data = b""
            if not data:
                answer.over.set()
                keys.stop()
                return
            answer.show(data)

    reader = threading.Thread(target=show, name="prompt", daemon=True)
    with terminal.raw():
        reader.start()
        for data in keys:
            # The prompt's Enter is a carriage return, as a terminal in raw mode sends it.
            sock.sendall(data if terminal.stdin_is_terminal() else data.replace(b"\n", b"\r"))
        if not keys.left:
            answer.wait("hv repl: the prompt", options.timeout)
    sock.close()
    if not terminal.stdin_is_terminal():
        print()
    return 0


def exec_main(options: argparse.Namespace) -> int:
    code = sys.stdin.read() if options.code == "-" else options.code
    machine = registry.find(options.machine)
    link = open_link(machine)
    ended = threading.Event()
    link.listen(lambda frame: ended.set() if frame.type == Type.EXEC_END else None)

    def output(data: bytes) -> None:
        terminal.write_out(data.replace(b"\r\n", b"\n"))

    try:
        link.exec(code, options.timeout, output)
    except MonitorError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except BaseException as error:
        if signals.interrupted() is not None or isinstance(error, WaitTimeout):
            interrupt(machine, ended)
        raise
    finally:
        link.close()
    return 0


def interrupt(machine: dict[str, Any], ended: threading.Event) -> None:
    """What has not ended yet is native code, which listens to Ctrl-C at the prompt alone,
    and not to one for what has just begun."""
    if ended.is_set():
        return
    with contextlib.suppress(HostError, OSError), registry.connect(machine, "prompt") as sock:
        for _ in range(_TRIES):
            sock.sendall(b"\x03")
            if ended.wait(_BETWEEN):
                return


def console_main(options: argparse.Namespace) -> int:
    machine = registry.find(options.machine)
    link = open_link(machine)
    link.wait_hello(_ANSWER_LIMIT)
    console = link.console(options.guest)
    keys = terminal.Keys(terminal.CTRL_LEAVE)
    if terminal.stdin_is_terminal():
        terminal.say(f"hv console: {options.guest} of {machine['name']}; Ctrl-\\ leaves")
    answer = _Answer()

    def watch_end() -> None:
        until_end(link, console.guest)
        answer.over.set()
        keys.stop()

    with terminal.raw():
        console.listen(answer.show)
        link.attach(console.guest.id)
        threading.Thread(target=watch_end, name="end", daemon=True).start()
        for data in keys:
            console.write(data)
        if not keys.left and not terminal.stdin_is_terminal():
            answer.wait(f"hv console: {options.guest}", options.timeout)
        end = link.final(console.guest.id)
        if end is not None:
            catch_up(link)
    link.close()
    if end is not None:
        terminal.say(f"\nhv console: {end.describe()}")
    return 0


def ps_main(options: argparse.Namespace) -> int:
    running = registry.machines()
    if options.machine:
        running = [registry.find(options.machine)]
    for machine in running:
        machine["guests"] = _guests(machine)
    if options.json:
        print(json.dumps(running, indent=1))
        return 0
    if not running:
        print("no machine is running")
    for machine in running:
        age = int(time.time()) - int(machine.get("started", time.time()))
        print(
            f"{machine['name']}: {machine.get('backend')} on {machine.get('accel')}, "
            f"process {machine['pid']}, {age} s, prompt {machine.get('pty')}"
        )
        for guest in machine["guests"]:
            print(
                f"  {guest['id']:>2} {guest['name']:<16} {guest['state']:<8} "
                f"{common.human_size(guest['memory']):>6}  cpus {guest['cpus']}"
            )
    return 0


def _guests(machine: dict[str, Any]) -> list[dict[str, Any]]:
    """A machine's guests; none when it is still booting or just going."""
    try:
        link = open_link(machine)
        try:
            link.wait_hello(2)
            return [vars(guest) for guest in link.guests.values()]
        finally:
            link.close()
    except HostError:
        return []


def stop_main(options: argparse.Namespace) -> int:
    machine = registry.find(options.machine)
    link = open_link(machine)
    link.quit()
    link.reader.join(options.timeout)
    link.close()
    end = time.monotonic() + options.timeout
    while time.monotonic() < end:
        if all(m["name"] != machine["name"] for m in registry.machines()):
            value = {"machine": machine["name"], "pid": machine["pid"], "off": True}
            print(json.dumps(value) if options.json else f"{machine['name']} is off")
            return 0
        _wait_pid(int(machine["pid"]), end)
    raise HostError(
        f"{machine['name']} did not power off within {options.timeout:g} s (process "
        f"{machine['pid']} owns it)"
    )


def _wait_pid(pid: int, end: float) -> None:
    """Until a process has ended, or the time has come."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
    finally:
        os.close(descriptor)
