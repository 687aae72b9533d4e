"""Guests of one line: GNU as and ld make a flat image of it, and an error of theirs is shown
at the statement that it is about."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .errors import Unavailable, UsageError

# Mode -> what the assembler is told, the linker's emulation, the kind of image, its address.
_MODES = {
    16: (".code16", "--32", "elf_i386", "flat", 0x7C00),
    32: (".code32", "--32", "elf_i386", "flat32", 0x100000),
    64: (".code64", "--64", "elf_x86_64", "flat64", 0x100000),
}
MODES = tuple(_MODES)
_END = bytes.fromhex("f4ebfd")  # hlt; jmp to it: where code ends without an end
_LIMIT = 30.0
_MOST = 4  # errors that are shown
_ERROR = re.compile(r"^[^\n]*?:(\d+): (?:Error|Fatal error): (.*)$", re.MULTILINE)
_UNDEFINED = re.compile(r"undefined reference to `([^']+)'")
_QUOTED = re.compile(r"`([^']+)'")


@dataclass(frozen=True)
class Statement:
    """A piece of the source that stands on a line of its own for the assembler."""

    start: int  # in the source
    text: str


def statements(source: str) -> list[Statement]:
    """The source cut at `;` and at line ends, but not inside strings and comments."""
    found, start, quote, comment = [], 0, "", ""
    for at, c in enumerate(source + "\n"):
        if comment == "/*":
            if source[at - 1 : at + 1] == "*/":
                comment = ""
            continue
        if quote:
            if c == quote and source[at - 1] != "\\":
                quote = ""
            continue
        if c == '"' and not comment:
            quote = c
        elif c == "#" and not comment:
            comment = "#"
        elif source[at : at + 2] == "/*" and not comment:
            comment = "/*"
        elif c == "\n" or (c == ";" and not comment):
            found.append(Statement(start, source[start:at]))
            start, comment = at + 1, ""
    if start < len(source):
        found.append(Statement(start, source[start:]))
    return found


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise Unavailable(
            f"GNU {name} is not installed, which makes guests of -e: "
            "run `make setup`, or `sudo apt-get install binutils`"
        )
    return path


def _run(*words: str) -> tuple[int, str]:
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT,
            check=False,
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"the assembler did not end within {_LIMIT:g} s") from None
    return done.returncode, done.stdout + done.stderr


def _shown(source: str, start: int, end: int, message: str) -> str:
    """The message, the source's line and a caret under what it is about."""
    first = source.rfind("\n", 0, start) + 1
    last = source.find("\n", start)
    line = source[first : last if last >= 0 else len(source)]
    end = min(end, first + len(line))
    lead = "".join("\t" if c == "\t" else " " for c in source[first:start])
    return f"{message}\n  {line}\n  {lead}{'^' * max(1, end - start)}"


def _at(source: str, statement: Statement, message: str) -> str:
    """Where in the statement: the word that the message quotes, else all of it."""
    text = statement.text.strip()
    start = statement.start + statement.text.find(text)
    end = start + len(text)
    quoted = _QUOTED.search(message)
    if quoted:
        at = statement.text.find(quoted[1])
        if at < 0:  # as writes its operands in its own way
            words = quoted[1].split()
            at = statement.text.find(words[0]) if words else -1
            quoted = re.match(r"(\S+)", quoted[1])
        if at >= 0 and quoted:
            start = statement.start + at
            end = start + len(quoted[1])
    return _shown(source, start, end, message)


def assemble(source: str, mode: int, folder: Path) -> tuple[Path, str]:
    """The image of `source` in `folder`, and its kind; UsageError shows what is wrong."""
    head, bits, emulation, kind, address = _MODES[mode]
    pieces = statements(source)
    if not any(piece.text.strip() for piece in pieces):
        raise UsageError("-e has no instruction: say for instance 'mov $1, %eax; hlt'")
    text, thing, image = folder / "code.s", folder / "code.o", folder / "code.bin"
    lines = [head, ".globl _start", "_start:", *(piece.text for piece in pieces)]
    text.write_text("\n".join(lines) + "\n")
    before = 3  # lines of ours
    as_, ld = _tool("as"), _tool("ld")
    status, said = _run(as_, bits, "-o", str(thing), str(text))
    errors = _ERROR.findall(said)
    if status or errors:
        shown, line = [], 0
        # A piece may hold line ends (in a comment): count them.
        owner = []
        for piece in pieces:
            owner += [piece] * (piece.text.count("\n") + 1)
        for number, message in errors[:_MOST]:
            line = int(number) - before - 1
            piece = owner[min(max(line, 0), len(owner) - 1)]
            shown.append(_at(source, piece, message))
        raise UsageError("the assembler says: " + "\n".join(shown or [said.strip()]))
    status, said = _run(
        ld, "-m", emulation, f"-Ttext={address:#x}", "-N", "--oformat", "binary",
        "-o", str(image), str(thing),
    )  # fmt: skip
    if status:
        names = list(dict.fromkeys(_UNDEFINED.findall(said)))
        shown = []
        for name in names[:_MOST]:
            at = re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", source)
            message = f"nothing here is called {name}"
            shown.append(_shown(source, *at.span(), message) if at else message)
        raise UsageError("the linker says: " + "\n".join(shown or [said.strip()]))
    data = image.read_bytes()
    if not data:
        raise UsageError("-e has no instruction: say for instance 'mov $1, %eax; hlt'")
    image.write_bytes(data + _END)
    return image, kind
