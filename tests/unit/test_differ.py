"""What `hv diff` makes of two runs."""

from __future__ import annotations

import re

from vipervisor import differ
from vipervisor.differ import Run, compare


def runs() -> tuple[Run, Run]:
    exits = {"io": 5, "cpuid": 2, "interrupt": 1}
    return (
        Run("svm", ["a", "cpu: AMD", "b"], dict(exits), "off", [("io", 1, 2), ("hlt", 0, 4)]),
        Run("vmx", ["a", "cpu: AMD", "b"], {**exits, "interrupt": 9}, "off",
            [("io", 1, 2), ("hlt", 0, 4)]),
    )  # fmt: skip


def test_the_same() -> None:
    one, other = runs()
    assert not compare(one, other, None, False)
    assert compare(one, other, None, True).exits  # the timed ones, when they count
    assert ">" not in differ.counts(one, other)


def test_lines() -> None:
    one, other = runs()
    other.lines[1] = "cpu: Intel"
    found = compare(one, other, None, False)
    assert re.search(r"^> +2  cpu: AMD +cpu: Intel$", found.console, re.MULTILINE)
    assert re.search(r"^ +1  a +a$", found.console, re.MULTILINE)
    assert not compare(one, other, re.compile("^cpu:"), False)
    del other.lines[2]
    assert "(it said no more)" in compare(one, other, re.compile("^cpu:"), False).console


def test_a_long_line_is_cut_where_it_differs() -> None:
    one, other = runs()
    one.lines[0], other.lines[0] = "x" * 90 + "here", "x" * 90 + "there"
    row = compare(one, other, None, False).console.splitlines()[-1]
    assert "here" in row and "there" in row and len(row) < 100


def test_exits_and_ends() -> None:
    one, other = runs()
    other.exits["cpuid"] = 3
    other.trace[1] = ("hlt", 0, 5)
    other.end = "crashed"
    found = compare(one, other, None, False)
    assert found.exits and found.end == "svm: off; vmx: crashed"
    assert re.search(r"^> +2  hlt at 0x4 +hlt at 0x5$", found.trace, re.MULTILINE)
    assert re.search(r"^> cpuid +2 +3$", differ.counts(one, other), re.MULTILINE)
    other.trace = other.trace[:1]
    assert "(no more exits)" in compare(one, other, None, False).trace
