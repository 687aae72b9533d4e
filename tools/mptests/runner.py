"""MicroPython's own runner (tests/run-tests.py of the pinned source) against the prompt of
a booted machine, and what it said compared with tests/micropython/expected.toml."""

from __future__ import annotations

import base64
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vipervisor import Machine
from vipervisor.hub import PromptShare, Pty

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
LISTED = ROOT / "tests" / "micropython" / "expected.toml"
SHIM = ROOT / "tests" / "micropython" / "unittest.py"
WORK = ROOT / "build" / "micropython-tests"

# Folders of MicroPython's tests/ that mean something here. Of the others, `cmdline`,
# `ports`, `net_*` and `multi_*` test programs and boards, `thread` a feature that is off.
FOLDERS = (
    "basics", "micropython", "float", "import", "io", "misc", "unicode", "extmod", "stress",
)
# What the runner itself, and CPython as its oracle, need besides.
_ALSO = ("feature_check", "run-tests.py")
# Folders whose tests open or import files that lie beside them.
_WITH_FILES = ("io/data", "unicode/data", "import")
_SILENCE = 600.0  # seconds without a line before the run is given up
_ONE_TEST = 120.0  # seconds in which a test says something
_PIECE = 2048
_VERDICT = re.compile(r"(pass|FAIL|skip)\s+(\S+\.py)\b")


class RunnerError(Exception):
    """The run could not be done; the text says why and what to do."""


@dataclass
class Outcome:
    """Verdicts by test (`folder/name.py`)."""

    passed: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    results: Path = WORK  # where the runner left what failing tests printed

    def add(self, verdict: str, test: str) -> None:
        {"pass": self.passed, "FAIL": self.failed, "skip": self.skipped}[verdict].add(test)

    @property
    def ran(self) -> set[str]:
        return self.passed | self.failed | self.skipped


@dataclass(frozen=True)
class Listed:
    """A failure that is known, and why it is one."""

    test: str
    reason: str
    backends: tuple[str, ...]


def read_listed(path: Path = LISTED) -> list[Listed]:
    """The entries of expected.toml."""
    rows = tomllib.loads(path.read_text()).get("fails", [])
    listed = []
    for row in rows:
        unknown = set(row) - {"test", "reason", "backends"}
        if unknown or not row.get("test") or not row.get("reason"):
            raise RunnerError(f"{path}: an entry needs `test` and `reason`, and may have "
                              f"`backends`: {row}")
        listed.append(Listed(row["test"], row["reason"], tuple(row.get("backends", BACKENDS))))
    return listed


BACKENDS = ("svm", "vmx")


def findings(outcome: Outcome, listed: Sequence[Listed], backend: str, whole: bool) -> list[str]:
    """What is not as expected.toml says; with `whole`, entries that no test has, too."""
    known = {entry.test for entry in listed if backend in entry.backends}
    found = [
        f"{test} fails: mend it, or list it with its reason in {LISTED.relative_to(ROOT)}; "
        f"what it printed is under {outcome.results}"
        for test in sorted(outcome.failed - known)
    ]
    found += [
        f"{test} passes on {backend} now: its entry in {LISTED.relative_to(ROOT)} must go"
        for test in sorted(outcome.passed & known)
    ]
    if whole:
        found += [
            f"{test} is listed as a failure on {backend}, but was "
            f"{'skipped' if test in outcome.skipped else 'not there'}: its entry must go"
            for test in sorted(known - outcome.failed - outcome.passed)
        ]
    return found


def source_dir() -> Path:
    """The MicroPython source that the monitor is made of."""
    given = os.environ.get("MICROPY_DIR")
    config = ROOT / ".cache" / "config.mk"
    if not given and config.is_file():
        match = re.search(r"^MICROPY_DIR\s*\?=\s*(.*)$", config.read_text(), re.MULTILINE)
        given = match[1].replace("$(CURDIR)", str(ROOT)) if match else None
    if not given or not (Path(given) / "tests" / "run-tests.py").is_file():
        raise RunnerError(
            f"MICROPY_DIR ({given!r}) holds no MicroPython source with tests/: run `make setup`"
        )
    return Path(given)


