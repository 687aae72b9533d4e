"""`hv help`: what --help prints, as a word."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def add(commands: Any, build: Callable[[], argparse.ArgumentParser]) -> None:
    known = [*commands.choices, "help"]
    parser = commands.add_parser("help", help="all commands, or how one is used")
    parser.add_argument("of", nargs="?", choices=known, metavar="COMMAND")
    parser.set_defaults(function=lambda options: main(options, build()))


def main(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    parser.parse_args([*([options.of] if options.of else []), "--help"])
    return 0
