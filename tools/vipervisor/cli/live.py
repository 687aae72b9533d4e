"""`hv watch`: a policy file that is swapped into a running machine at each save."""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

from .. import registry, terminal
from ..channel import Frame, Type
from ..errors import EmulatorError, HostError, MonitorError
from ..link import Link
from ..style import paint
from . import common
from .attach import open_link

_EVERY = 0.2  # seconds between looks at the file
_ANSWER_LIMIT = 60.0
_PLACE = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+)')


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "watch",
        help="swap a policy file into a running machine at each save",
        description="Keep a Python file in force on the monitor: at each save its handlers, "
        "watches, devices and timers take the place of those that the version before had made, "
        "all at once, while the guests run. A version that raises changes nothing; its traceback "
        "is shown here. Ctrl-C leaves, and the policy stays.",
    )
    parser.add_argument("file", type=common.path, metavar="FILE.py")
    parser.add_argument("--machine", metavar="NAME")
    parser.add_argument("--name", help="the policy's name on the monitor (the file's name)")
    parser.add_argument("--once", action="store_true", help="once, status 1 when it raises")
    parser.add_argument("--remove", action="store_true", help="take the policy back when leaving")
    parser.add_argument("--timeout", type=common.seconds, default=_ANSWER_LIMIT, metavar="S")
    parser.set_defaults(function=main)


def code_for(name: str, source: str) -> str:
    """What the monitor is asked to run."""
    return f"import hv\nprint(hv.policy({name!r}, {source!r}))"


def with_lines(trace: str, name: str, source: str) -> str:
    """A traceback with the lines of the file, and without the monitor's own frames."""
    lines = source.splitlines()
    shown = []
    for row in trace.splitlines():
        place = _PLACE.match(row)
        if place and place["file"] in ("<exec>", "hv/live.py", "hv/events.py"):
            continue
        shown.append(row)
        if place and place["file"] == name and 0 < int(place["line"]) <= len(lines):
            shown.append("    " + lines[int(place["line"]) - 1].strip())
    return "\n".join(shown)


class Watched:
    """The file, as it was when last looked at."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._digest = b""
        self.missing = False

    def changed(self) -> str | None:
        """Its text when that is another than before."""
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            # A second save may fall into the same tick of the file system's clock.
            recent = time.time_ns() - status.st_mtime_ns < 2_000_000_000
            if stamp == self._stamp and not recent:
                return None
            data = self._path.read_bytes()
        except OSError:
            self.missing = True  # editors take it away for a moment while they save
            return None
        self.missing = False
        self._stamp = stamp
        digest = hashlib.sha256(data).digest()
        if digest == self._digest:
            return None
        self._digest = digest
        return data.decode("utf-8", "replace")


class Session:
    """One machine and one file."""

    def __init__(self, link: Link, name: str, timeout: float) -> None:
        self._link = link
        self._name = name
        self._timeout = timeout
        self._lock = threading.Lock()
        self._held: list[str] | None = None  # complaints while a version is swapped in
        link.listen(self._hear)

    def _hear(self, frame: Frame) -> None:
        """What handlers and timers complain of later."""
        if frame.type != Type.EVENT:
            return
        try:
            event = frame.json()
        except ValueError:
            return
        if event.get("event") != "complaint":
            return
        message = str(event.get("message"))
        with self._lock:
            if self._held is None:
                terminal.say(message)
            else:
                self._held.append(message)

    def apply(self, source: str) -> bool:
        """Swap this version in; False when it raised. What fails in it at once is said behind
        what it is."""
        with self._lock:
            self._held = []
        try:
            return self._swap(source)
        finally:
            with self._lock:
                held, self._held = self._held, None
                for message in held:
                    terminal.say(message)

    def _swap(self, source: str) -> bool:
        start = time.monotonic()
        stamp = time.strftime("%H:%M:%S")
        try:
            said = self._link.exec(code_for(self._name, source), self._timeout)
        except MonitorError as error:
            terminal.say(f"{stamp} {paint('not taken', 'red', sys.stderr)}, nothing has changed:")
            terminal.say(with_lines(str(error), self._name, source))
            return False
        took = (time.monotonic() - start) * 1000
        print(f"{stamp} {said.rstrip()}, {took:.0f} ms", flush=True)
        return True

    def remove(self) -> None:
        code = f"import hv\nif {self._name!r} in hv.policies: hv.policies[{self._name!r}].remove()"
        self._link.exec(code, self._timeout)


def main(options: argparse.Namespace) -> int:
    file: Path = options.file
    if not file.is_file():
        raise HostError(f"there is no file {file}: write it first, then watch it")
    name = options.name or file.name
    watched = Watched(file)
    link = open_link(registry.find(options.machine))
    pause = threading.Event()
    try:
        link.wait_hello(options.timeout)
        session = Session(link, name, options.timeout)
        if options.once:
            source = watched.changed()
            return 0 if source is not None and session.apply(source) else 1
        terminal.say(f"hv watch: {file}; Ctrl-C leaves")
        try:
            while True:
                source = watched.changed()
                if source is not None:
                    session.apply(source)
                if not link.reader.is_alive():
                    raise EmulatorError("the machine has closed its channel")
                pause.wait(_EVERY)
        except KeyboardInterrupt:
            if options.remove:
                session.remove()
            return 0
    finally:
        link.close()


