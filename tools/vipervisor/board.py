"""Board descriptions: what `hv.probe()` wrote of a machine, read back for `hv check --board`."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import partition
from .errors import HostError

if sys.version_info >= (3, 11):  # noqa: UP036
    import tomllib
else:
    import tomli as tomllib

FORMAT = 1
BEGIN, END = "--- board.toml", "--- end of board.toml"
_REMEDY = "make one by `hv probe -o board.toml`"
# What the machine of an image made by `hv build --probe` boots: no guests, a look around.
DESCRIPTION: dict[str, Any] = {
    "format": 1,
    "name": "probe",
    "machine": {"cpus": 2, "memory": 256 << 20},
    "guests": [],
    "run": {"probe": True},
}
# Run on a machine: the table for a person, then the description.
CODE = "from hv import board; board.report()"


class BoardError(HostError):
    """A file that is no board description."""


@dataclass(frozen=True)
class Board:
    """A machine as a partition is compared with it."""

    value: dict[str, Any]

    def for_rules(self, images: int) -> dict[str, Any]:
        """What the rules compare with, when the images take so many bytes."""
        return {
            "cpus": self.value["cpus"],
            "memory": max(0, self._free() - images),
            "missing": self.value.get("missing") or self._without(),
        }

    def _without(self) -> list[str]:
        return [] if self.value.get("backend") in ("svm", "vmx") else ["AMD-V (SVM) or VT-x (VMX)"]

    def _free(self) -> int:
        free = self.value.get("free")
        if isinstance(free, int):
            return free
        ram = sum(r["size"] for r in self.value.get("range", []) if r.get("type") == "ram")
        return max(0, int(ram) - int(partition.rules.MONITOR))


def cut(text: str) -> tuple[str, str]:
    """What a machine printed, as (table, description): from the last look in it."""
    text = text.replace("\r\n", "\n")
    before, begin, rest = text.rpartition(BEGIN + "\n")
    description, end, _ = rest.partition(END)
    if not begin or not end:
        raise BoardError("there is no board description in what the machine said")
    return before, description


def parse(text: str, name: str) -> Board:
    """A description's text; a log of a serial line that holds one will do."""
    if BEGIN in text:
        text = cut(text)[1]
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BoardError(f"{name}: board-invalid: it is no TOML ({error}); {_REMEDY}") from None
    if value.get("board") != FORMAT:
        what = "there is no board = 1 in it"
        if "board" in value:
            what = f"board is {value['board']!r} and only {FORMAT} is known"
        raise BoardError(f"{name}: board-invalid: {what}; {_REMEDY}")
    cpus = value.get("cpus")
    if not isinstance(cpus, int) or isinstance(cpus, bool) or cpus < 1:
        raise BoardError(f"{name}: board-invalid: cpus is {cpus!r}; {_REMEDY}")
    for row in value.get("range", []):
        if not isinstance(row, dict) or not isinstance(row.get("size"), int):
            raise BoardError(f"{name}: board-invalid: a range has no size; {_REMEDY}")
    if not isinstance(value.get("free"), int) and not value.get("range"):
        raise BoardError(f"{name}: board-invalid: neither free nor a range is said; {_REMEDY}")
    missing = value.get("missing", [])
    if not isinstance(missing, list) or not all(isinstance(m, str) for m in missing):
        raise BoardError(f"{name}: board-invalid: missing is {missing!r}; {_REMEDY}")
    return Board(value)


def load(path: Path) -> Board:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BoardError(f"{path}: file-unreadable: {error.strerror}; {_REMEDY}") from None
    return parse(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text), str(path))
