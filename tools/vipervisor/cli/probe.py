"""`hv probe`: what a machine has and lacks, and its board description."""

from __future__ import annotations

import argparse
import json
from typing import Any

from .. import board, registry, terminal
from ..accel import ACCELS, BACKENDS
from ..errors import HostError
from ..machine import Machine
from ..progress import Progress
from . import common
from .attach import open_link

_LIMIT = 60.0


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "probe",
        help="what a machine has and lacks for guests, and its board description",
        description="Look at a machine: one that runs (--machine), one that an emulator makes, "
        "or one whose serial line was written down (--from). `hv build --probe` makes an image "
        "that does this anywhere.",
    )
    parser.add_argument(
        "-o", "--output", type=common.path, metavar="FILE", help="write the description"
    )
    parser.add_argument("--json", action="store_true", help="the description as JSON")
    parser.add_argument("--machine", metavar="NAME", help="ask this running machine")
    parser.add_argument(
        "--from", type=common.path, dest="log", metavar="FILE", help="read a serial log"
    )
    parser.add_argument("--backend", choices=BACKENDS, help="AMD-V (svm) or VT-x (vmx)")
    parser.add_argument("--accel", choices=ACCELS, help="what emulates it")
    parser.add_argument("--model", help="the emulator's CPU model")
    parser.add_argument("--cpus", type=common.positive, metavar="N")
    parser.add_argument("--memory", type=common.size, metavar="SIZE")
    parser.add_argument("--dry-run", action="store_true", help="print the emulator's command line")
    parser.set_defaults(function=main)


def main(options: argparse.Namespace) -> int:
    if options.log is not None:
        try:
            said = options.log.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise HostError(f"cannot read {options.log}: {error.strerror}") from None
    elif options.machine is not None:
        link = open_link(registry.find(options.machine))
        try:
            said = link.exec(board.CODE, _LIMIT)
        finally:
            link.close()
    else:
        machine = Machine(
            board.DESCRIPTION, backend=options.backend, accel=options.accel, cpus=options.cpus,
            memory=options.memory, model=options.model,
        )
        if options.dry_run:
            print(machine.describe_command())
            return 0
        with Progress("hv probe: looking"), machine:
            said = machine.exec(board.CODE, _LIMIT)
    table, description = board.cut(said)
    found = board.parse(description, "the machine's description")
    if options.json:
        print(json.dumps(found.value, indent=1))
    elif options.log is None:
        print(table.rstrip())
    if options.output is not None:
        try:
            options.output.write_text(description)
        except OSError as error:
            raise HostError(f"cannot write {options.output}: {error.strerror}") from None
        terminal.say(f"hv probe: {options.output} describes it: "
                     f"`hv check --board {options.output} FILE`")
    elif options.log is not None and not options.json:
        print(description, end="")
    return 0
