"""The stock kernel and a static busybox: packages downloaded and unpacked, never installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from prepare.plan import BUSYBOX_PACKAGE, KERNEL_METAPACKAGES
from prepare.sources import apt_options
from prepare.ui import Screen, SetupError


def kernel(cache: Path) -> Path | None:
    """The kernel image, when it is there."""
    found = sorted((cache / "linux" / "boot").glob("vmlinuz-*"))
    return found[-1] if found else None


def busybox(cache: Path) -> Path | None:
    for place in ("bin/busybox", "usr/bin/busybox"):
        path = cache / "busybox" / place
        if path.is_file() and not path.is_symlink():
            return path
    return None


def missing(cache: Path) -> list[str]:
    names = [] if kernel(cache) else ["the kernel"]
    return names + ([] if busybox(cache) else ["busybox"])


def kernel_package(depends: str) -> str | None:
    """The package that a kernel metapackage stands for, from `apt-cache depends`."""
    match = re.search(r"^\s*\|?Depends: (linux-image-(?:unsigned-)?\d\S*)", depends, re.MULTILINE)
    return match[1] if match else None


def fetch(screen: Screen, cache: Path) -> None:
    """Fetch by the machine's package lists; where those are empty or stale, by fresh ones
    of our own."""
    try:
        _fetch(screen, cache, [])
    except SetupError:
        private = apt_options(cache / "apt-binary")
        screen.run(["apt-get", *private, "update"], limit=600)
        _fetch(screen, cache, private)


def _fetch(screen: Screen, cache: Path, options: list[str]) -> None:
    if kernel(cache) is None:
        download(screen, cache, options, _find_kernel(options), cache / "linux", ["./boot"])
    if busybox(cache) is None:
        download(screen, cache, options, BUSYBOX_PACKAGE, cache / "busybox", [])
    still = missing(cache)
    if still:
        raise SetupError(f"the packages were unpacked but do not hold {' and '.join(still)}")


def _find_kernel(options: list[str]) -> str:
    for metapackage in KERNEL_METAPACKAGES:
        answer = subprocess.run(
            ["apt-cache", *options, "depends", metapackage],
            capture_output=True,
            text=True,
            check=False,
        )
        package = kernel_package(answer.stdout)
        if package:
            return package
    raise SetupError(f"apt knows none of the kernels {', '.join(KERNEL_METAPACKAGES)}")


def download(
    screen: Screen, cache: Path, options: list[str], package: str, to: Path, members: list[str]
) -> None:
    partial = cache / "partial-deb"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    screen.run(["apt-get", *options, "download", package], cwd=partial, limit=900)
    debs = list(partial.glob("*.deb"))
    if len(debs) != 1:
        raise SetupError(f"apt-get download {package} left {len(debs)} packages, not one")
    unpacked = partial / "unpacked"
    unpacked.mkdir()
    contents = partial / "contents.tar"
    with contents.open("wb") as out:
        status = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", str(debs[0])], stdout=out, check=False
        ).returncode
    if status != 0:
        raise SetupError(f"dpkg-deb cannot read {debs[0].name}: status {status}")
    tar = ["tar", "--extract", "--no-same-owner", "--file", str(contents)]
    screen.run([*tar, "--directory", str(unpacked), *members])
    shutil.rmtree(to, ignore_errors=True)
    (unpacked / "PACKAGE").write_text(debs[0].name + "\n")
    os.replace(unpacked, to)
    shutil.rmtree(partial)
