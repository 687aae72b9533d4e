"""A vCPU's registers, read from the monitor and shown."""

from __future__ import annotations

import json
from typing import Any

from .machine import Machine

GPRS = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
_CONTROL = ("cr0", "cr2", "cr3", "cr4", "efer")
_READ = """\
import hv, json
with hv.guest({guest!r}).paused() as _g:
    _v = _g.vcpus[0]
    _r = {{n: _v.get(n) for n in {names!r}}}
    _r["cs"] = _v.cs.selector
print(json.dumps(_r))
"""
_LIMIT = 30.0


def read(machine: Machine, guest: str) -> dict[str, int]:
    """The registers of a guest's first vCPU by name; it stands still meanwhile."""
    names = ("rip", "rflags", *GPRS, *_CONTROL)
    value: dict[str, Any] = json.loads(
        machine.exec(_READ.format(guest=guest, names=names), _LIMIT)
    )
    return {str(name): int(number) for name, number in value.items()}


def text(registers: dict[str, int]) -> str:
    """Six lines, as the prompt shows a vCPU."""
    r = registers
    lines = [f"rip {r['rip']:016x}  rflags {r['rflags']:08x}  cs {r['cs']:04x}"]
    for row in range(0, len(GPRS), 4):
        lines.append("  ".join(f"{name:<3} {r[name]:016x}" for name in GPRS[row : row + 4]))
    lines.append("  ".join(f"{name} {r[name]:x}" for name in _CONTROL))
    return "\n".join(lines)
