"""Booted machines for tests: `boot` a partition, `run_guest` for one guest. A failing test
shows the consoles, the prompt and the crash records; its logs are kept (the pytest plugin of
tools/vipervisor does both)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from vipervisor import End, Machine, MonitorError, PartitionError, WaitTimeout, paths
from vipervisor.cli.run import HOST_FAILURE, TIMED_OUT, status_of

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "build" / "test-logs"
GUESTS = ROOT / "build" / "guests"
MIB = 1 << 20
SMALL = 16 * MIB
# Seconds for a small guest to do its work, three times what a busy host needs.
SMALL_LIMIT = {"svm": 60.0, "vmx": 120.0}
# Seconds for Linux to reach user space.
LINUX_LIMIT = {"svm": 120.0, "vmx": 240.0}
MACHINES = pytest.StashKey[list[Machine]]()

Boot = Callable[..., Machine]


@dataclass(frozen=True)
class GuestRun:
    """What `hv run` would have shown of a guest."""

    status: int
    output: str
    end: End | None
    machine: Machine


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    """Every test here boots what `make build` made."""
    for name in ("vipervisor.elf", "vipervisor.bin", "bootsector.bin"):
        if not (paths.build_dir() / name).is_file():
            pytest.fail(f"{paths.build_dir() / name} is missing: run `make build`", pytrace=False)


def guest_image(name: str | Path) -> Path:
    """A built guest by its name, or any file by its path."""
    if isinstance(name, Path):
        return name
    path = GUESTS / name
    found = next((p for p in (path, path.with_suffix(".elf")) if p.is_file()), None)
    if found is None:
        pytest.fail(f"the guest {name} is not built: run `make guests`", pytrace=False)
    return found


def describe(
    guests: Sequence[str | Mapping[str, Any]], backend: str, single: bool = False
) -> tuple[dict[str, Any], dict[str, Path]]:
    """A partition description and its files. A guest is its image's name, or a mapping of
    the keys of partition.json with files as names of built guests or as paths."""
    files: dict[str, Path] = {}

    def module(file: str | Path) -> str:
        path = guest_image(file)
        name = re.sub(r"[^A-Za-z0-9._+-]", "_", path.name)
        while name in files and files[name] != path:
            name = "x" + name
        files[name] = path
        return name

    rows: list[dict[str, Any]] = []
    for guest in guests:
        given = dict(guest) if isinstance(guest, Mapping) else {"image": guest}
        image = given.pop("image")
        row = {
            "name": re.sub(r"\W", "_", Path(image).name.split(".")[0]).lower(),
            "cpus": 1,
            "memory": SMALL,
            "kind": None,
            "cmdline": "",
            "devices": [],
            "on_crash": {"do": "stop"},
            "on_poweroff": {"do": "stop"},
            "on_reboot": {"do": "stop"},
            **given,
        }
        row["image"] = module(image)
        row["initrd"] = [module(file) for file in given.get("initrd", ())]
        row["modules"] = [module(file) for file in given.get("modules", ())]
        rows.append(row)
    if single and backend == "vmx" and rows[0]["cpus"] == 1:
        rows[0]["cpus"] = [0]  # in slices on the only CPU, as `hv run` has it
    description: dict[str, Any] = {"format": 1, "name": "test", "machine": {}, "guests": rows}
    if single:
        description["run"] = {"single": True}
    return description, files


@pytest.fixture
def boot(
    boot_machine: Callable[..., Machine], backend: str, limit: Mapping[str, str] | None
) -> Boot:
    """boot(partition or guests, files=..., **options of Machine) -> a running Machine."""

    def start(
        what: Mapping[str, Any] | Sequence[str | Mapping[str, Any]] = (),
        files: Mapping[str, Path] | None = None,
        single: bool = False,
        **options: Any,
    ) -> Machine:
        if isinstance(what, Mapping):
            description, found = dict(what), dict(files or {})
        else:
            description, found = describe(what, backend, single)
            found.update(files or {})
        machine = boot_machine(description, found, **options)
        if limit is not None:
            skip_limited(limit, machine)
        return machine

    return start


@pytest.fixture
def run_guest(boot: Boot, backend: str) -> Callable[..., GuestRun]:
    """run_guest(name, until=..., timeout=..., text=..., **keys of the guest) -> GuestRun."""

    def run(
        image: str | Path,
        *,
        until: str | None = None,
        timeout: float | None = None,
        text: str | None = None,
        files: Mapping[str, Path] | None = None,
        machine: Mapping[str, Any] | None = None,
        **guest: Any,
    ) -> GuestRun:
        limit = timeout or SMALL_LIMIT[backend]
        options = dict(machine or {})
        booted = boot([{"image": image, **guest}], files, single=True, **options)
        name = booted.partition["guests"][0]["name"]
        end, output = None, ""
        try:
            console = booted.console(name, limit)
            if text is not None:
                console.write(text)
            if until is not None:
                wait_match_or_end(booted, name, until, limit)
                if re.search(until, console.text, re.MULTILINE):
                    return GuestRun(0, console.text, None, booted)
            end = booted.wait_end(name, limit)
            status = status_of(end, until is not None)
        except PartitionError:
            status = HOST_FAILURE
        except WaitTimeout:
            status = TIMED_OUT
        for console in booted.link.consoles.values():
            output = console.text
        return GuestRun(status, output, end, booted)

    return run


def wait_match_or_end(machine: Machine, name: str, pattern: str, limit: float) -> None:
    compiled = re.compile(pattern, re.MULTILINE)
    console = machine.console(name, limit)
    machine.bell.wait(
        lambda: bool(compiled.search(console.text)) or machine.has_end(name),
        limit,
        lambda: f"/{pattern}/ or the end of {name}; its last lines:\n{console.tail()}",
    )


def skip_limited(entry: Mapping[str, str], machine: Machine) -> None:
    """Skip a test that tests/limits.toml names, when its probe shows the fault."""
    probe = entry["probe"]
    try:
        answer = machine.exec(f"import _hv, hv; print(bool({probe}))").strip()
    except MonitorError as error:
        pytest.fail(f"tests/limits.toml: the probe {probe} fails: {error}", pytrace=False)
    if answer != "True":
        pytest.skip(f"{entry['fault']} (the probe {probe} is false)")
