"""The guest `beat` as a witness: while it counts on, nobody has hurt it."""

from __future__ import annotations

import re
from typing import Any


def beats(console: Any) -> list[int]:
    """What it has counted: one number a line."""
    return [int(n) for n in re.findall(r"^beat (\d+)\r?\n", console.text, re.MULTILINE | re.I)]


def goes_on(console: Any, limit: float, more: int = 3) -> None:
    """Some beats later; none was lost since its first."""
    at = max(beats(console), default=0)
    console.expect(rf"beat {at + more}\b.*\n", timeout=limit)
    counted = beats(console)
    assert counted == list(range(1, counted[-1] + 1))
