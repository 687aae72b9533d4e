"""`hv trace`: the exits of a guest as they come, with the time each took."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from typing import Any

from .. import registry, terminal
from ..link import Link
from ..style import paint
from . import common
from .attach import open_link

_ANSWER_LIMIT = 60.0
_EVERY = 0.2  # seconds between looks when there was nothing
_MOST = 64  # exits of a vCPU at once
_SIZE = 4096
_FIRST = ("number", "vcpu", "tsc", "ticks", "kind", "rip", "at", "about")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "trace",
        help="the exits of a guest as they come, with the time each took",
        description="Trace a guest: each exit as it comes, what it was about, and the TSC ticks "
        "until the guest went on. The guest never waits; what comes faster than it can be read "
        "is overwritten and counted. It ends with the guest, after --seconds, or by Ctrl-C. "
        "What a trace that was on already (g.trace.on() at the prompt) holds is shown first, and "
        "it stays on.",
    )
    parser.add_argument("guest", metavar="GUEST")
    parser.add_argument("--seconds", type=common.seconds, metavar="S", help="end after S seconds")
    parser.add_argument(
        "--size", type=common.positive, default=_SIZE, metavar="N",
        help="exits of each vCPU that the monitor keeps, 128 bytes each",
    )
    parser.add_argument(
        "--histogram", action="store_true",
        help="no exits; in the end, where the time went by reason and address",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object an exit")
    parser.add_argument("--machine", metavar="NAME")
    parser.set_defaults(function=main)


class Session:
    """One guest that is traced."""

    def __init__(self, link: Link, guest: str, size: int) -> None:
        self._link = link
        self._guest = guest
        begun = self._ask(f"begin({guest!r}, {size})")[-1]
        self._was_on = bool(begun["was"])
        self._next: list[int] = begun["next"]
        self.hz = int(begun["hz"])
        self.lost = 0
        self.over = False  # the guest has ended, and all of it was read

    def _ask(self, call: str) -> list[dict[str, Any]]:
        said = self._link.exec(f"from hv import trace\ntrace.{call}", _ANSWER_LIMIT)
        return [json.loads(line) for line in said.splitlines()]

    def read(self) -> list[dict[str, Any]]:
        """What has come since the last time, at most _MOST a vCPU."""
        *rows, more = self._ask(f"tell({self._guest!r}, {self._next!r}, {_MOST})")
        self._next = more["next"]
        self.lost += more["lost"]
        self.over = more["state"] in ("off", "crashed") and more["left"] == 0
        return rows

    def histogram(self) -> str:
        code = f"import hv\nprint(hv.guest({self._guest!r}).trace.histogram())"
        return self._link.exec(code, _ANSWER_LIMIT)

    def end(self) -> None:
        self._ask(f"end({self._guest!r}, {self._was_on!r})")


def in_order(row: dict[str, Any]) -> dict[str, Any]:
    """The common names first, then those of its kind."""
    rest = sorted(key for key in row if key not in _FIRST)
    return {key: row[key] for key in (*_FIRST, *rest)}


def line(row: dict[str, Any], start: int, hz: int) -> str:
    """An exit for people: seconds since the first, vCPU, ticks, reason, what, where."""
    ticks = "-" if row["ticks"] is None else f"{row['ticks']:,}"
    head = f"{(row['tsc'] - start) / hz:>12.6f} {row['vcpu']:>2} {ticks:>12}"
    return f"{head}  {row['kind']:<12} {row['about']:<28} {row['at']}".rstrip()


def main(options: argparse.Namespace) -> int:
    link = open_link(registry.find(options.machine))
    try:
        session = Session(link, options.guest, options.size)
        try:
            _follow(session, options)
        finally:
            session.end()
    finally:
        link.close()
    return 0


def _follow(session: Session, options: argparse.Namespace) -> None:
    pause = threading.Event()
    deadline = None if options.seconds is None else time.monotonic() + options.seconds
    start: int | None = None
    shown = not options.histogram
    if shown and not options.json:
        head = f"{'seconds':>12} {'v':>2} {'ticks':>12}  {'exit':<12} {'about':<28} at"
        print(paint(head, "bold", sys.stdout), flush=True)
    try:
        while True:
            last = deadline is not None and time.monotonic() >= deadline
            rows = session.read() if shown or not last else []
            for row in rows if shown else []:
                start = row["tsc"] if start is None else start
                print(json.dumps(in_order(row)) if options.json
                      else line(row, start, session.hz))
            sys.stdout.flush()
            if last or session.over:
                break
            if not rows:
                pause.wait(_EVERY)
    except KeyboardInterrupt:
        pass  # the way to end it
    if options.histogram:
        print(session.histogram().rstrip())
    elif session.lost:
        terminal.say(f"hv trace: {session.lost:,} exits came too fast and were overwritten; "
                     "--size keeps more")
