"""Every header of the core and of the guests compiles alone. CHECK_CPPFLAGS in the environment
says where the headers of other projects are."""

from __future__ import annotations

import os
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from check.files import walk

FLAGS = ["-std=gnu11", "-fsyntax-only", "-ffreestanding", "-mgeneral-regs-only", "-Wall", "-Wextra"]
FLAGS += ["-Werror", "-x", "c"]


def check(root: Path) -> list[str]:
    jobs = [(p, "hypervisor") for p in walk(root, ["hypervisor"], [".h"])]
    jobs += [(p, "guests/lib") for p in walk(root, ["guests"], [".h"])]
    with ThreadPoolExecutor() as pool:
        results = pool.map(lambda job: compile_alone(root, *job), jobs)
        return [finding for finding in results if finding]


def compile_alone(root: Path, header: Path, include: str) -> str | None:
    others = shlex.split(os.environ.get("CHECK_CPPFLAGS", ""))
    command = ["gcc", *FLAGS, *others, f"-I{include}", "-include", str(header), "/dev/null"]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if answer.returncode == 0:
        return None
    errors = [line for line in answer.stderr.splitlines() if "error" in line]
    first = errors[0] if errors else answer.stderr.strip()
    return f"{header.relative_to(root)}: does not compile alone: {first}"
