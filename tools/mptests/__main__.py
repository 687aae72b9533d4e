"""`python -m mptests [TEST|FOLDER]...`: MicroPython's own tests on the booted monitor."""

from __future__ import annotations

import argparse
import sys
import time

from vipervisor import HostError, Machine

from . import runner
from .runner import Outcome, RunnerError

MIB = 1 << 20
_PARTITION = {"format": 1, "name": "tests", "machine": {"cpus": 1, "memory": 128 * MIB},
              "guests": []}


def show(outcome: Outcome, test: str) -> None:
    """Progress: one changing line on a terminal, a line a hundred tests else."""
    count = len(outcome.ran)
    if sys.stderr.isatty():
        text = f"\r{count} tests, {len(outcome.failed)} failed: {test}"
        print(f"{text:<78}", end="", file=sys.stderr, flush=True)
    elif count % 100 == 0:
        print(f"{count} tests, {len(outcome.failed)} failed", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="mptests", description=__doc__)
    parser.add_argument("tests", nargs="*", help="as basics or basics/int1.py; none: all")
    parser.add_argument("--backend", choices=runner.BACKENDS, default="svm")
    options = parser.parse_args()
    start = time.monotonic()
    try:
        listed = runner.read_listed()
        source = runner.source_dir()
        with Machine(_PARTITION, backend=options.backend) as machine:
            outcome = runner.run(machine, source, options.tests, progress=show)
    except (HostError, RunnerError) as error:
        print(f"\nmptests: {error}", file=sys.stderr)
        return 2
    if sys.stderr.isatty():
        print(file=sys.stderr)
    found = runner.findings(outcome, listed, options.backend, whole=not options.tests)
    for finding in found:
        print(f"mptests: {finding}", file=sys.stderr)
    known = len(outcome.failed) - sum(" fails: " in finding for finding in found)
    print(
        f"MicroPython's tests on {options.backend}: {len(outcome.passed)} passed, "
        f"{len(outcome.failed)} failed ({known} of them listed), {len(outcome.skipped)} skipped "
        f"by themselves, in {time.monotonic() - start:.0f} s"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
