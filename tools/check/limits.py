"""tests/limits.toml: every test that runs on one back end only, and every check that a guest
skips there, names the emulator's fault and the probe that shows it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "tests/limits.toml"
FIELDS = {
    "limit": ("test", "backend", "fault", "probe"),
    "skip": ("guest", "check", "backend", "fault", "probe"),
}
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
    ] + [
        f"{entry['guest']}: there is no guests/{entry['guest']}" for entry in data.get("skip", [])
        if not (root / "guests" / entry["guest"]).is_dir()
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
    """The file is a list of [[limit]] and [[skip]] tables with all fields said."""
    findings = []
    other = [key for key in data if key not in FIELDS]
    if other:
        findings.append(f"unknown key {other[0]!r}; entries are [[limit]] and [[skip]] tables")
    for kind, fields in FIELDS.items():
        entries = data.get(kind, [])
        if not isinstance(entries, list):
            findings.append(f"{kind} must be a list: [[{kind}]]")
            continue
        for number, entry in enumerate(entries, start=1):
            findings += fields_findings(entry, fields, f"{kind} {number}")
    return findings


def fields_findings(entry: dict[str, Any], fields: tuple[str, ...], name: str) -> list[str]:
    name = entry.get(fields[0], name)
    findings = [
        f"{name}: {field} is missing or empty" for field in fields
        if not isinstance(entry.get(field), str) or not entry[field].strip()
    ]
    if "backend" in entry and entry["backend"] not in BACKENDS:
        known = " and ".join(BACKENDS)
        findings.append(f"{name}: backend {entry['backend']!r}; there are {known}")
    return findings
