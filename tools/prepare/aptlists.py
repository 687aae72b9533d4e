"""The machine's own apt sources, read in both forms, and deb-src entries derived from them.

No host name is known here: the archive is wherever this machine's apt already goes,
with the same keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

# Every suite name under which Debian's main archive is found.
DEBIAN_SUITES = frozenset(
    ["bullseye", "bookworm", "trixie", "forky", "duke", "sid"]
    + ["oldoldstable", "oldstable", "stable", "testing", "unstable"]
)


@dataclass(frozen=True)
class Entry:
    """One apt source: where, which suites and components, and its options."""

    types: tuple[str, ...]
    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)  # deb822 names, "Signed-By" and so on


def read_machine(etc: Path = Path("/etc/apt")) -> list[Entry]:
    """All enabled entries of the machine."""
    entries: list[Entry] = []
    one_line = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]
    for path in one_line:
        if path.is_file():
            entries += parse_one_line(path.read_text(errors="replace"))
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        entries += parse_deb822(path.read_text(errors="replace"))
    return entries


# The options of the one-line form and their names in deb822 (sources.list(5)).
_OPTION_NAMES = {
    "signed-by": "Signed-By",
    "trusted": "Trusted",
    "allow-insecure": "Allow-Insecure",
    "check-valid-until": "Check-Valid-Until",
    "check-date": "Check-Date",
}


def parse_one_line(text: str) -> list[Entry]:
    """`deb [options] uri suite component...` lines."""
    form = re.compile(r"(deb|deb-src)\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+\S+)*)")
    entries = []
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].strip()
        match = form.fullmatch(line)
        if match is None:
            continue
        kind, bracket, uri, suite, components = match.groups()
        options = {}
        for word in (bracket or "").split():
            name, _, value = word.partition("=")
            if name.lower() in _OPTION_NAMES:
                options[_OPTION_NAMES[name.lower()]] = value
        entries.append(Entry((kind,), (uri,), (suite,), tuple(components.split()), options))
    return entries


def parse_deb822(text: str) -> list[Entry]:
    """Stanzas of `Field: value`, continued by indented lines."""
    entries = []
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0] in " \t" and name:
                fields[name] += "\n" + line
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        if "uris" not in fields or "types" not in fields:
            continue
        options = {
            proper: fields[lower] for lower, proper in _OPTION_NAMES.items() if lower in fields
        }
        entries.append(
            Entry(
                tuple(fields["types"].split()),
                tuple(fields["uris"].split()),
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
                options,
            )
        )
    return entries


def source_stanzas(entries: Iterable[Entry], suite: str) -> str:
    """deb822 text with deb-src entries for the pinned suite.

    From a Debian archive the named suite is asked for, whatever suite the machine
    itself follows; other distributions' archives are asked for their own suites.
    """
    debian: list[str] = []
    others: list[str] = []
    for entry in entries:
        if "main" not in entry.components:
            continue
        if any(s in DEBIAN_SUITES for s in entry.suites):
            stanza = _stanza(entry, (suite,), ("main",))
            if stanza not in debian:
                debian.append(stanza)
        else:
            components = tuple(c for c in entry.components if c in ("main", "universe"))
            others.append(_stanza(entry, entry.suites, components))
    return "\n".join(debian or others)


def _stanza(entry: Entry, suites: Iterable[str], components: Iterable[str]) -> str:
    lines = [
        "Types: deb-src",
        f"URIs: {' '.join(entry.uris)}",
        f"Suites: {' '.join(suites)}",
        f"Components: {' '.join(components)}",
    ]
    lines += [f"{name}: {value}" for name, value in entry.options.items()]
    return "\n".join(lines) + "\n"
