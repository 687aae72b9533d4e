"""Every wrong move of moves.toml gets one right sentence and its status, without a traceback
and with nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from unit import images
from unit.fake_setup import Hv

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOVES = tomllib.loads((Path(__file__).parent / "moves.toml").read_text())["move"]
GUEST = 'version = 1\n[[guest]]\nname = "one"\n{keys}image = "{image}"\nkind = "flat32"\n'
GOOD = 'memory = "16M"\n'
# Partition files by what they have between their guest's name and its image,
KEYS = {
    "WRONG_KEY": GOOD + 'memroy = "1G"\n',
    "CPU_0": "cpus = [0, 1]\n" + GOOD,
    "NO_UNIT": "memory = 268435456\n",
    "UNQUOTED": "memory = 16M\n",
    "COLON": 'memory: "16M"\n',
    "HOME": GOOD,
    "IMAGE_IS_FOLDER": GOOD,
    "ACCENT": "schlüssel = 1\n" + GOOD,
    "NAN": "memory = nan\n",
    "DATE": "memory = 2024-01-01\n",
    "NEGATIVE": 'memory = "-16M"\n',
    "HALF": "cpus = 0.5\n" + GOOD,
    "NO_DEVICE": GOOD + 'devices = ["virtio-net"]\n',
}
# and by what becomes of one that is right.
FILES: dict[str, Callable[[str], str | bytes]] = {
    "MISPLACED": lambda text: 'cmdline = "x"\n' + text,
    "TWICE": lambda text: text + text.replace("version = 1\n", ""),
    "UTF16": lambda text: text.encode("utf-16"),
    "UTF16_BARE": lambda text: text.encode("utf-16-be"),
    "BOM": lambda text: text.encode("utf-8-sig"),
    "HUGE_TOML": lambda text: text.replace(GOOD, "# said often\n" * 1_000_000),
    "NO_BOARD": lambda text: "cpus = 3\n",
    "DEEP": lambda text: "version = " + "[" * 5000 + "]" * 5000,
    "DIGITS": lambda text: f"version = {'9' * 5000}",
    "BAD_TOML": lambda text: 'version = 1\n[[guest]]\nname = "one\n',
}


@pytest.fixture
def hv(tmp_path: Path) -> Iterator[Hv]:
    hv = Hv(tmp_path)
    yield hv
    assert hv.leftovers() == []


def write(hv: Hv, name: str, text: str | bytes) -> str:
    path = hv.folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def word(hv: Hv, name: str) -> str:
    """What a word in capitals stands for, made when it is asked for."""
    folder = hv.folder / "folder"
    if name == "IMAGE":
        return hv.image(lines=["up"])
    if name == "PART":
        return hv.partition(one={"lines": ["up"]})
    if name in ("FOLDER", "IMAGE_IS_FOLDER"):
        folder.mkdir(exist_ok=True)
    if name in KEYS or name in FILES:
        image = {"HOME": "~/kernel.elf", "IMAGE_IS_FOLDER": str(folder)}.get(
            name) or hv.image(lines=["up"])
        text = GUEST.format(keys=KEYS.get(name, GOOD), image=image)
        return write(hv, f"{name.lower()}.toml", FILES[name](text) if name in FILES else text)
    if name == "TRUNCATED":
        # An ELF64 header with one segment of 64 KiB that is not there.
        head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack(
            "<HHIQQQIHHHHHH", 2, 62, 1, 0x100000, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x100000, 0x100000, 65536, 65536, 4096)
        return write(hv, "truncated.elf", head + segment)
    if name == "ARM":
        return write(hv, "arm.elf", images.elf64(machine=183))
    if name == "JPEG":
        return write(hv, "photo.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(600))
    if name == "ZIP":
        return write(hv, "kernel.zip", b"PK\x03\x04" + bytes(600))
    if name == "KERNEL":
        return write(hv, "vmlinuz", images.bzimage())
    if name == "TEXT":
        return write(hv, "notes.txt", "only words\n" * 100)
    if name == "BIG":
        return write(hv, "big", bytes(8 << 20))
    if name == "UNREADABLE":
        # Root may read everything: there the file is no text instead.
        path = write(hv, "unreadable.toml", b"\xff\xfd\xfe")
        if os.geteuid() != 0:
            os.chmod(path, 0)
        return path
    if name == "NO_ISO":
        return write(hv, "no.iso", "nothing of the kind")
    if name == "FOLDER":
        return str(folder)
    return name


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move["what"])
def test_move(hv: Hv, move: dict[str, Any]) -> None:
    words = [word(hv, w) if w.isupper() else w for w in move["words"]]
    owner = None
    if "taken" in move:
        image = hv.image("guest", lines=["up"])
        owner = hv.start("run", image, "--kind", "flat32", "--machine", move["taken"])
        assert owner.stdout.readline() == "up\n"
    try:
        done = hv(*words, **move.get("env", {}))
    finally:
        if owner is not None:
            owner.send_signal(signal.SIGINT)
            owner.communicate(timeout=60)
    said = done.stdout if move.get("out") else done.stderr
    assert done.returncode == move["status"], done
    assert re.search(move["says"], said, re.MULTILINE), said
    assert "Traceback" not in done.stderr
    assert len(said.splitlines()) <= move.get("lines", 1), said
    assert not (done.stderr if move.get("out") else done.stdout)


def test_there_are_at_least_twenty() -> None:
    assert len({move["what"] for move in MOVES}) >= 20


def redirected(hv: Hv, how: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """hv by way of a shell that does something to its streams."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {how}', "sh", *hv.command(*words)], env={**hv.env, **env},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def test_streams_that_are_not_there(hv: Hv) -> None:
    part = word(hv, "PART")
    for how in (">&-", "2>&-", "<&-", ">&- 2>&- <&-"):
        done = redirected(hv, how, "check", part)
        assert (done.returncode, done.stderr) == (0, ""), (how, done)
    done = redirected(hv, "> /dev/full", "check", part)
    assert done.returncode == 1
    assert re.fullmatch(
        r"hv check: No space left on device: make room where its output goes, or in \S+\n",
        done.stderr)
    done = redirected(hv, "| head -n 1", "explain")
    assert (done.stdout, done.stderr) == ("rules of `hv check`\n", "")


