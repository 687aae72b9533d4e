"""`hv check`: every rule on a partition file, all findings at once."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

from ..image import readable

FINDINGS = 1


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="check a partition file",
        description="Check a partition file: status 1 with findings, else the map of who "
        "owns which CPU and memory.",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="findings or map as JSON")
    parser.set_defaults(function=main)


def load(path: Path) -> tuple[dict[str, Any] | None, dict[str, Path], list[str]]:
    """A partition file's description (None with findings), its files, its findings."""
    readable(path, "partition file")
    partition = importlib.import_module("vipervisor.partition")
    loaded = partition.load(path)
    return loaded.description, loaded.files, [str(f) for f in loaded.findings]


def main(options: argparse.Namespace) -> int:
    raise NotImplementedError
