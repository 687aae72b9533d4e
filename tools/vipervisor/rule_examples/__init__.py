"""An example for each rule of `hv check`: a partition file that breaks it, and in its
comments what mends it. `WRONG  # becomes: RIGHT` is a line and what takes its place (nothing,
where RIGHT is empty); `# add: RIGHT` is a line that is missing."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
_BECOMES = re.compile(rb"^(.*?) {2}# becomes:(?: (.*))?$")
_ADD = b"# add: "


def path(rule: str) -> Path:
    return FOLDER / f"{rule}.toml"


def mended(wrong: bytes) -> bytes:
    """The example with its remedy applied."""
    lines = []
    for line in wrong.split(b"\n"):
        match = _BECOMES.match(line)
        if match:
            if match[2]:
                lines.append(match[2])
        elif line.startswith(_ADD):
            lines.append(line[len(_ADD) :])
        else:
            lines.append(line)
    return b"\n".join(lines)


def change(rule: str) -> tuple[list[str], list[str]]:
    """The lines that break a rule, and those that mend it, for a person."""
    wrong, right = [], []
    try:
        data = path(rule).read_bytes()
    except OSError:
        return [], []
    for line in data.split(b"\n"):
        match = _BECOMES.match(line)
        if match:
            wrong.append(_text(match[1]))
            if match[2]:
                right.append(_text(match[2]))
        elif line.startswith(_ADD):
            right.append(_text(line[len(_ADD) :]))
    return wrong, right


def _text(line: bytes) -> str:
    text = line.decode("utf-8", errors="backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= 72 else text[:60] + "..." + text[-9:]
