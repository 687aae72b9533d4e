"""The pytest plugin as a project outside the tree meets it: from an installed package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = ("vipervisor.elf", "vipervisor.bin", "bootsector.bin")
LIMIT = 200


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as pip installs it."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("tools/vipervisor", "firmware/hv/rules"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tree / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, tree / name)
    (tree / "build").mkdir()
    for name in BUILT:
        (tree / "build" / name).symlink_to(ROOT / "build" / name)
    code = "from setuptools import setup; setup()"
    words = [sys.executable, "-c", code, "-q", "build_py", "--build-lib", "site"]
    done = subprocess.run(words, cwd=tree, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    return tree / "site"


def run(package: Path, project: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("VIPERVISOR_", "PYTEST"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "vipervisor.pytest_plugin", "-p",
         "no:cacheprovider", *words],
        cwd=project, capture_output=True, text=True, timeout=LIMIT,
        env={**plain, "PYTHONPATH": str(package), **env},
    )


def test_example_project_passes(package: Path, backend: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(ROOT / "examples" / "pytest-project", project)
    # What its pyproject.toml says, or what its README says of Bochs.
    words = [] if backend == "svm" else ["--vipervisor-backend", backend]
    done = run(package, project, *words)  # of its own kernel, which is built first
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout and "warning" not in done.stdout + done.stderr
    kernel = str(ROOT / "build" / "guests" / "hello.elf")
    done = run(package, project, "-k", f"test_status and {backend}", *words, KERNEL=kernel)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr
    assert not (project / "vipervisor-logs").exists() or not any(
        (project / "vipervisor-logs").iterdir()
    )


def test_failure_shows_console_and_crash_record(package: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    image = ROOT / "build" / "guests" / "triple.elf"
    (tmp_path / "test_it.py").write_text(
        f"def test_boot(guest):\n    guest({str(image)!r}).expect('never said', timeout=60)\n"
    )
    done = run(package, tmp_path)
    assert done.returncode == 1
    assert "GuestEnded: triple" in done.stdout and "before" in done.stdout
    assert "console of triple" in done.stdout
    assert "crash record of triple" in done.stdout and "triple fault" in done.stdout
    assert (tmp_path / "vipervisor-logs").is_dir()


def test_unknown_back_end_is_one_sentence(package: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.pytest.ini_options]\nvipervisor_backends = ['arm']\n"
    )
    (tmp_path / "test_it.py").write_text("def test_boot(guest):\n    guest('x')\n")
    done = run(package, tmp_path)
    assert "there is no arm (there are: svm, vmx)" in done.stdout + done.stderr


def test_failures_are_short(package: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    image = ROOT / "build" / "guests" / "triple.elf"
    (tmp_path / "test_it.py").write_text(
        "def test_file(guest):\n    guest('none.elf')\n"
        f"def test_word(guest):\n    guest({str(image)!r}, mem='16M')\n"
        f"def test_size(guest):\n    guest({str(image)!r}, memory='1M')\n"
        f"def test_said(guest):\n    made = guest({str(image)!r})\n"
        "    made.expect('triple')\n    made.expect('never said')\n"
        f"def test_name(guest):\n    guest({str(image)!r}).machine.console('other')\n"
    )
    done = run(package, tmp_path)
    assert done.returncode == 1 and "5 failed" in done.stdout, done.stdout + done.stderr
    assert "there is no image none.elf (this is " in done.stdout
    assert "guest() takes no mem; did you mean memory? it takes: kind, cmdline," in done.stdout
    assert "triple.elf): memory-small: memory is 1M: " in done.stdout
    assert "no guest is called other (there are: triple)" in done.stdout
    assert ">       guest('none.elf')" in done.stdout
    # Nothing of the package's own sources, and no error on the way to the one that counts.
    assert "vipervisor/" not in done.stdout.replace("vipervisor-logs/", ""), done.stdout
    assert "During handling" not in done.stdout
