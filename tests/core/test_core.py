"""Unit tests of the core in C, compiled for the host and run under the sanitizers.

Each test_NAME.c is one program. Every CASE in it is one test here: it passes when the
program says so, and a program that dies leaves its remaining cases failed.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "tests" / "core"
CFLAGS = [
    "-std=gnu11",
    "-O1",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-I" + str(ROOT / "hypervisor"),
    "-I" + str(ROOT / "build" / "gen"),  # the font
]
CASE = re.compile(r"^CASE\((\w+)\)", re.MULTILINE)
SOURCES = re.compile(r"^// sources: (.+)$", re.MULTILINE)
NEEDS_ZYDIS = re.compile(r"^// needs: zydis$", re.MULTILINE)
RESULT = re.compile(r"^(ok|not ok) \d+ - (\w+)$")
COMPILE_LIMIT = 120
RUN_LIMIT = 120


def all_cases() -> list[tuple[str, str]]:
    return [
        (source.stem, name)
        for source in sorted(HERE.glob("test_*.c"))
        for name in CASE.findall(source.read_text())
    ]


@functools.cache
def zydis_arguments() -> list[str]:
    """Include flags and objects of the decoder, built if they are not yet."""
    command = ["make", "-s", "zydis-for-tests"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=COMPILE_LIMIT
    )
    assert done.returncode == 0, f"{' '.join(command)} failed: {done.stderr}"
    arguments = done.stdout.split()
    return [str(ROOT / word) if word.endswith(".o") else word for word in arguments]


@functools.cache
def compiled(stem: str) -> tuple[Path, str]:
    """The test program of one file, and what the compiler had to say against it."""
    source = HERE / f"{stem}.c"
    named = SOURCES.findall(source.read_text())
    assert named, f"{source.name} has no line '// sources: ...'"
    program = BUILD / stem
    BUILD.mkdir(parents=True, exist_ok=True)
    command = [os.environ.get("CC", "gcc"), *CFLAGS, "-o", str(program), str(source)]
    # A test that includes its source, to give it other instructions, says "none".
    command += [str(ROOT / path) for line in named for path in line.split() if path != "none"]
    if NEEDS_ZYDIS.search(source.read_text()):
        # The monitor's own objects, which are not position-independent.
        command += ["-no-pie", *zydis_arguments()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_LIMIT)
    return program, "" if done.returncode == 0 else done.stderr or f"{command[0]} failed"


@functools.cache
def results(stem: str) -> tuple[dict[str, tuple[bool, str]], str]:
    """Verdict and remarks of each case, and how the program ended."""
    program, error = compiled(stem)
    if error:
        return {}, f"{stem}.c does not compile:\n{error}"
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=RUN_LIMIT)
    verdicts: dict[str, tuple[bool, str]] = {}
    remarks: list[str] = []
    for line in done.stdout.splitlines():
        result = RESULT.match(line)
        if result:
            verdicts[result[2]] = (result[1] == "ok", "\n".join(remarks))
            remarks = []
        else:
            remarks.append(line)
    return verdicts, f"exit status {done.returncode}\n" + "\n".join(remarks) + done.stderr


@pytest.mark.parametrize(("stem", "name"), all_cases())
def test_case(stem: str, name: str) -> None:
    verdicts, end = results(stem)
    assert name in verdicts, f"{stem} did not get through {name}: {end}"
    passed, remarks = verdicts[name]
    assert passed, remarks


@pytest.mark.parametrize("stem", sorted({stem for stem, _ in all_cases()}))
def test_program_ends_cleanly(stem: str) -> None:
    """Nothing went wrong outside a case: no leak, no undefined behaviour."""
    verdicts, end = results(stem)
    failed = not all(passed for passed, _ in verdicts.values())
    assert end.startswith(f"exit status {int(failed)}\n"), end
