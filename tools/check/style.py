"""The hand style of C and assembly, as far as a line shows it. It finds, it never reformats."""

from __future__ import annotations

import re
from pathlib import Path

from check.files import numbered, place, walk

COLUMNS = 120
LINES = 600
TEST_LINES = 900
FOLDERS = ("hypervisor", "firmware/port", "guests", "tests/core")
SUFFIXES = (".c", ".h", ".S", ".ld")

_CONTROL = re.compile(r"^(?:\} )?(?:else )?(if|for|while|switch) ?\(")


def check(root: Path) -> list[str]:
    findings = []
    for path in walk(root, FOLDERS, SUFFIXES):
        text = path.read_text(errors="replace")
        if text and not text.endswith("\n"):
            findings.append(f"{path.relative_to(root)}: no newline at the end of the file")
        most = TEST_LINES if path.is_relative_to(root / "tests") else LINES
        if text.count("\n") > most:
            findings.append(f"{path.relative_to(root)}: over {most} lines; one concept a file")
        for number, line in numbered(path):
            for what in line_findings(line, path.suffix in (".c", ".h")):
                findings.append(f"{place(root, path, number)}: {what}")
    return findings


def line_findings(line: str, is_c: bool) -> list[str]:
    """What is wrong with one line."""
    found = []
    if "\t" in line:
        found.append("a tab; indent by 4 spaces")
    if line != line.rstrip():
        found.append("space at the end of the line")
    if len(line) > COLUMNS:
        found.append(f"{len(line)} columns; at most {COLUMNS}")
    if is_c:
        what = brace_finding(line)
        if what:
            found.append(what)
    return found


def brace_finding(line: str) -> str | None:
    """Control statements open a block on their own line: `if (x) {`."""
    code = line.split("//", 1)[0].rstrip().removesuffix("\\").strip()
    if re.match(r"^(?:\} )?else\b(?! if\b)(?! \{)", code):
        return "else without ` {`"
    match = _CONTROL.match(code)
    if match is None:
        return None
    if f"{match[1]} (" not in code:
        return f"no space between {match[1]} and ("
    rest = _after_condition(code[match.end() - 1 :])
    if rest is None or rest == " {":
        return None
    if match[1] == "while" and code.startswith("} while") and rest in ("", ";"):
        return None
    if rest.startswith(" {") and rest.endswith("}"):
        return f"the body of {match[1]} belongs on its own lines"
    return f"{match[1]} without ` {{`"


def _after_condition(text: str) -> str | None:
    """What follows the closing parenthesis; None when it is on a later line."""
    depth = 0
    quote = ""
    previous = ""
    for index, char in enumerate(text):
        if quote:
            if char == quote and previous != "\\":
                quote = ""
        elif char in "\"'":
            quote = char
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                return text[index + 1 :]
        previous = char
    return None
