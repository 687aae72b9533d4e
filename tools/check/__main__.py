"""Run every check and print its findings: `python -m check`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from check import headers, layers, limits, links, objects, python, sizes, style, support

ROOT = Path(__file__).resolve().parents[2]
CHECKS: dict[str, Callable[[Path], list[str]]] = {
    "C style": style.check,
    "dependency directions": layers.check,
    "headers compile alone": headers.check,
    "general registers only": objects.check,
    "core size": sizes.check,
    "back-end limits": limits.check,
    "links in documents": links.check,
    "support table": support.check,
    "ruff": python.check_ruff,
    "mypy": python.check_mypy,
}


def timed(check: Callable[[Path], list[str]]) -> tuple[list[str], float]:
    start = time.monotonic()
    return check(ROOT), time.monotonic() - start


def main() -> int:
    parser = argparse.ArgumentParser(prog="check", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="CHECK", help="only these; none: all")
    parser.add_argument("--list", action="store_true", help="list the checks")
    options = parser.parse_args()
    if options.list:
        print("\n".join(CHECKS))
        return 0
    unknown = [name for name in options.names if name not in CHECKS]
    if unknown:
        parser.error(f"no check {unknown[0]!r}; there are: {', '.join(CHECKS)}")
    chosen = options.names or list(CHECKS)
    failed = 0
    with ThreadPoolExecutor() as pool:
        running = {name: pool.submit(timed, CHECKS[name]) for name in chosen}
        for name, job in running.items():
            findings, seconds = job.result()
            print(f"{'FAIL' if findings else 'ok  '} {name} ({seconds:.1f} s)", flush=True)
            for finding in findings:
                print(f"     {finding}", flush=True)
            failed += bool(findings)
    if failed:
        print(f"{failed} of {len(chosen)} checks failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
