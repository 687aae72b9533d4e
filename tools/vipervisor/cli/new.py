"""`hv new`: a partition to start from, which passes `hv check`."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from pathlib import Path
from typing import Any

from .. import partition, paths
from ..errors import HostError, UsageError
from . import common
from .run import guest_name

_BEAT = """\
# {title}: check it with `hv check {file}`, boot it with `hv boot {file}`.
version = 1

[machine]
cpus = {cpus}                      # CPU 0 stays with Python
memory = "{memory}"
"""
_LINUX = """
[[guest]]
name = "linux"
cpus = 1                      # any one; [1] would insist on CPU 1
memory = "256M"
image = "{vmlinuz}"
initrd = "{initrd}"
cmdline = "console=ttyS0,115200 cryptomgr.notests lsm= quiet noapic nolapic acpi=off"
"""
_GUEST = """
[[guest]]
name = "{name}"
cpus = 1
memory = "16M"
image = "{image}"
{more}"""
_BEAT_MORE = """\
cmdline = "every=1000"        # milliseconds
on_crash = { do = "restart", max = 5, delay = "1s" }
"""
_OWN_MORE = """\
on_crash = "stop"             # its crash record and its memory stay to be looked at
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "new",
        help="write a partition file to start from",
        description="Write NAME.toml: a small guest, and Linux with --linux.",
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--linux", action="store_true", help="a Linux guest beside it")
    parser.add_argument(
        "--image", type=common.path, metavar="FILE", help="your image as the small guest"
    )
    parser.add_argument("--json", action="store_true", help="the file and its guests as JSON")
    parser.set_defaults(function=main)


def main(options: argparse.Namespace) -> int:
    if Path(options.name).name in ("", ".toml"):
        raise UsageError(f"{options.name!r} is no name for a partition file")
    target = Path(options.name if options.name.endswith(".toml") else options.name + ".toml")
    if target.exists():
        raise HostError(f"{target} is there already: take another name, or remove it first")
    folder = target.absolute().parent
    if not folder.is_dir():
        raise HostError(f"there is no folder {target.parent} for {target.name}")

    def place(path: Path) -> str:
        if not path.is_file():
            own = path == options.image
            remedy = "name the file that you have built" if own else paths.guests_remedy()
            more = "" if own else ", or name your own with --image"
            raise HostError(f"{path} is missing: {remedy}{more}")
        text = os.path.relpath(path.resolve(), folder)
        if '"' in text or "\\" in text:
            raise UsageError(f"{path} has a quotation mark or a backslash in its name")
        return text

    guests = paths.build_dir() / "guests"
    image = options.image or guests / "beat.elf"
    name = guest_name(Path(image))
    if options.linux and name == "linux":
        name = "guest"
    text = _BEAT.format(
        title=target.stem, file=target, cpus=3 if options.linux else 2,
        memory="512M" if options.linux else "128M",
    )
    if options.linux:
        linux = guests / "linux"
        text += _LINUX.format(
            vmlinuz=place(linux / "vmlinuz"), initrd=place(linux / "initrd.cpio.gz")
        )
    more = _BEAT_MORE if options.image is None else _OWN_MORE
    text += _GUEST.format(name=name, image=place(image), more=more)
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise HostError(f"cannot write {target}: {error.strerror}") from None
    loaded = partition.load(target)
    if loaded.description is None:  # only an image of the caller's own can be wrong
        target.unlink()
        raise HostError(loaded.said)
    if options.json:
        names = [guest["name"] for guest in loaded.description["guests"]]
        print(json.dumps({"file": str(target), "guests": names}))
        return 0
    print(partition.render_map(loaded.description))
    print(f"{target} is written: `hv boot {shlex.quote(str(target))}` boots it")
    return 0
