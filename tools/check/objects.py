"""The core touches no vector or x87 register, so a guest's stay live across its exits."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ARCHIVE = "build/core.a"
LIMIT = 20
# What these do is reach a guest's own live registers, for an access that the core carries out.
ALLOWED = {
    ("emulate_vector.o", name)
    for name in ("vector_read", "vector_write", "mmx_read", "mmx_write", "x87_exception_waits")
}
_REGISTER = re.compile(r"%(?:[xyz]mm\d+|st\b|st\(\d\)|mm\d|k[0-7]\b)")


def check(root: Path) -> list[str]:
    archive = root / ARCHIVE
    if not archive.is_file():
        return [f"{ARCHIVE} is not there: make build"]
    answer = subprocess.run(
        ["objdump", "--disassemble", "--no-show-raw-insn", str(archive)],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        return [f"objdump cannot read {ARCHIVE}: {answer.stderr.strip()}"]
    return uses(answer.stdout)


def uses(listing: str) -> list[str]:
    """Findings from objdump's listing of an archive."""
    findings: list[str] = []
    member = function = "?"
    for line in listing.splitlines():
        if ":     file format" in line:
            member = line.split(":")[0]
        elif line.endswith(">:"):
            function = line.split("<")[1][:-2]
        elif _REGISTER.search(line) and (member, function) not in ALLOWED:
            findings.append(f"{member}: {function}: {' '.join(line.split()[1:])}")
    if len(findings) > LIMIT:
        findings = findings[:LIMIT] + [f"... and {len(findings) - LIMIT} more"]
    return findings
