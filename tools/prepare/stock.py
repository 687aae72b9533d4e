"""`python3 -m prepare.stock`: programs for bare PCs from the distribution's packages, which
are downloaded and unpacked into .cache/stock/, never installed."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from prepare.linux import download, kernel_package
from prepare.plan import STOCK, Stock
from prepare.sources import apt_options
from prepare.ui import Screen, SetupError

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    known = {stock.name: stock for stock in STOCK}
    parser = argparse.ArgumentParser(prog="prepare.stock", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"there is no {unknown[0]}; there are: {', '.join(known)}")
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    screen = Screen(cache / "log", len(options.names or known), False)
    try:
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for name in options.names or known:
                there = (cache / "stock" / name).is_file()
                screen.stage(name, "ready" if there else "fetching its package")
                if not there:
                    fetch(screen, cache, known[name])
    except SetupError as error:
        print(f"cannot fetch the stock programs: {error}", file=sys.stderr)
        return 1
    return 0


def fetch(screen: Screen, cache: Path, stock: Stock) -> None:
    """By the machine's package lists; where those are empty or stale, by fresh ones of ours."""
    folder = cache / "stock"
    folder.mkdir(exist_ok=True)
    unpacked = cache / "stock-package"
    try:
        download(screen, cache, [], package_of(stock, []), unpacked, ["./boot"])
    except SetupError:
        private = apt_options(cache / "apt-binary")
        screen.run(["apt-get", *private, "update"], limit=600)
        download(screen, cache, private, package_of(stock, private), unpacked, ["./boot"])
    found = sorted(unpacked.glob(stock.member))
    if not found:
        package = (unpacked / "PACKAGE").read_text().strip()
        raise SetupError(f"{package} holds no {stock.member}")
    os.replace(found[-1], folder / stock.name)
    shutil.rmtree(unpacked)


def package_of(stock: Stock, options: list[str]) -> str:
    """The first of its packages that apt knows; a kernel's metapackage stands for another."""
    for name in stock.packages:
        answer = subprocess.run(
            ["apt-cache", *options, "depends", name], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0 and answer.stdout.strip():
            return kernel_package(answer.stdout) or name
    raise SetupError(f"apt knows none of the packages {', '.join(stock.packages)}")


if __name__ == "__main__":
    sys.exit(main())
