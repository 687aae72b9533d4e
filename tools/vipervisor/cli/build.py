"""`hv build`: an image to keep, to write on a stick, or to hand on."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .. import board
from .. import build as builder
from ..errors import UsageError
from ..progress import Progress
from . import common


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "build",
        help="make a bootable image of a partition",
        description="Make an image of a checked partition: x.iso boots by BIOS and UEFI from a "
        "CD or a USB stick, x.img is Bochs' raw disk, a folder gets the files for QEMU and a "
        "script. The same input makes the same bytes.",
    )
    parser.add_argument("file", type=common.path, metavar="FILE", nargs="?")
    parser.add_argument(
        "--probe", action="store_true", help="an image that looks at its machine; no FILE"
    )
    parser.add_argument("-o", "--output", type=common.path, required=True, metavar="IMAGE")
    parser.add_argument("--cmdline", default="", help="the monitor's own command line")
    parser.add_argument("--json", action="store_true", help="the parts and sizes as JSON")
    parser.set_defaults(function=main)


def main(options: argparse.Namespace) -> int:
    builder.kind_of(options.output)
    if options.probe == (options.file is not None):
        raise UsageError("say either the partition FILE or --probe")
    description: dict[str, Any] = board.DESCRIPTION
    files: dict[str, Path] = {}
    if not options.probe:
        description, files = common.load_partition(options.file)
    with Progress(f"hv build: making {options.output}"):
        built = builder.build(options.output, description, files, options.cmdline)
    if options.json:
        parts = [{"name": part.name, "bytes": part.size} for part in built.parts]
        value = {"image": str(built.path), "kind": built.kind, "bytes": built.size, "parts": parts}
        print(json.dumps(value, indent=1))
        return 0
    width = max(len(part.name) for part in built.parts)
    for part in built.parts:
        print(f"  {part.name:<{width}} {part.size:>12,}")
    print(f"  {'total':<{width}} {built.size:>12,}  {built.path}")
    return 0
