"""The Containerfile builds, and guests run in what it makes: where there is an engine (buildah
or podman) and its store has the image that the Containerfile begins from. Nothing is pulled."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest
from machine.conftest import ROOT

pytestmark = [pytest.mark.full, pytest.mark.timeout(4000)]

TAG = "localhost/vipervisor-test"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def engine() -> list[str]:
    """The engine's words: VIPERVISOR_ENGINE ("buildah --root DIR"), else what is installed."""
    given = shlex.split(os.environ.get("VIPERVISOR_ENGINE", ""))
    words = given or [name for name in ("buildah", "podman") if shutil.which(name)][:1]
    if not words:
        pytest.skip("there is no buildah and no podman here")
    return words


def call(words: list[str], limit: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, capture_output=True, text=True, timeout=limit, check=False, cwd=ROOT,
        stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def container() -> Iterator[Run]:
    """run(command...) in a container of the image that the Containerfile makes."""
    words = engine()
    found = re.search(r"^FROM (\S+)$", (ROOT / "Containerfile").read_text(), re.MULTILINE)
    assert found is not None
    base = found[1]
    if not call([*words, "images", "-q", base]).stdout.strip():
        pytest.skip(f"{words[0]} has no image {base}, and a test pulls none")
    build = "bud" if os.path.basename(words[0]) == "buildah" else "build"
    options = ["--layers", "--isolation", "chroot", "--network", "host", "--pull=never"]
    done = call([*words, build, *options, "-f", "Containerfile", "-t", TAG, "."], 3000)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    if build == "build":
        yield lambda *command: call([*words, "run", "--rm", "--network", "host", TAG, *command])
        return
    name = call([*words, "from", "--pull=never", TAG]).stdout.strip()
    try:
        yield lambda *command: call(
            [*words, "run", "--isolation", "chroot", "--network", "host", name, "--", *command])
    finally:
        call([*words, "rm", name])
        call([*words, "rmi", TAG])


def test_guests_run_in_the_container(container: Run) -> None:
    for backend, cpu in (("svm", "AuthenticAMD"), ("vmx", "GenuineIntel")):
        done = container("hv", "run", "build/guests/hello.elf", "--backend", backend,
                         "--cmdline", "status=3", "--timeout", "240")
        assert done.returncode == 3, done.stderr
        assert "hello from a 64-bit guest\n" in done.stdout and f"cpu: {cpu}" in done.stdout


def test_the_doctor_is_content(container: Run) -> None:
    done = container("hv", "doctor")
    assert done.returncode == 0
    for name in ("monitor", "guests", "QEMU", "Bochs", "ISO images", "svm on QEMU", "vmx on Bochs"):
        assert re.search(rf"^yes +{name} ", done.stdout, re.MULTILINE), done.stdout
