"""What several commands share: options, sizes, names of files, words for a person."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import partition
from ..accel import ACCELS, BACKENDS
from ..errors import HostError

_SIZE = re.compile(r"(\d+)([KMGT]?)(i?B)?\Z", re.IGNORECASE)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def complain(command: str, error: BaseException) -> None:
    sys.stderr.write(f"hv {command}: {error}\n")


def size(text: str) -> int:
    """Bytes from `256M`, `1G`, `65536`."""
    match = _SIZE.match(text.strip())
    if not match or not int(match.group(1)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size (say 64M, 1G)")
    return int(match.group(1)) << _UNITS[match.group(2).upper()]


def path(text: str) -> Path:
    """A path as an argument."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def seconds(text: str) -> float:
    """Seconds from `30`, `1.5`, `30s`, `2m`."""
    match = re.match(r"(\d+(?:\.\d+)?)([sm]?)\Z", text.strip())
    if not match or not float(match.group(1)):
        raise argparse.ArgumentTypeError(f"{text!r} is no time (say 30, 30s, 2m)")
    return float(match.group(1)) * (60 if match.group(2) == "m" else 1)


def regex(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.MULTILINE)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None


BOTH = "both"


def add_machine_options(parser: argparse.ArgumentParser, both: bool = False) -> None:
    choices = (*BACKENDS, BOTH) if both else BACKENDS
    parser.add_argument("--backend", choices=choices, help="AMD-V (svm) or VT-x (vmx)")
    parser.add_argument("--accel", choices=ACCELS, help="what emulates it (svm: tcg, vmx: bochs)")
    parser.add_argument("--machine", metavar="NAME", help="the machine's name for other commands")


def human_size(count: int) -> str:
    for unit, shift in (("G", 30), ("M", 20), ("K", 10)):
        if count and count % (1 << shift) == 0:
            return f"{count >> shift}{unit}"
    return str(count)


def exits_table(exits: Mapping[str, int]) -> str:
    """Counts by kind, the most frequent first."""
    if not exits:
        return "exits: none counted"
    width = max(len(kind) for kind in exits)
    rows = sorted(exits.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"  {kind:<{width}} {count:>12,}" for kind, count in rows if count]
    total = f"  {'total':<{width}} {sum(exits.values()):>12,}"
    return "\n".join(["exits:", *lines, total])


def load_partition(path: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """A checked partition file: its description and its boot modules."""
    loaded = partition.load(path)
    if loaded.description is None:
        raise HostError(loaded.said)
    return loaded.description, loaded.modules