def prepare(source: Path, work: Path) -> Path:
    """A copy of the tests, since CPython writes beside them; returns its tests/ folder."""
    shutil.rmtree(work, ignore_errors=True)
    tests = work / "source" / "tests"
    tests.mkdir(parents=True)
    for name in FOLDERS + _ALSO:
        place = source / "tests" / name
        copy: Callable[[Path, Path], object] = shutil.copytree if place.is_dir() else shutil.copy
        copy(place, tests / name)
    tools = work / "source" / "tools"
    tools.mkdir()
    # Its limit of ten seconds without output is for boards; an emulator on a busy host needs
    # more.
    text = (source / "tools" / "pyboard.py").read_text()
    if "timeout=10" not in text:
        raise RunnerError("tools/pyboard.py of this MicroPython source has no limit `timeout=10`")
    (tools / "pyboard.py").write_text(text.replace("timeout=10", f"timeout={_ONE_TEST:g}"))
    return tests


def _target_files(tests: Path, folders: set[str]) -> Iterator[tuple[str, bytes]]:
    """What tests of `folders` open and import, by its name on the target: they run in its
    root."""
    yield "lib/unittest.py", SHIM.read_bytes()
    for folder in _WITH_FILES:
        base = tests / folder
        if folder.split("/")[0] not in folders:
            continue
        top = "data/" if base.name == "data" else ""
        for file in sorted(base.rglob("*")):
            if file.is_file() and file.suffix != ".exp":
                yield top + file.relative_to(base).as_posix(), file.read_bytes()


def put_files(machine: Machine, tests: Path, folders: set[str]) -> None:
    """Copy the tests' files to the monitor's RAM disk, some kilobytes at a time."""
    made: set[str] = set()
    lines = ["import os, binascii"]
    for name, data in _target_files(tests, folders):
        parts = name.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if folder not in made:
                made.add(folder)
                lines.append(f"os.mkdir({folder!r})")
        for at in range(0, max(len(data), 1), _PIECE):
            text = base64.b64encode(data[at : at + _PIECE]).decode()
            mode = "ab" if at else "wb"
            lines.append(f"with open({name!r}, {mode!r}) as f:")
            lines.append(f" f.write(binascii.a2b_base64({text!r}))")
        if sum(map(len, lines)) > 2 * _PIECE:
            machine.exec("\n".join(lines), _ONE_TEST)
            lines.clear()
    machine.exec("\n".join(lines), _ONE_TEST)


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """The runner's lines; gives up when it says nothing for too long."""
    said: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.put(line)
        said.put(None)

    threading.Thread(target=read, name="run-tests", daemon=True).start()
    last = "its start"
    while True:
        try:
            line = said.get(timeout=_SILENCE)
        except queue.Empty:
            raise RunnerError(
                f"MicroPython's runner said nothing for {_SILENCE:g} s after: {last}"
            ) from None
        if line is None:
            return
        last = line.strip() or last
        yield line


def run(
    machine: Machine,
    source: Path,
    tests: Sequence[str] = (),
    work: Path = WORK,
    progress: Callable[[Outcome, str], None] | None = None,
) -> Outcome:
    """Run `tests` (names as `basics/int1.py` or folders; none: all) on a booted machine."""
    folder = prepare(source, work)
    names = list(tests or FOLDERS)
    for name in names:
        if not (folder / name).exists():
            raise RunnerError(f"MicroPython has no test {name}; folders are: {' '.join(FOLDERS)}")
    files = [name for name in names if name.endswith(".py")]
    for each in (name for name in names if not name.endswith(".py")):
        files += sorted(f"{each}/{file.name}" for file in (folder / each).glob("*.py"))
    put_files(machine, folder, {name.split("/")[0] for name in files})
    share = PromptShare(machine.prompt)
    pty = Pty(share)
    outcome = Outcome(results=work / "results")
    command = [sys.executable, "run-tests.py", "-t", pty.path, "-r", str(outcome.results), *files]
    environment = {
        **os.environ,
        "MICROPY_CPYTHON3": sys.executable,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    said: list[str] = []
    try:
        for line in _lines(process):
            said.append(line)
            match = _VERDICT.match(line)
            if match:
                outcome.add(match[1], match[2])
                if progress is not None:
                    progress(outcome, match[2])
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        pty.close()
    missing = sorted(set(files) - outcome.ran)
    if missing:
        tail = "".join(said[-12:])
        raise RunnerError(
            f"MicroPython's runner ended (status {process.returncode}) without a verdict on "
            f"{missing[0]} and {len(missing) - 1} more; machine: {machine.ended or 'running'}; "
            f"it said at last:\n{tail}"
        )
    return outcome
