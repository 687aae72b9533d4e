"""docs/support.md: which unmodified programs run where, as the tests of tests/support.toml
ended. `python -m check.support` writes it from build/support/."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from check.support_rows import EMULATORS, ROOT, TEST, Row, read

PAGE = "docs/support.md"
RESULTS = "build/support"
PASSES = "passes"
UNKNOWN = "not run"
_WIDTH = 96
_HEAD = """\
# What runs unmodified

Programs that know nothing of Vipervisor, from their first instruction on, with the command
that starts each. The page is made from the tests: `make support-table` runs every row of
`tests/support.toml` and writes what came of it, and `make check` fails when page, rows and
tests differ. A row's test is
`{test}[ROW]`,
where ROW is the name in the first column.

`make stock` fetches the programs under `.cache/stock/` from the distribution's packages;
`make guests` makes those under `build/guests/`.
"""
_TABLE = "| row | where | vCPUs | tested by | result | command |\n|---|---|---|---|---|---|\n"
_LINE = re.compile(r"^\| ([a-z0-9-]+) \|.*\| (" + PASSES + r"|fails|" + UNKNOWN + r") \| `", re.M)


def render(rows: list[Row], outcomes: Mapping[str, str]) -> str:
    """The page."""
    parts = [_HEAD.format(test=TEST)]
    for program in dict.fromkeys(row.program for row in rows):
        seen = textwrap.fill(f"The test sees: {' '.join(program.seen.split())}.", _WIDTH)
        parts.append(f"\n## {program.title}\n\n{seen}\n\n{_TABLE}")
        for row in rows:
            if row.program == program:
                parts.append(
                    f"| {row.id} | {EMULATORS[row.backend]} | {row.cpus} "
                    f"| `make test{'-full' if row.full else ''}` "
                    f"| {outcomes.get(row.id, UNKNOWN)} | `{row.command}` |\n"
                )
    return "".join(parts)


def check(root: Path) -> list[str]:
    """The page says of every row that it passes, and nothing else than the rows."""
    page = root / PAGE
    text = page.read_text() if page.is_file() else ""
    outcomes = dict(_LINE.findall(text))
    rows = read()
    if text != render(rows, outcomes):
        return [f"{PAGE} and tests/support.toml differ; run `make support-table`"]
    return [f"{PAGE}: {row.id} {outcomes[row.id]}" for row in rows if outcomes[row.id] != PASSES]


def main() -> int:
    outcomes = {}
    for row in read():
        try:
            result = json.loads((ROOT / RESULTS / f"{row.id}.json").read_text())
        except OSError:
            result = {"outcome": UNKNOWN, "seconds": 0}
        outcomes[row.id] = str(result["outcome"])
        print(f"{row.id:24} {result['outcome']:8} {result['seconds']:5} s")
    (ROOT / PAGE).write_text(render(read(), outcomes))
    return 0 if set(outcomes.values()) == {PASSES} else 1


if __name__ == "__main__":
    sys.exit(main())
