"""The commands in the documents do what the documents say: each block marked
`console run` is run, and what it shows is compared; `...` stands for anything."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.machine

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")],
    key=lambda page: str(page),
)
LIMIT = 200  # seconds for one command
_BLOCK = re.compile(r"^```console run\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    steps: tuple[tuple[str, tuple[str, ...]], ...]  # a command and the lines it shows


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in _BLOCK.finditer(text):
            steps: list[tuple[str, list[str]]] = []
            for row in match[1].splitlines():
                if row.startswith("$ "):
                    steps.append((row[2:], []))
                else:
                    steps[-1][1].append(row)
            line = text.count("\n", 0, match.start()) + 1
            known = tuple((command, tuple(lines)) for command, lines in steps)
            found.append(Block(str(page.relative_to(ROOT)), line, known))
    return found


def pattern(lines: tuple[str, ...]) -> re.Pattern[str]:
    """What a command may print: a line `...` is any lines, `...` in a line any text."""
    parts = []
    for line in lines:
        if line == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*".join(re.escape(text) for text in line.split("...")) + r" *\n")
    return re.compile("".join(parts))


@pytest.mark.parametrize("block", blocks(), ids=lambda block: f"{block.page}:{block.line}")
def test_commands_do_what_the_page_says(block: Block) -> None:
    keep = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VIPERVISOR_RESULTS")
    environment = {k: v for k, v in os.environ.items() if k not in keep}
    for command, shown in block.steps:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LIMIT,
            check=False,
        )
        output = done.stdout.decode(errors="replace").replace("\r\n", "\n")
        output = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", output)
        assert done.returncode == 0, f"$ {command}\n{output}"
        if shown:
            if not output.endswith("\n"):
                output += "\n"
            assert pattern(shown).fullmatch(output), f"$ {command}\n{output}"


def test_the_pages_have_commands_to_run() -> None:
    pages = {block.page for block in blocks()}
    assert {"README.md", "docs/getting-started.md", "docs/extending.md"} <= pages
    assert sum(len(block.steps) for block in blocks()) >= 20
