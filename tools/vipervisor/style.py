"""Colours, on terminals only and never against NO_COLOR (https://no-color.org)."""

from __future__ import annotations

import os
from typing import TextIO

_CODES = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "bold": "1", "dim": "2"}


def colours(stream: TextIO) -> bool:
    """True when `stream` is a terminal that shows colours."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") in (None, "", "dumb"):
        return False
    return stream.isatty()


def paint(text: str, colour: str, stream: TextIO) -> str:
    """`text` in a colour where `stream` shows it."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if colours(stream) else text
