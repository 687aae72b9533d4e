"""`hv bench`: instructions per exit beside the floor, the goals and other hypervisors."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from .. import bench
from ..accel import BACKENDS
from ..progress import Progress


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "bench",
        help="count instructions per exit",
        description="Count instructions per exit, where the time-stamp counter counts "
        "instructions: in QEMU with icount (svm) and in Bochs (vmx).",
    )
    parser.add_argument("--backend", choices=BACKENDS, help="only this one")
    parser.add_argument("--json", action="store_true", help="as a JSON list of objects")
    parser.add_argument("--dry-run", action="store_true", help="print the emulators' command lines")
    parser.set_defaults(function=main)


def main(options: argparse.Namespace) -> int:
    results = []
    backends = [options.backend] if options.backend else bench.BACKENDS
    if options.dry_run:
        print("\n".join(f"== {backend}\n{bench.command(backend)}" for backend in backends))
        return 0
    for backend in backends:
        where = "QEMU" if backend == "svm" else "Bochs"
        with Progress(f"hv bench: counting {backend} in {where}"):
            results.append(bench.measure(backend))
    if options.json:
        print(json.dumps([row for result in results for row in result.rows()], indent=1))
    else:
        print("\n\n".join(report(result) for result in results))
    return 0


def report(result: bench.Result) -> str:
    """One back end as text."""
    backend = result.backend
    rows: list[Sequence[str]] = [
        (backend, "instructions", "floor", "times", "gate", "budget", "KVM", "Xen")
    ]
    for figure in bench.FIGURES:
        count, gate = result.counts[figure.exit], figure.gate_on(backend)
        rows.append(
            (
                figure.what,
                f"{count:,}",
                f"{figure.floor[backend]:,}" if figure.floor[backend] else "-",
                f"{count / figure.floor[backend]:.1f}" if figure.floor[backend] else "-",
                "-" if gate is None else f"{gate:,}" + ("" if count <= gate else " over"),
                number(figure.budget_on(backend)),
                number(figure.kvm),
                number(figure.xen),
            )
        )
    lines = table(rows)
    hits, misses = result.decoded
    lines.append("")
    if backend == "svm":
        lines.append(
            f"power-on to the guest's first output: {result.first_output:,} instructions "
            f"(at most {bench.FIRST_OUTPUT_LIMIT:,})"
        )
    lines.append(
        f"the monitor's memory, Python's heap apart: {result.monitor:,} bytes "
        f"(at most {bench.MONITOR_LIMIT:,})"
    )
    lines.append(f"decoded instructions found in the cache: {hits:,} of {hits + misses:,}")
    return "\n".join(lines)


def number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, all others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
