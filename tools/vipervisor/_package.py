"""For setuptools only (pyproject.toml names it): the installed package carries the partition
rules of the firmware and, when it has been built, the monitor."""

import shutil
from pathlib import Path

from setuptools.command.build_py import build_py

ROOT = Path.cwd()  # setuptools builds in the project's folder
MONITOR = ("vipervisor.elf", "vipervisor.bin", "bootsector.bin")


class BuildWithMonitor(build_py):  # type: ignore[misc]
    """build_py, and the files from other folders."""

    def run(self) -> None:
        super().run()
        package = Path(self.build_lib) / "vipervisor"
        rules = ROOT / "firmware" / "hv" / "rules"
        shutil.rmtree(package / "_rules", ignore_errors=True)
        shutil.copytree(rules, package / "_rules", ignore=shutil.ignore_patterns("__pycache__"))
        built = ROOT / "build"
        if all((built / name).is_file() for name in MONITOR):
            (package / "_monitor").mkdir(parents=True, exist_ok=True)
            for name in MONITOR:
                shutil.copyfile(built / name, package / "_monitor" / name)
