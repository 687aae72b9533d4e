"""Looking at a running machine: logs of a guest, its figures live, files onto it."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from typing import Any

from .. import registry, terminal
from ..errors import UsageError
from ..progress import Progress
from ..push import push
from ..style import paint
from . import common
from .attach import catch_up, open_link, until_end

_ANSWER_LIMIT = 60.0
_SAMPLES = 8
_TOP_KINDS = 3
_CLEAR = "\x1b[H\x1b[J"

# Counts are the core's own; a vCPU's load is sampled, for nobody counts its time.
_SNAPSHOT = f"""\
import _hv as _v, json as _j, time as _t
_r = {{i: dict(_v.guest_info(i), exits=_v.guest_exits(i), busy=0) for i in _v.guest_ids()}}
for _k in range({_SAMPLES}):
    for i in _r:
        try: _r[i]["busy"] += sum([c[1] == "running" for c in _v.guest_info(i)["vcpus"]])
        except ValueError: pass
    _t.sleep_ms(3)
print(_j.dumps({{"tsc": _v.tsc(), "hz": _v.tsc_hz(), "free": _v.memory()["free"], "guests": _r}}))
"""


def add(commands: Any) -> None:
    logs = commands.add_parser("logs", help="what a guest has said so far")
    logs.add_argument("guest", metavar="GUEST")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the guest ends")
    logs.add_argument("-n", "--lines", type=common.positive, metavar="N", help="the last N lines")
    logs.set_defaults(function=logs_main)
    top = commands.add_parser(
        "top",
        help="exit rates, CPUs and memory of every guest, live",
        description="Exit rates, CPUs and memory of every guest, again and again; Ctrl-C ends it. "
        "BUSY is sampled: how often a look found the vCPU out of HLT.",
    )
    top.add_argument("--interval", type=common.seconds, default=1.0, metavar="S")
    top.add_argument(
        "--count", type=common.positive, metavar="N",
        help="end after N looks (one has no rates, so 1 looks twice)",
    )
    top.add_argument("--json", action="store_true", help="one JSON object a look")
    top.set_defaults(function=top_main)
    file = commands.add_parser(
        "push",
        help="copy a file onto the monitor's RAM disk",
        description="Copy a file onto the monitor's RAM disk, where open() and import find it.",
    )
    file.add_argument("file", type=common.path, metavar="FILE")
    file.add_argument("name", nargs="?", metavar="NAME", help="another name there")
    file.add_argument("--timeout", type=common.seconds, default=_ANSWER_LIMIT, metavar="S")
    file.add_argument("--json", action="store_true", help="what was copied as JSON")
    file.set_defaults(function=push_main)
    for parser in (logs, top, file):
        parser.add_argument("--machine", metavar="NAME")


def logs_main(options: argparse.Namespace) -> int:
    if options.follow and options.lines:
        raise UsageError("--follow shows everything from the start: leave --lines out")
    link = open_link(registry.find(options.machine))
    try:
        link.wait_hello(_ANSWER_LIMIT)
        console = link.console(options.guest)
        if options.follow:
            console.listen(_Plain())
        link.attach(console.guest.id)
        if options.follow:
            until_end(link, console.guest)
            catch_up(link)
            return 0
        catch_up(link)
        data = console.raw
    finally:
        link.close()
    if options.lines:
        data = b"".join(data.splitlines(keepends=True)[-options.lines :])
    terminal.write_out(data.replace(b"\r\n", b"\n"))
    return 0


class _Plain:
    """To stdout with plain line ends, whatever the chunks are."""

    def __init__(self) -> None:
        self._kept = b""

    def __call__(self, data: bytes) -> None:
        data = self._kept + data
        self._kept = data[-1:] if data.endswith(b"\r") else b""
        terminal.write_out(data[: len(data) - len(self._kept)].replace(b"\r\n", b"\n"))


def top_main(options: argparse.Namespace) -> int:
    machine = registry.find(options.machine)
    link = open_link(machine)
    live = sys.stdout.isatty() and not options.json
    pause = threading.Event()
    before: dict[str, Any] | None = None
    shown = 0

    def look() -> dict[str, Any]:
        value: dict[str, Any] = json.loads(link.exec(_SNAPSHOT, _ANSWER_LIMIT))
        return value

    try:
        if options.count == 1:  # a rate needs two
            before = look()
            pause.wait(options.interval)
        while options.count is None or shown < options.count:
            start = time.monotonic()
            now = look()
            rows = rates(before, now)
            if options.json:
                print(json.dumps({"machine": machine["name"], "guests": rows}), flush=True)
            else:
                head = _CLEAR if live else ""
                print(head + table(machine["name"], now, rows), flush=True)
            before, shown = now, shown + 1
            if options.count is None or shown < options.count:
                pause.wait(max(0.0, options.interval - (time.monotonic() - start)))
    except KeyboardInterrupt:
        return 0  # the way to end it
    finally:
        link.close()
    return 0


def rates(before: dict[str, Any] | None, now: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a guest. Rates are over the time between two looks, the first over none."""
    elapsed = (now["tsc"] - before["tsc"]) / now["hz"] if before else 0.0
    rows = []
    for number, guest in sorted(now["guests"].items(), key=lambda item: int(item[0])):
        exits = guest["exits"]
        old = before["guests"].get(number, {}).get("exits", {}) if before else {}
        # Less than before: the guest was started again, and counts from zero.
        delta = {kind: max(0, count - old.get(kind, 0)) for kind, count in exits.items()}
        per_second = {kind: round(d / elapsed) for kind, d in delta.items()} if elapsed else {}
        vcpus = guest["vcpus"]
        rows.append(
            {
                "guest": guest["name"],
                "state": guest["state"],
                "cpus": [cpu[0] for cpu in vcpus],
                "busy": guest["busy"] / (_SAMPLES * len(vcpus)) if vcpus else 0.0,
                "memory": guest["memory"],
                "exits": sum(exits.values()),
                "rate": sum(per_second.values()) if elapsed else None,
                "rates": {kind: rate for kind, rate in per_second.items() if rate},
            }
        )
    return rows


def table(name: str, now: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """What `hv top` shows of one look."""
    head = f"{'GUEST':<16} {'STATE':<8} {'CPU':<4} {'BUSY':>5} {'MEMORY':>7} {'EXITS':>12} "
    head += f"{'EXITS/S':>10}  MOST"
    lines = [
        f"{name}: {len(rows)} guests, {common.human_size(now['free'])} free",
        paint(head, "bold", sys.stdout),
    ]
    for row in rows:
        most = sorted(row["rates"].items(), key=lambda item: -item[1])[:_TOP_KINDS]
        rate = "-" if row["rate"] is None else f"{row['rate']:,}"
        lines.append(
            f"{row['guest']:<16} {row['state']:<8} {','.join(map(str, row['cpus'])):<4} "
            f"{row['busy']:>5.0%} {common.human_size(row['memory']):>7} {row['exits']:>12,} "
            f"{rate:>10}  {', '.join(f'{kind} {count:,}' for kind, count in most)}".rstrip()
        )
    return "\n".join(lines)


def push_main(options: argparse.Namespace) -> int:
    link = open_link(registry.find(options.machine))
    name = options.name or options.file.name
    try:
        with Progress(name, first=0) as progress:
            size = push(link, options.file, name, options.timeout, progress.step)
    finally:
        link.close()
    if options.json:
        print(json.dumps({"file": str(options.file), "name": name.strip("/"), "bytes": size}))
    else:
        print(f"{name}: {size:,} bytes on the monitor")
    return 0
