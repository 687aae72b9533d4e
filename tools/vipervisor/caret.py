"""The line that a finding is about, with a caret under the offending key or value."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from .partition import Found
from .style import paint

_VALUE = re.compile(r"""[^=]*=\s*("(?:[^"\\]|\\.)*"|'[^']*'|\[[^\]]*\]|\{[^}]*\}|[^#\s]+)""")


def span(line: str, finding: Found) -> tuple[int, int]:
    """Where in `line` (from 0) the finding is: the value of its key, the key when the key
    itself is wrong, else the whole line."""
    whole = (len(line) - len(line.lstrip()), len(line.rstrip()))
    if finding.rule.startswith("toml-"):
        return whole
    parts = [part for part in re.split(r"[.\[\]]+", finding.place) if part and not part.isdigit()]
    key = parts[-1] if parts else ""
    found = re.search(rf"""(?:^|[\s{{,.\[])(["']?{re.escape(key)}["']?)\s*[=\].]""", line)
    if not key or found is None:
        return whole
    if finding.rule in ("key-unknown", "key-misplaced"):
        return found.start(1), found.end(1)
    value = _VALUE.match(line, found.start(1))
    if value is None:
        return found.start(1), found.end(1)
    return value.start(1), value.end(1)


def _line(file: Path, finding: Found) -> str | None:
    if finding.line is None:
        return None
    try:
        return file.read_text(encoding="utf-8").splitlines()[finding.line - 1].expandtabs()
    except (OSError, UnicodeDecodeError, IndexError):
        return None


def column(file: Path, finding: Found) -> int | None:
    """The column, from 1, for editors."""
    line = _line(file, finding)
    return span(line, finding)[0] + 1 if line else None


def show(file: Path, finding: Found) -> str:
    """The line and the caret line; "" where there is no line to show."""
    line = _line(file, finding)
    if not line or not line.strip():
        return ""
    start, end = span(line, finding)
    mark = " " * start + "^" * max(1, end - start)
    head = f"{finding.line:>5} | "
    return f"{head}{line}\n{' ' * (len(head) - 2)}| {paint(mark, 'yellow', sys.stdout)}"
