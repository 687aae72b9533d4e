"""A pytest plugin: machines and guests for tests, and what they said when a test fails.

    def test_boot(guest):
        guest("my.elf").expect("ready", timeout=5)

Fixtures: `guest` boots one image, `machine` a partition file, `boot_machine` a description;
`backend` is where they run (`svm` in QEMU, `vmx` in Bochs): a test that uses one of them
runs once for each back end of the ini option `vipervisor_backends`, which is `svm` unless it
says more. docs/api.md describes them.
"""

from __future__ import annotations

import difflib
import inspect
import re
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from . import partition
from .accel import BACKENDS
from .channel import describe_crash
from .cli.run import guest_name
from .errors import HostError, Unavailable, UsageError
from .guest import Guest
from .machine import Machine

MACHINES = pytest.StashKey[list[Machine]]()
FAILED = pytest.StashKey[bool]()
_TAIL = 40  # lines of each console in a report

BootMachine = Callable[..., Machine]
ARGUMENTS = tuple(inspect.signature(partition.single_guest).parameters)[1:]  # of guest()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("vipervisor_backends", "back ends to test on: svm, vmx", "args", ["svm"])
    parser.addini("vipervisor_logs", "where the logs of failed tests are kept", "string",
                  "vipervisor-logs")
    group = parser.getgroup("vipervisor")
    group.addoption(
        "--vipervisor-backend", action="append", choices=BACKENDS, dest="vipervisor_backend",
        help="a back end to test on, instead of the ini option's (may be repeated)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`backend` as a dimension of every test that boots something."""
    if "backend" not in metafunc.fixturenames:
        return
    for mark in metafunc.definition.iter_markers("parametrize"):
        names = mark.args[0]
        names = names.split(",") if isinstance(names, str) else names
        if "backend" in [name.strip() for name in names]:
            return
    definitions = metafunc._arg2fixturedefs.get("backend") or ()
    if not definitions or definitions[-1].func.__module__ != __name__:
        return  # the project has a fixture of its own
    config = metafunc.config
    backends = config.getoption("vipervisor_backend") or config.getini("vipervisor_backends")
    wrong = [name for name in backends if name not in BACKENDS]
    if wrong:
        raise pytest.UsageError(
            f"vipervisor_backends: there is no {wrong[0]} (there are: {', '.join(BACKENDS)})"
        )
    metafunc.parametrize("backend", backends, indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """`svm` in QEMU or `vmx` in Bochs."""
    return str(request.param)


def log_folder(item: pytest.Item) -> Path:
    """Where the logs of this test's machines are kept when it fails."""
    base = item.config.rootpath / str(item.config.getini("vipervisor_logs"))
    return base / re.sub(r"[^A-Za-z0-9_.\[\]-]+", "-", item.nodeid.rpartition("/")[2])


@pytest.fixture
def boot_machine(request: pytest.FixtureRequest, backend: str) -> Iterator[BootMachine]:
    """boot_machine(description, files, **options of Machine) -> a running Machine, which
    ends with the test."""
    machines: list[Machine] = []
    request.node.stash[MACHINES] = machines
    folder = log_folder(request.node)
    shutil.rmtree(folder, ignore_errors=True)

    def start(
        description: Mapping[str, Any],
        files: Mapping[str, Path | str] | None = None,
        **options: Any,
    ) -> Machine:
        options.setdefault("backend", backend)
        machine = Machine(description, files, logs=folder / str(len(machines)), **options)
        machines.append(machine)
        machine.start()
        return machine

    yield start
    for machine in machines:
        machine.close()
    if not request.node.stash.get(FAILED, False):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def machine(boot_machine: BootMachine) -> BootMachine:
    """machine("partition.toml", **options of Machine) -> a running Machine."""

    def start(file: Path | str, **options: Any) -> Machine:
        loaded = partition.load(file)
        if loaded.description is None:
            raise UsageError(loaded.said)
        return boot_machine(loaded.description, loaded.files, **options)

    return start


@pytest.fixture
def guest(boot_machine: BootMachine, backend: str) -> Callable[..., Guest]:
    """guest("my.elf", cmdline=..., memory="16M", ...) -> a running Guest: the arguments of
    `hv run`, and `machine` with options of Machine."""

    def start(
        image: Path | str, *, machine: Mapping[str, Any] | None = None, **options: Any
    ) -> Guest:
        for name in options:
            if name not in ARGUMENTS:
                close = difflib.get_close_matches(name, ARGUMENTS, 1)
                hint = f"did you mean {close[0]}? " if close else ""
                raise UsageError(
                    f"guest() takes no {name}; {hint}it takes: {', '.join(ARGUMENTS)}, machine")
        if not Path(image).exists():
            raise UsageError(f"there is no image {image} (this is {Path.cwd()})")
        # Bochs runs its CPUs in turn: a second one for a single guest CPU only costs time.
        options.setdefault("control", backend == "vmx")
        options.setdefault("name", guest_name(Path(image)))
        loaded = partition.single_guest(image, **options)
        if loaded.description is None:
            raise UsageError("\n".join(f"guest({image}): {f.text}" for f in loaded.findings))
        booted = boot_machine(loaded.description, loaded.files, **dict(machine or {}))
        return Guest(booted, str(loaded.description["guests"][0]["name"]))

    return start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Attach what the machines said to a failure; a host that cannot do it is a skip."""
    if call.excinfo is not None and call.excinfo.errisinstance(Unavailable):
        try:
            pytest.skip(str(call.excinfo.value))
        except pytest.skip.Exception:
            call.excinfo = pytest.ExceptionInfo.from_current()
    if call.excinfo is not None and call.excinfo.errisinstance(HostError):
        if not item.config.getoption("fulltrace"):
            _leave_out_ours(call.excinfo.tb)
    report = yield
    if report.failed:
        item.stash[FAILED] = True
        machines = item.stash.get(MACHINES, [])
        for number, machine in enumerate(machines):
            for title, text in machine_story(machine):
                report.sections.append((f"machine {number}: {title}", text))
        if machines and report.when == "call":
            report.sections.append(("machine logs", f"kept in {log_folder(item)}"))
    return report


def _leave_out_ours(trace: TracebackType | None) -> None:
    """What failed is told in its sentence; how this package came to say it is no help."""
    folder = Path(__file__).parent
    while trace is not None:
        below = trace.tb_next
        while below is not None and Path(below.tb_frame.f_code.co_filename).parent == folder:
            below = below.tb_next
        trace.tb_next = below
        trace = below


def machine_story(machine: Machine) -> Iterator[tuple[str, str]]:
    """What a person needs to see why a booted test failed."""
    try:
        link, prompt = machine.link, machine.prompt
    except HostError:  # it never got so far
        return
    yield "prompt", prompt.tail(_TAIL) or "(nothing)"
    for console in list(link.consoles.values()):
        yield f"console of {console.guest.name}", console.tail(_TAIL) or "(nothing)"
    for end in link.ends:
        if end.crash:
            yield f"crash record of {end.guest}", describe_crash(end.crash)
    yield "guests", "\n".join(end.describe() for end in link.last.values()) or "(none)"
    if machine.ended:
        yield "end of the machine", machine.ended
