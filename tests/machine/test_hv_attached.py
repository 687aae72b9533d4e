"""The commands for a running machine, on the real monitor: one machine, all of them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine.command import Hv, environment
from unit.terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]
GUESTS = ROOT / "build" / "guests"
LINUX = GUESTS / "linux"
pytestmark = pytest.mark.machine

GUEST = '[[guest]]\nname = "{0}"\nimage = "{1}/{2}.elf"\nmemory = "16M"\n{3}'


@pytest.fixture
def hv(tmp_path: Path) -> Hv:
    return Hv(environment(tmp_path))


# Three CPUs in turn make Bochs slow, and the commands are the same there.
BOTH = pytest.mark.parametrize("backend", ["svm", pytest.param("vmx", marks=pytest.mark.full)])


@pytest.fixture
def booted(hv: Hv, backend: str, tmp_path: Path) -> Iterator[Terminal]:
    part = tmp_path / "two.toml"
    part.write_text(
        "version = 1\n" + GUEST.format("beat", GUESTS, "beat", 'cmdline = "every=20"\n')
        + GUEST.format("hello", GUESTS, "hello", 'cmdline = "status=5"\n')
    )
    with Terminal(hv, "boot", str(part), "--backend", backend, "--machine", "m") as terminal:
        terminal.expect(r"prompt also at /dev/pts/\d+")
        terminal.expect(r">>> ")
        yield terminal


def good(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0 and "Traceback" not in done.stderr, done
    return done.stdout


@BOTH
def test_commands_for_a_running_machine(hv: Hv, booted: Terminal, tmp_path: Path) -> None:
    # ps
    (machine,) = json.loads(good(hv("ps", "--json")))
    assert machine["name"] == "m" and machine["pty"].startswith("/dev/pts/")
    assert [g["name"] for g in machine["guests"]] == ["beat", "hello"]
    assert re.search(r"^m: (svm on tcg|vmx on bochs), process \d+", good(hv("ps")))
    # logs: the whole of a guest that has ended, the last lines, --follow to its end
    said = good(hv("logs", "hello", "--follow"))
    assert "hello from a 64-bit guest" in said and "\r" not in said
    assert good(hv("logs", "hello", "-n", "1")) == said.splitlines(keepends=True)[-1]
    wrong = hv("logs", "helo")
    assert wrong.returncode == 2 and "no guest is called helo (there are: beat, hello)" in (
        wrong.stderr)
    # top: a table, and JSON with rates from the second look on
    table = good(hv("top", "--count", "1"))
    assert re.search(r"^beat +running .* [\d,]+ +[\d,]+  \w+ \d", table, re.MULTILINE), table
    assert re.search(r"^hello +off .* 0$", table, re.MULTILINE) and "\x1b" not in table
    looks = [json.loads(line) for line in
             good(hv("top", "--json", "--count", "2", "--interval", "0.3")).splitlines()]
    rows = {row["guest"]: row for row in looks[1]["guests"]}
    assert looks[0]["machine"] == "m" and looks[0]["guests"][0]["rate"] is None
    assert rows["beat"]["exits"] > 0 and rows["beat"]["rate"] >= 0
    assert rows["hello"]["state"] == "off" and rows["hello"]["rate"] == 0
    # push, and what was pushed is there
    module = tmp_path / "mine.py"
    module.write_text("def answer():\n    return 6 * 7\n" + "# padding\n" * 900)
    value = json.loads(good(hv("push", str(module), "--json")))
    assert value == {"file": str(module), "name": "mine.py", "bytes": module.stat().st_size}
    assert good(hv("exec", "import mine; print(mine.answer())")) == "42\n"
    assert "bytes on the monitor" in good(hv("push", str(module), "other.py"))
    big = tmp_path / "big"
    big.write_bytes(bytes(4 << 20))
    wrong = hv("push", str(big))
    assert wrong.returncode == 1 and "RAM disk" in wrong.stderr and "Traceback" not in wrong.stderr
    # console and repl see what goes on
    with Terminal(hv, "console", "beat") as console:
        console.expect(r"beat \d+\r?\n")
        console.type("\x1c")
        assert console.wait() == 0
    with Terminal(hv, "repl") as repl:
        repl.expect(">>> ")
        repl.type("40 + 2\r")
        repl.expect(r"\n42\r?\n>>> ")
        repl.type("\x1d")
        assert repl.wait() == 0
    # Colours and bars are for terminals, and not for those who want none.
    with Terminal(hv, "top", "--interval", "50") as top:
        top.expect(r"\x1b\[1mGUEST")
        top.type("\x03")
        assert top.wait() == 0 and "Traceback" not in top.text
    hv.env["NO_COLOR"] = "1"
    with Terminal(hv, "top", "--count", "1") as top:
        top.expect("GUEST")
        assert top.wait() == 0
        assert "\x1b[1m" not in top.text
    # An exec that never ends is ended by Ctrl-C, on the monitor, too.
    with Terminal(hv, "exec", "print('begun')\nwhile True: pass") as endless:
        endless.expect("begun")
        endless.type("\x03")
        assert endless.wait() == 130 and "Traceback" not in endless.text
    assert good(hv("exec", "print('alive')")) == "alive\n"
    late = hv("exec", "while True: pass", "--timeout", "1")
    assert late.returncode == 1 and "waited 1 s for the monitor to finish" in late.stderr
    assert good(hv("exec", "print('alive')")) == "alive\n"
    # stop
    value = json.loads(good(hv("stop", "--json")))
    assert value["machine"] == "m" and value["off"] is True
    booted.expect("the monitor powered the machine off")
    assert booted.wait() == 0
    assert good(hv("ps")) == "no machine is running\n"
    assert json.loads(good(hv("ps", "--json"))) == []


def test_dry_run_prints_the_emulators_line(hv: Hv, backend: str, tmp_path: Path) -> None:
    part = tmp_path / "one.toml"
    part.write_text("version = 1\n" + GUEST.format("beat", GUESTS, "beat", ""))
    image = str(GUESTS / "hello.elf")
    for words in (("run", image), ("boot", str(part)), ("probe",)):
        shown = good(hv(*words, "--backend", backend, "--dry-run"))
        first = shown.splitlines()[0]
        if backend == "svm":
            assert "qemu" in first and "-kernel" in first and "-accel tcg" in first
            assert "partition.json" in first
        else:
            assert "bochs" in first and "bochsrc:" in shown and "cpu: model=" in shown
    assert json.loads(good(hv("ps", "--json"))) == []


def test_json_of_a_run(hv: Hv, backend: str) -> None:
    image = str(GUESTS / "hello.elf")
    done = hv("run", image, "--backend", backend, "--memory", "16M", "--timeout", "120",
              "--cmdline", "status=7", "--json")
    assert done.returncode == 7
    value = json.loads(done.stderr.splitlines()[-1])
    assert value["status"] == 7 and value["guest"] == "hello"
    assert (value["end"]["reason"], value["end"]["status"]) == ("exit", 7)
    assert value["end"]["exits"]["cpuid"] > 0


# The first line is read without asking, and at last all until stdin ends.
COMMAND = (
    "uname -s; echo to stderr >&2; read first; echo got $first; "
    "printf 'say: '; read line; echo $line; cat; exit 3"
)


@BOTH
def test_a_command_in_a_linux_guest(hv: Hv, backend: str) -> None:
    words = ["run", str(LINUX / "vmlinuz"), "--initrd", str(LINUX / "initrd.cpio.gz"), "--cmdline",
             "console=ttyS0,115200 cryptomgr.notests quiet", "--backend", backend, "--timeout",
             "230", "--", f"({COMMAND})"]
    done = hv(*words, stdin="at once\ntyped for it\nrest")
    assert done.returncode == 3, done
    lines = done.stdout.splitlines()
    assert lines == ["Linux", "to stderr", "got at once", "say: typed for it", "rest"], done


def test_new_makes_a_partition_that_boots(hv: Hv, backend: str, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    value = json.loads(good(hv("new", str(target), "--json")))
    assert value["guests"] == ["beat"]
    good(hv("check", value["file"]))
    shown = good(hv("boot", value["file"], "--backend", backend))
    assert re.search(r"^beat: beat \d+$", shown, re.MULTILINE)
    assert "the prompt answers" in shown


def test_new_with_linux_boots(hv: Hv, tmp_path: Path) -> None:
    target = tmp_path / "both"
    assert json.loads(good(hv("new", str(target), "--linux", "--json")))["guests"] == [
        "linux", "beat"]
    shown = good(hv("boot", f"{target}.toml", "--backend", "svm"))
    assert "the prompt answers" in shown and re.search(r"^linux: ", shown, re.MULTILINE)


