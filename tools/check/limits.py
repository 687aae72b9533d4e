"""tests/limits.toml: every test that runs on one back end only names the emulator's fault and
the probe that shows it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "tests/limits.toml"
FIELDS = ("test", "backend", "fault", "probe")
BACKENDS = ("svm", "vmx")


def check(root: Path) -> list[str]:
    path = root / FILE
    if not path.is_file():
        return [f"{FILE} is missing"]
    try:
        data = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        return [f"{FILE}: {error}"]
    findings = entry_findings(data) or [
        what for entry in data.get("limit", []) if (what := test_finding(root, entry["test"]))
    ]
    return [f"{FILE}: {what}" for what in findings]


def test_finding(root: Path, test: str) -> str | None:
    """The test that an entry names must be there: FILE::function."""
    name, _, function = test.partition("::")
    path = root / name
    if not path.is_file():
        return f"{test}: there is no {name}"
    if f"def {function.split('::')[-1]}(" not in path.read_text():
        return f"{test}: {name} has no such test"
    return None


def entry_findings(data: dict[str, Any]) -> list[str]:
    """The file is a list of [[limit]] tables with all fields said."""
    findings = []
    other = [key for key in data if key != "limit"]
    if other:
        findings.append(f"unknown key {other[0]!r}; entries are [[limit]] tables")
    entries = data.get("limit", [])
    if not isinstance(entries, list):
        return [*findings, "limit must be a list: [[limit]]"]
    for number, entry in enumerate(entries, start=1):
        name = entry.get("test", f"entry {number}")
        for field in FIELDS:
            if not isinstance(entry.get(field), str) or not entry[field].strip():
                findings.append(f"{name}: {field} is missing or empty")
        if "backend" in entry and entry["backend"] not in BACKENDS:
            known = " and ".join(BACKENDS)
            findings.append(f"{name}: backend {entry['backend']!r}; there are {known}")
    return findings
