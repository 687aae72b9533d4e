"""The rows of tests/support.toml: which unmodified programs run where."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "tests" / "support.toml"
TEST = "tests/machine/test_support.py::test_program"
EMULATORS = {"svm": "svm (AMD-V) in QEMU", "vmx": "vmx (VT-x) in Bochs"}


@dataclass(frozen=True)
class Program:
    """One unmodified program, and how it is started."""

    name: str
    title: str
    image: str
    memory: str
    check: str
    seen: str
    initrd: str = ""
    cmdline: str = ""


@dataclass(frozen=True)
class Row:
    """One place where a program runs."""

    program: Program
    backend: str
    cpus: int
    full: bool = False

    @property
    def id(self) -> str:
        return f"{self.program.name}-{self.backend}-{self.cpus}"

    @property
    def test(self) -> str:
        return f"{TEST}[{self.id}]"

    @property
    def words(self) -> list[str]:
        """The arguments of `hv` that start it."""
        program = self.program
        words = ["run", program.image]
        words += ["--initrd", program.initrd] if program.initrd else []
        words += ["--cmdline", program.cmdline] if program.cmdline else []
        words += ["--memory", program.memory] if program.memory != "256M" else []
        words += ["--cpus", str(self.cpus)] if self.cpus != 1 else []
        return words + (["--backend", self.backend] if self.backend != "svm" else [])

    @property
    def command(self) -> str:
        return shlex.join(["tools/hv", *self.words])


def read() -> list[Row]:
    """All rows, in the file's order; a key too many or too few is an error."""
    data = tomllib.loads(FILE.read_text())
    programs = {name: Program(name, **keys) for name, keys in data.pop("program").items()}
    rows = []
    for keys in data.pop("row"):
        row = Row(programs[keys.pop("program")], **keys)
        if row.backend not in EMULATORS:
            raise ValueError(f"{FILE.name}: {row.id}: there is no back end {row.backend}")
        rows.append(row)
    names = [row.id for row in rows]
    twice = {name for name in names if names.count(name) > 1}
    unused = set(programs) - {row.program.name for row in rows}
    if twice or unused or data:
        raise ValueError(f"{FILE.name}: twice: {twice}; without a row: {unused}; keys: {[*data]}")
    return rows
