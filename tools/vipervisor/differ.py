"""One guest on AMD-V and on VT-x: what it said and why it left its world, side by side."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from .channel import End
from .errors import WaitTimeout
from .machine import Machine

# Exits that depend on when something happened, not on what the guest did.
TIMED = ("interrupt", "nmi", "window", "nmi_window", "pause")
# What both back ends let exit, whatever the instruction's operands are.
TRACED = ("cpuid", "rdmsr", "wrmsr", "io", "hypercall", "hlt", "xsetbv", "wbinvd")
TRACE_MOST = 20_000
_CONTEXT = 3
_SHOWN = 40  # columns of a side at most
_ANSWER_LIMIT = 60.0
_PIECE = 500

# Runs on the monitor before the guest's first instruction. The vCPU waits for each note:
# none is lost.
TRACE_SCRIPT = f"""\
_trace = []
def _note(x):
    if len(_trace) < {TRACE_MOST}:
        about = {{"cpuid": "leaf", "rdmsr": "msr", "wrmsr": "msr", "io": "port",
                 "hypercall": "number"}}.get(x.kind)
        _trace.append((x.kind, getattr(x, about) if about else 0, x.rip))
for _kind in {TRACED!r}:
    guest.on(_kind, "trace " + _kind)(_note)
"""


@dataclass
class Run:
    """What one back end showed."""

    backend: str
    lines: list[str] = field(default_factory=list)
    exits: dict[str, int] = field(default_factory=dict)
    end: str = ""
    trace: list[tuple[str, int, int]] = field(default_factory=list)
    timed_out: bool = False


@dataclass
class Difference:
    """The first place of each sort where two runs part, as text; empty where they do not."""

    console: str = ""
    trace: str = ""
    exits: str = ""
    end: str = ""

    def __bool__(self) -> bool:
        return bool(self.console or self.trace or self.exits or self.end)


def observe(
    machine: Machine, backend: str, until: re.Pattern[str] | None, timeout: float, trace: bool
) -> Run:
    """Run a machine of one guest to its end, to a match, or for so long."""
    guest = str(machine.partition["guests"][0]["name"])
    run = Run(backend)
    end: End | None = None
    with machine:
        console = machine.console(guest, machine.boot_timeout)
        try:
            if until is None:
                end = machine.wait_end(guest, timeout)
            else:
                machine.bell.wait(
                    lambda: bool(until.search(console.text)) or machine.has_end(guest),
                    timeout,
                    f"the guest to print /{until.pattern}/ or to end",
                )
                if not until.search(console.text):
                    end = machine.wait_end(guest, timeout)
        except WaitTimeout:
            run.timed_out = True
        if end is None:
            number = machine.guests()[guest].id
            code = f"import _hv, json; print(json.dumps(_hv.guest_exits({number})))"
            run.exits = json.loads(machine.exec(code, _ANSWER_LIMIT))
            matched = until is not None and until.search(console.text) is not None
            run.end = "the match" if matched else f"no end within {timeout:g} s"
        else:
            run.exits = dict(end.exits)
            run.end = end.describe()
        text = console.text
        if end is None and until is not None:
            match = until.search(text)
            text = text[: match.end()] if match else text.rpartition("\n")[0]
        run.lines = text.replace("\r", "").split("\n")
        if trace:
            run.trace = _read_trace(machine)
    return run


def _read_trace(machine: Machine) -> list[tuple[str, int, int]]:
    rows: list[tuple[str, int, int]] = []
    while True:
        code = f"import json; print(json.dumps(_trace[{len(rows)}:{len(rows) + _PIECE}]))"
        piece: list[Any] = json.loads(machine.exec(code, _ANSWER_LIMIT))
        rows += [(str(k), int(w), int(rip)) for k, w, rip in piece]
        if len(piece) < _PIECE:
            return rows


def compare(one: Run, other: Run, ignore: re.Pattern[str] | None, timed: bool) -> Difference:
    """Where two runs part."""
    found = Difference()
    found.console = _console(one, other, ignore)
    if one.trace or other.trace:
        found.trace = _trace(one, other)
    kinds = {k for k in {*one.exits, *other.exits} if timed or k not in TIMED}
    if any(one.exits.get(k, 0) != other.exits.get(k, 0) for k in kinds):
        found.exits = "exit counts"
    if one.end != other.end:
        found.end = f"{one.backend}: {one.end}; {other.backend}: {other.end}"
    return found


def _console(one: Run, other: Run, ignore: re.Pattern[str] | None) -> str:
    for at in range(max(len(one.lines), len(other.lines))):
        left = one.lines[at] if at < len(one.lines) else None
        right = other.lines[at] if at < len(other.lines) else None
        both = left is not None and right is not None
        if left == right or (
            both and ignore is not None and ignore.search(left or "") and ignore.search(right or "")
        ):
            continue
        rows = [
            (" ", number, one.lines[number], other.lines[number])
            for number in range(max(0, at - _CONTEXT), at)
        ]
        nothing = "(it said no more)"
        rows.append((">", at, left if left is not None else nothing,
                     right if right is not None else nothing))  # fmt: skip
        return side_by_side(one.backend, other.backend, rows)
    return ""


def _trace(one: Run, other: Run) -> str:
    for at in range(max(len(one.trace), len(other.trace))):
        left = one.trace[at] if at < len(one.trace) else None
        right = other.trace[at] if at < len(other.trace) else None
        if left == right:
            continue
        rows = [
            (" ", number, _exit(one.trace[number]), _exit(other.trace[number]))
            for number in range(max(0, at - _CONTEXT), at)
        ]
        rows.append((">", at, _exit(left), _exit(right)))
        return side_by_side(one.backend, other.backend, rows)
    return ""


def _exit(row: tuple[str, int, int] | None) -> str:
    if row is None:
        return "(no more exits)"
    kind, word, rip = row
    return f"{kind} {word:#x} at {rip:#x}" if word else f"{kind} at {rip:#x}"


def side_by_side(
    left: str, right: str, rows: list[tuple[str, int, str, str]], width: int = _SHOWN
) -> str:
    """Two columns; a line too long for its column is cut where the two differ."""
    lines = [f"  {'':>5}  {left:<{width}}  {right}"]
    for mark, number, one, other in rows:
        if mark == ">" and max(len(one), len(other)) > width:
            start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
            start = max(0, min(start - 8, max(len(one), len(other)) - width))
            one, other = _cut(one, start, width), _cut(other, start, width)
        else:
            one, other = _cut(one, 0, width), _cut(other, 0, width)
        lines.append(f"{mark} {number + 1:>5}  {one:<{width}}  {other}".rstrip())
    return "\n".join(lines)


def _cut(text: str, start: int, width: int) -> str:
    shown = ("..." + text[start + 3 :]) if start else text
    return shown if len(shown) <= width else shown[: width - 3] + "..."


def counts(one: Run, other: Run) -> str:
    """Exits by kind, those that count marked where they differ."""
    kinds = sorted({*one.exits, *other.exits}, key=lambda k: (-one.exits.get(k, 0), k))
    lines = [f"  {'exits':<18}{one.backend:>10}{other.backend:>10}"]
    for kind in kinds:
        left, right = one.exits.get(kind, 0), other.exits.get(kind, 0)
        if left or right:
            mark = ">" if left != right and kind not in TIMED else " "
            lines.append(f"{mark} {kind:<18}{left:>10,}{right:>10,}")
    return "\n".join(lines)
