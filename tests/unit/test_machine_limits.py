"""tests/conftest.py keeps tests/limits.toml honest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
TEST = """
import pytest

def test_a(backend):
    if backend == "vmx":
        pytest.skip("its emulator cannot")

def test_b():
    pytest.skip("no back end, no business of the limits")
"""
LIMIT = """
[[limit]]
test = "tests/test_x.py::test_a"
backend = "{0}"
fault = "f"
probe = "p"
"""


def run(folder: Path, limits: str) -> tuple[int, str, dict[str, str]]:
    """Status, output and recorded results of pytest on a tree of its own."""
    tests = folder / "tests"
    tests.mkdir(exist_ok=True)
    shutil.copy(CONFTEST, tests)
    (tests / "test_x.py").write_text(TEST)
    (tests / "limits.toml").write_text(limits)
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-o", "vipervisor_backends=svm vmx", "tests"),
        ],
        cwd=folder,
        env={
            **os.environ,
            "VIPERVISOR_RESULTS": "build/results.json",
            "PYTHONPATH": str(CONFTEST.parents[1] / "tools"),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return result.returncode, result.stdout, json.loads((folder / "build/results.json").read_text())


def test_skip_without_an_entry_fails(tmp_path: Path) -> None:
    status, output, results = run(tmp_path, "")
    assert status == 1 and "skipped on vmx without an entry in tests/limits.toml" in output
    assert "1 failed, 1 passed, 1 skipped" in output
    assert results["tests/test_x.py::test_a[svm]"] == "passed"


def test_skip_with_an_entry(tmp_path: Path) -> None:
    status, output, _ = run(tmp_path, LIMIT.format("vmx"))
    assert (status, "1 passed, 2 skipped" in output) == (0, True)


def test_entry_of_the_other_back_end(tmp_path: Path) -> None:
    status, output, _ = run(tmp_path, LIMIT.format("svm"))
    assert status == 1
    assert "test_a passes on svm now; its entry can go" in output
