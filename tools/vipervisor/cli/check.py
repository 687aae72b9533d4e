"""`hv check`: every rule on a partition file, all findings at once."""

from __future__ import annotations

import argparse
import json
from typing import Any

from .. import board, caret, partition
from . import common

FINDINGS = 1


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="check a partition file",
        description="Check a partition file: status 1 with findings, else the map of who "
        "owns which CPU and memory, and warnings about what is seldom meant.",
    )
    parser.add_argument("file", type=common.path, metavar="FILE")
    parser.add_argument(
        "--board", type=common.path, metavar="BOARD",
        help="compare with this machine, too: a description that `hv probe` wrote",
    )
    parser.add_argument(
        "--strict", action="store_true", help="status 1 with warnings, too"
    )
    parser.add_argument("--json", action="store_true", help="the findings as a JSON list")
    parser.set_defaults(function=main)


def main(options: argparse.Namespace) -> int:
    machine = board.load(options.board) if options.board is not None else None
    loaded = partition.load(options.file, machine.for_rules if machine else None)
    findings = loaded.findings + loaded.warnings
    if options.json:
        rows = [
            {
                "file": f.file,
                "line": f.line,
                "column": caret.column(options.file, f),
                "level": f.level,
                "rule": f.rule,
                "place": f.place,
                "text": f.text,
            }
            for f in findings
        ]
        print(json.dumps(rows, indent=1))
    else:
        for finding in findings[: partition.SHOWN]:
            print(finding)
            shown = caret.show(options.file, finding)
            if shown:
                print(shown)
        for line in partition.more(findings):
            print(line)
        if loaded.description is not None:
            print(partition.render_map(loaded.description))
    failed = not loaded.ok or options.strict and bool(loaded.warnings)
    return FINDINGS if failed else 0
