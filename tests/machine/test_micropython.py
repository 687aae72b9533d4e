"""A sample of MicroPython's own tests, and the list of those that fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mptests import runner
from mptests.runner import Listed, Outcome
from vipervisor import Machine

pytestmark = pytest.mark.machine

SAMPLE = (
    "basics/int_big1.py",
    "basics/try_finally_return5.py",
    "basics/memoryview1.py",
    "float/float_format_ints_doubleprec.py",
    "io/file1.py",
    "import/import_pkg1.py",
    "micropython/native_closure.py",
    "micropython/viper_ptr16_store.py",
    "misc/sys_atexit.py",
    "unicode/file2.py",
)


@pytest.mark.parametrize(
    "backend", ["svm", pytest.param("vmx", marks=pytest.mark.full)], indirect=True
)
def test_sample(boot: Callable[..., Machine], backend: str, tmp_path: Path) -> None:
    machine = boot([])
    outcome = runner.run(machine, runner.source_dir(), SAMPLE, work=tmp_path)
    assert outcome.ran == set(SAMPLE)
    assert not outcome.skipped
    assert runner.findings(outcome, runner.read_listed(), backend, whole=False) == []


def test_the_list_is_kept() -> None:
    listed = [Listed("a/x.py", "why", ("svm", "vmx")), Listed("a/y.py", "why", ("vmx",))]

    def found(passed: set[str], failed: set[str], backend: str, whole: bool = False) -> list[str]:
        return runner.findings(Outcome(passed, failed), listed, backend, whole)

    assert found(set(), {"a/x.py"}, "svm") == []
    assert found({"a/y.py"}, {"a/x.py"}, "svm", whole=True) == []
    assert [line.split(":")[0] for line in found({"a/x.py"}, {"a/y.py"}, "svm")] == [
        "a/y.py fails",
        "a/x.py passes on svm now",
    ]
    assert "a/y.py is listed as a failure on vmx, but was not there" in found(
        set(), {"a/x.py"}, "vmx", whole=True
    )[0]


def test_every_entry_names_a_test() -> None:
    tests = runner.source_dir() / "tests"
    for entry in runner.read_listed():
        assert (tests / entry.test).is_file(), entry.test
        assert entry.test.split("/")[0] in runner.FOLDERS
