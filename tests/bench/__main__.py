"""All counts there are, as tables: `make bench`, or `make bench BENCH="linux sizes"` for some.

Nothing here asserts anything: tests/machine/test_gates.py does. Nothing here is a time: a
count is the same on any machine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import linux
from check.files import walk
from check.sizes import CORE_LINES, code_lines
from vipervisor import bench
from vipervisor.cli.bench import report

ROOT = Path(__file__).resolve().parents[2]


def exits_svm() -> str:
    return report(bench.measure("svm"))


def exits_vmx() -> str:
    return report(bench.measure("vmx"))


def linux_ratio() -> str:
    works = linux.measure()
    return linux.report([*works, linux.total(works)])


def sizes() -> str:
    lines = sum(
        code_lines(path.read_text(errors="replace"))
        for path in walk(ROOT, ["hypervisor"], [".c", ".h", ".S"])
    )
    return f"lines of C and assembly in the core: {lines:,} (at most {CORE_LINES:,})"


BENCHES: dict[str, Callable[[], str]] = {
    "svm": exits_svm,
    "vmx": exits_vmx,
    "linux": linux_ratio,
    "sizes": sizes,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests/bench", description="count instructions")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}")
    parser.add_argument("--json", action="store_true", help="of linux: as a JSON list")
    options = parser.parse_args()
    names = options.names or list(BENCHES)
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        parser.error(f"there is no bench {unknown[0]}; there are {', '.join(BENCHES)}")
    if options.json:
        if names != ["linux"]:
            parser.error("--json is for linux alone; the exits have `hv bench --json`")
        works = linux.measure()
        print(json.dumps([{"work": w.name, "bare": w.bare, "guest": w.guest} for w in works]))
        return
    for number, name in enumerate(names):
        print(("\n" if number else "") + BENCHES[name](), flush=True)


if __name__ == "__main__":
    main()
