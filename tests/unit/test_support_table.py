"""docs/support.md, tests/support.toml and the tests that exist say the same."""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
import sys

import pytest
from check import support
from check.support_rows import ROOT, read
from vipervisor import cli

ROWS = read()
ALL = {row.id: support.PASSES for row in ROWS}


def test_every_row_is_a_test_and_every_test_a_row() -> None:
    words = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run([*words, "tests/machine/test_support.py"], cwd=ROOT, timeout=120,
                          capture_output=True, text=True, check=True)
    tests = [line for line in done.stdout.splitlines() if "::" in line]
    assert sorted(tests) == sorted(row.test for row in ROWS)


def test_the_page_agrees_with_the_rows() -> None:
    assert support.check(ROOT) == []
    page = (ROOT / support.PAGE).read_text()
    assert all(f"| {row.id} |" in page and f"`{row.command}`" in page for row in ROWS)


def test_a_row_that_fails_or_is_new_or_changed_is_found(tmp_path) -> None:
    page = tmp_path / support.PAGE
    page.parent.mkdir()
    page.write_text(support.render(ROWS, {**ALL, ROWS[0].id: "fails"}))
    assert support.check(tmp_path) == [f"{support.PAGE}: {ROWS[0].id} fails"]
    page.write_text(support.render(ROWS[1:], ALL))
    assert "differ" in support.check(tmp_path)[0]
    changed = [dataclasses.replace(ROWS[0], full=not ROWS[0].full), *ROWS[1:]]
    page.write_text(support.render(changed, ALL))
    assert "differ" in support.check(tmp_path)[0]
    page.write_text(support.render(ROWS, ALL))
    assert support.check(tmp_path) == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_the_command_is_one_that_hv_takes(row) -> None:
    words = shlex.split(row.command)
    assert words[0] == "tools/hv"
    options = cli.build_parser().parse_args(words[1:])
    assert str(options.image) == row.program.image
    assert (options.cpus, options.cmdline) == (row.cpus, row.program.cmdline)
    assert (options.backend or "svm", options.memory) == (row.backend, row.program.memory)