def test_an_environment_with_little_in_it(hv: Hv) -> None:
    part = word(hv, "PART")
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": hv.env["PYTHONPATH"],
            "VIPERVISOR_BUILD": hv.env["VIPERVISOR_BUILD"]}
    done = subprocess.run(hv.command("check", part), env=bare, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "") and "cpu 1  one" in done.stdout
    accent = write(hv, "p.toml", 'version = 1\n"schlüssel" = 1\n')
    done = redirected(hv, "", "check", accent, PYTHONIOENCODING="ascii")
    assert done.returncode == 1 and done.stderr == ""
    assert "unknown key schl\\xfcssel" in done.stdout
    done = redirected(hv, "", "check", accent, TERM="dumb")
    assert "unknown key schlüssel" in done.stdout and "\x1b" not in done.stdout


def not_begun(status: int, err: str) -> bool:
    """Before the command's first line Ctrl-C ends Python itself, which may say so."""
    return status == -signal.SIGINT or ("runpy" in err and "/vipervisor/cli/" not in err)


# Ctrl-C while it starts, boots, runs and ends: seconds after its start. Where it falls is
# not the same every time, and must not matter.
@pytest.mark.parametrize("after", [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("command", ["run", "boot"])
def test_ctrl_c_at_any_moment(hv: Hv, command: str, after: float) -> None:
    if command == "run":
        process = hv.start("run", hv.image(lines=["up"]), "--kind", "flat32")
    else:
        part = hv.partition(one={"lines": ["up"], "wait": 30})
        process = hv.start("boot", part)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:  # it still runs, as it should
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    if not_begun(process.returncode, err):
        return
    assert process.returncode == 130, (process.returncode, out, err)
    assert "Traceback" not in err


# The other commands, each struck while it waits for something that does not come.
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("exec", "import time; time.sleep(100)"), 130),
        (("console", "guest"), 130),
        (("logs", "guest", "--follow"), 130),
        (("repl",), 130),
        (("stop", "--timeout", "50"), 130),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_ctrl_c_ends_a_waiting_command(hv: Hv, words: tuple[str, ...], status: int) -> None:
    owner = hv.start(
        "run", hv.image("guest", lines=["up"]), "--kind", "flat32", "--machine", "m",
        FAKE_DEAF="1",
    )
    try:
        assert owner.stdout.readline() == "up\n"
        for after in (1.5, 3, 6, 12):  # on a busy computer it may not have begun before
            process = hv.start(*words, stdin=owner.stdout)
            try:
                process.wait(after)
            except subprocess.TimeoutExpired:  # it waits, as it should
                process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            if not not_begun(process.returncode, err):
                break
        assert "Traceback" not in err, err
        assert process.returncode == status, (process.returncode, out, err)
    finally:
        owner.send_signal(signal.SIGINT)
        owner.communicate(timeout=60)
