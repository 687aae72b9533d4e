"""The command line `hv`: one module per group of commands. Its statuses and messages are
described in docs/cli.md."""

from __future__ import annotations

import argparse
import errno
import os
import re
import signal
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, NoReturn

from .. import partition, signals, terminal
from ..errors import HostError, UsageError
from . import (
    attach,
    bench,
    boot,
    build,
    check,
    common,
    completion,
    diff,
    doctor,
    explain,
    help,
    live,
    new,
    probe,
    run,
    trace,
    watch,
)

USAGE_STATUS = 2
FAILURE_STATUS = 1


class Parser(argparse.ArgumentParser):
    """argparse with one sentence for an error and a status that the command chooses."""

    usage_status = USAGE_STATUS

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # What argparse takes for a value and no option, `-5M` and `-1s` as well: what is wrong
        # with it can then be said.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{self.prog}: {message} (`{self.prog} --help` shows the usage)\n")
        raise SystemExit(self.usage_status)


class RunParser(Parser):
    usage_status = run.HOST_FAILURE


def build_parser() -> Parser:
    parser = Parser(prog="hv", description="Vipervisor: guests on a hypervisor in Python.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    check.add(commands)
    # `hv run` keeps the low statuses for its guest, so its own usage errors differ.
    commands._parser_class = RunParser
    run.add(commands)
    commands._parser_class = Parser
    boot.add(commands)
    build.add(commands)
    attach.add(commands)
    bench.add(commands)
    watch.add(commands)
    live.add(commands)
    trace.add(commands)
    diff.add(commands)
    new.add(commands)
    probe.add(commands)
    explain.add(commands)
    doctor.add(commands)
    completion.add(commands, build_parser)
    help.add(commands, build_parser)
    return parser


def _refuse(parser: Parser, command: str | None, unknown: Sequence[str]) -> NoReturn:
    """An argument too many, told by the command's own parser: its status is the command's."""
    name, sub = unknown[0], completion.commands_of(parser).get(command or "", ("", parser))[1]
    known = [o for action in completion.options_of(sub) for o in action.option_strings]
    near = partition.rules.names.nearest(name.partition("=")[0], known)
    hint = f"; did you mean {near}?" if near and name.startswith("-") else ""
    sub.error(f"there is no argument {name} here{hint}")


def main(arguments: Sequence[str] | None = None) -> int:
    terminal.stand_in()
    parser = build_parser()
    words, guest_command = list(sys.argv[1:] if arguments is None else arguments), None
    if words[:1] == ["run"] and "--" in words:
        cut = words.index("--")
        words, guest_command = words[:cut], words[cut + 1 :] or [""]
    try:
        options, unknown = parser.parse_known_args(words)
        if unknown:
            _refuse(parser, options.command, unknown)
        if guest_command is not None:
            options.guest_command = guest_command
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else FAILURE_STATUS
    if options.command is None:
        parser.print_help(sys.stderr)
        return USAGE_STATUS
    is_run = options.command == "run"
    try:
        with signals.end_once():
            status = options.function(options)
            sys.stdout.flush()
            return int(status)
    except UsageError as error:
        common.complain(options.command, error)
        return run.HOST_FAILURE if is_run else USAGE_STATUS
    except HostError as error:
        common.complain(options.command, error)
        return run.HOST_FAILURE if is_run else FAILURE_STATUS
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads what is left
        return run.HOST_FAILURE if is_run else FAILURE_STATUS
    except OSError as error:
        number = signals.interrupted()
        if number is not None:
            sys.stderr.write("\n")
            return 128 + number
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left has no place either
        place = f"{error.filename}: " if error.filename is not None else ""
        full = error.errno == errno.ENOSPC and error.filename is None
        remedy = f": make room where its output goes, or in {tempfile.gettempdir()}" if full else ""
        common.complain(options.command, HostError(f"{place}{error.strerror or error}{remedy}"))
        return run.HOST_FAILURE if is_run else FAILURE_STATUS
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else FAILURE_STATUS
    except Exception:
        number = signals.interrupted()
        if number is None:
            raise
        sys.stderr.write("\n")
        return 128 + number
