"""`hv diff`: the same guest on AMD-V and on VT-x, compared."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from .. import accel as accelerators
from .. import differ
from ..errors import HostError
from ..machine import Machine
from . import common, run

SAME, DIFFERENT, TROUBLE = 0, 1, 2  # as diff(1) has it
_LIMIT = 120.0


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "diff",
        help="one guest on both back ends, compared",
        description="Run one guest on AMD-V and on VT-x: its console, side by side to the first "
        "line that differs, and its exits by kind. 0 means the same, 1 different, 2 trouble.",
    )
    parser.add_argument("image", type=common.path, metavar="IMAGE")
    run.add_guest_options(parser)
    parser.add_argument("--until", type=common.regex, metavar="REGEX", help="compare up to there")
    parser.add_argument("--timeout", type=common.seconds, default=_LIMIT, metavar="S")
    parser.add_argument(
        "--trace", action="store_true", help="compare the exits one by one, with their places"
    )
    parser.add_argument(
        "--ignore", type=common.regex, metavar="REGEX", help="lines that may differ"
    )
    parser.add_argument("--console", action="store_true", help="compare the console only")
    parser.add_argument("--json", action="store_true", help="both runs and the verdict as JSON")
    parser.add_argument("--dry-run", action="store_true", help="print the emulators' command lines")
    parser.set_defaults(function=main, reboot=False)


def main(options: argparse.Namespace) -> int:
    try:
        with tempfile.TemporaryDirectory(prefix="vipervisor-diff-") as folder:
            if options.trace:
                options.script = _script(options.script, Path(folder))
            if options.dry_run:
                for backend in accelerators.BACKENDS:
                    print(f"== {backend}\n{_machine(options, backend).describe_command()}")
                return SAME
            runs = [_run(options, backend) for backend in accelerators.BACKENDS]
    except HostError as error:
        common.complain("diff", error)
        return TROUBLE
    return show(options, runs[0], runs[1])


def _script(given: Path | None, folder: Path) -> Path:
    """The trace, behind a script of the caller's own."""
    script = folder / "script.py"
    head = given.read_text() + "\n" if given is not None else ""
    script.write_text(head + differ.TRACE_SCRIPT)
    return script


def _machine(options: argparse.Namespace, backend: str) -> Machine:
    _, accel = accelerators.choose(backend, None)
    description, files = run.plan(options, accel)
    return Machine(description, files, backend=backend, accel=accel)


def _run(options: argparse.Namespace, backend: str) -> differ.Run:
    machine = _machine(options, backend)
    return differ.observe(machine, backend, options.until, options.timeout, options.trace)


def show(options: argparse.Namespace, one: differ.Run, other: differ.Run) -> int:
    """Print what there is to say; the command's status."""
    found = differ.compare(one, other, options.ignore, False)
    if options.console:
        found.exits = found.trace = found.end = ""
    if options.json:
        print(json.dumps({
            "same": not found,
            "differ": [key for key, text in vars(found).items() if text],
            "runs": [vars(each) for each in (one, other)],
        }, indent=1))  # fmt: skip
        return DIFFERENT if found else SAME
    if found.console:
        print(f"console: the first line that differs\n{found.console}")
    else:
        print(f"console: the same, {len([x for x in one.lines if x])} lines")
    if options.trace:
        if found.trace:
            print(f"exits, one by one: the first that differs\n{found.trace}")
        else:
            print(f"exits, one by one: the same, {len(one.trace):,}")
    if not options.console:
        print(differ.counts(one, other))
        print(f"end: {found.end or one.end}")
    sys.stdout.flush()
    if one.timed_out and other.timed_out and not found:
        common.complain("diff", HostError(f"neither had ended within {options.timeout:g} s"))
    return DIFFERENT if found else SAME
