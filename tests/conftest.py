"""For every test: the back end as a dimension, and tests/limits.toml kept honest."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytest_plugins = ("vipervisor.pytest_plugin",)  # `backend`, `guest`, `machine`

ROOT = Path(__file__).resolve().parents[1]
LIMITS = ROOT / "tests" / "limits.toml"
BACKENDS = ("svm", "vmx")

_BACKEND = "vipervisor_backend"
_outcomes: dict[tuple[str, str], str] = {}  # (test, back end) -> outcome
_all: dict[str, str] = {}


def read_limits(kind: str = "limit") -> list[dict[str, str]]:
    """The entries of tests/limits.toml: of tests, or `skip`, of what guests skip."""
    if not LIMITS.is_file():
        return []
    return list(tomllib.loads(LIMITS.read_text()).get(kind, []))


def test_name(item: pytest.Item) -> str:
    """A test's name without its parameters, as limits.toml has it."""
    return item.nodeid.partition("[")[0]


def backend_of(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    value = callspec.params.get("backend") if callspec else None
    return value if value in BACKENDS else None


def limit_of(item: pytest.Item) -> dict[str, str] | None:
    """The entry that allows this test to be skipped on its back end."""
    name, backend = test_name(item), backend_of(item)
    for entry in read_limits():
        if entry.get("test") == name and entry.get("backend") == backend:
            return entry
    return None


@pytest.fixture
def limit(request: pytest.FixtureRequest) -> dict[str, str] | None:
    """This test's entry in tests/limits.toml."""
    return limit_of(request.node)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    report = yield
    backend = backend_of(item)
    if backend:
        report.user_properties.append((_BACKEND, backend))
        if report.outcome == "skipped" and limit_of(item) is None:
            report.outcome = "failed"
            report.longrepr = (
                f"skipped on {backend} without an entry in tests/limits.toml: name the "
                f"emulator's fault and its probe there, or make it run ({report.longrepr})"
            )
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In the process that collects the results, wherever the test ran."""
    if report.when == "call" or report.outcome != "passed":
        _all[report.nodeid] = report.outcome
        backend = dict(report.user_properties).get(_BACKEND)
        if backend:
            _outcomes[report.nodeid.partition("[")[0], str(backend)] = report.outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Outcomes for the checks that read them, added to those of earlier runs."""
    target = os.environ.get("VIPERVISOR_RESULTS")
    if not target or hasattr(session.config, "workerinput"):
        return
    path = ROOT / target
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        known = {}
    path.write_text(json.dumps({**known, **_all}, indent=1) + "\n")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which limits did not limit: their emulator may have been mended."""
    for entry in read_limits():
        key = (entry.get("test", ""), entry.get("backend", ""))
        if _outcomes.get(key) == "passed":
            terminalreporter.write_line(
                f"tests/limits.toml: {key[0]} passes on {key[1]} now; its entry can go"
            )
