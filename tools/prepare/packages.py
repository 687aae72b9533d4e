"""The distribution's packages: which are missing, what they weigh, installing them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from prepare.plan import ALL_MEGABYTES, ALL_PACKAGES, PACKAGES, VENV_PACKAGE, Package
from prepare.ui import Screen, SetupError, as_root

INSTALL = ["apt-get", "install", "--yes", "--no-install-recommends"]


def wanted() -> list[Package]:
    """All packages, and the one for virtual environments where python3 lacks it."""
    packages = list(PACKAGES)
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        packages.append(VENV_PACKAGE)
    return packages


def missing() -> list[str]:
    """Names of the packages that are not there. One question to dpkg, no network."""
    packages = wanted()
    if shutil.which("dpkg-query") is None:
        return [p.name for p in packages if not Path(p.probe).exists()]
    answer = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n"]
        + [p.name for p in packages],
        capture_output=True,
        text=True,
        check=False,
    )
    installed = {
        line.split()[0] for line in answer.stdout.splitlines() if line.endswith(" installed")
    }
    return [p.name for p in packages if p.name not in installed]


def weigh(names: list[str]) -> tuple[int, float]:
    """How many packages come with these, and how many megabytes are downloaded."""
    answer = subprocess.run(
        [*INSTALL, "--print-uris", "--quiet=2", "-o", "Debug::NoLocking=1", *names],
        capture_output=True,
        text=True,
        check=False,
    )
    sizes = uri_sizes(answer.stdout)
    if answer.returncode != 0 or not sizes:
        share = min(1.0, len(names) / len(PACKAGES))
        return max(len(names), round(ALL_PACKAGES * share)), ALL_MEGABYTES * share
    return len(sizes), sum(sizes) / 1e6


def uri_sizes(text: str) -> list[int]:
    """Sizes from the lines of `apt-get --print-uris`: 'URI' FILE SIZE HASH."""
    return [int(m[1]) for m in re.finditer(r"^'[^']+' \S+ (\d+)", text, re.MULTILINE)]


def check_possible(names: list[str]) -> None:
    """Say early and plainly when this machine cannot install packages."""
    by_hand = "sudo " + " ".join([*INSTALL, *names])
    if shutil.which("apt-get") is None:
        raise SetupError(
            "this machine has no apt-get (set-up knows Debian and Ubuntu); "
            "use a container (`podman build -t vipervisor .`, see Containerfile), or "
            f"install what these packages hold and try again: {' '.join(names)}"
        )
    if os.geteuid() != 0 and shutil.which("sudo") is None:
        raise SetupError(f"not root and no sudo here; as root run: {by_hand.removeprefix('sudo ')}")


def install(screen: Screen, names: list[str]) -> None:
    """Install the packages, from fresh lists."""
    # sudo asks for the password on the terminal, before output goes to the log.
    if os.geteuid() != 0 and subprocess.run(["sudo", "-v"], check=False).returncode != 0:
        raise SetupError(f"sudo refused; as root run: {' '.join([*INSTALL, *names])}")
    screen.run(as_root(["apt-get", "update"]))
    screen.run(as_root([*INSTALL, *names]))
    still = missing()
    if still:
        raise SetupError(f"apt-get ended well but these are still missing: {' '.join(still)}")
