"""`hv boot` and the commands for a running machine, on a fake emulator: with a terminal
(a pseudo-terminal here) and without one."""

from __future__ import annotations

import json
import signal
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial
from unit.fake_setup import Hv
from unit.terminal import LIMIT, Terminal


@pytest.fixture
def hv(tmp_path: Path) -> Iterator[Hv]:
    hv = Hv(tmp_path)
    yield hv
    assert hv.leftovers() == []


GUESTS = {"one": {"lines": ["one is up", "more"], "echo": True}, "two": {"lines": ["two is up"]}}


def test_boot_without_a_terminal_shows_guests_and_prompt(hv: Hv) -> None:
    result = hv("boot", hv.partition(**GUESTS))
    assert result.returncode == 0, result.stderr
    assert "one: one is up" in result.stdout and "two: two is up" in result.stdout
    assert "guests\n" in result.stdout and "the prompt answers" in result.stdout
    assert "the monitor powered the machine off" in result.stderr


def test_boot_without_a_terminal_reports_a_crash(hv: Hv) -> None:
    end = {"reason": "crash", "crash": {"why": "triple fault"}}
    result = hv("boot", hv.partition(bad={"lines": ["x"], "end": end}))
    assert result.returncode == 1
    assert "bad is crashed (crash): triple fault" in result.stderr


def test_boot_of_a_bad_partition(hv: Hv) -> None:
    path = hv.folder / "bad.toml"
    path.write_text('version = 1\n[[guest]]\nname = "a"\nimage = "/no/file"\n')
    result = hv("boot", str(path))
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert f"{path}:4: file-missing" in result.stderr
    assert hv("boot", str(hv.folder / "none.toml")).returncode == 1
    assert hv("boot").returncode == 2
    assert hv("nonsense").returncode == 2


def test_prompt_on_a_terminal_and_power_off(hv: Hv) -> None:
    with Terminal(hv, "boot", hv.partition(**GUESTS)) as terminal:
        terminal.expect(r"prompt also at /dev/pts/\d+")
        terminal.expect(r">>> ")
        terminal.type("1 + 1\r")
        terminal.expect(r"ran 1 \+ 1\r\n>>> ")
        terminal.type("exit()\r")
        terminal.expect("the monitor powered the machine off")
        assert terminal.wait() == 0


def test_leaving_by_key(hv: Hv) -> None:
    with Terminal(hv, "boot", hv.partition(**GUESTS)) as terminal:
        terminal.expect(r">>> ")
        terminal.type("\x03")  # goes to the prompt: nothing ends
        terminal.type("\x1d")
        terminal.expect("closed")
        assert terminal.wait() == 0


def test_run_on_a_terminal(hv: Hv) -> None:
    image = hv.image(lines=["up"], echo=True)
    with Terminal(hv, "run", image, "--kind", "flat32") as terminal:
        terminal.expect("up")
        terminal.type("key\x04\x1d")  # no key but Ctrl-C is ours
        terminal.expect("<key\x04\x1d>")
        before = termios.tcgetattr(terminal.master)
        assert not before[3] & termios.ECHO
        terminal.type("\x03")
        assert terminal.process.wait(LIMIT) == 130
        assert termios.tcgetattr(terminal.master)[3] & termios.ECHO  # as it was found
        terminal.wait()


def test_machine_that_resets_is_a_failure(hv: Hv) -> None:
    with Terminal(hv, "boot", hv.partition(**GUESTS)) as terminal:
        terminal.expect(r">>> ")
        terminal.type("reset()\r")
        terminal.expect("the machine reset itself")
        assert terminal.wait() == 1


@pytest.fixture
def booted(hv: Hv) -> Iterator[Terminal]:
    with Terminal(hv, "boot", hv.partition(**GUESTS), "--machine", "m") as terminal:
        terminal.expect(r">>> ")
        yield terminal
        terminal.type("\x1d")
        terminal.wait()


def test_exec(hv: Hv, booted: Terminal) -> None:
    result = hv("exec", "print(6 * 7)\nprint('x' * 2000)")
    assert (result.returncode, result.stdout) == (0, "42\n" + "x" * 2000 + "\n")
    result = hv("exec", "1 / 0", "--machine", "m")
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr and result.stdout == ""
    result = hv("exec", "-", stdin="print('from stdin')")
    assert result.stdout == "from stdin\n"


def test_ps_and_stop(hv: Hv, booted: Terminal) -> None:
    listing = json.loads(hv("ps", "--json").stdout)
    assert [m["name"] for m in listing] == ["m"]
    assert listing[0]["backend"] == "svm" and listing[0]["pty"].startswith("/dev/pts/")
    assert [(g["name"], g["state"]) for g in listing[0]["guests"]] == [
        ("one", "running"),
        ("two", "running"),
    ]
    text = hv("ps").stdout
    assert "m: svm on tcg" in text and "two" in text
    result = hv("stop")
    assert (result.returncode, result.stdout) == (0, "m is off\n"), result.stderr
    booted.expect("powered the machine off")
    assert hv("ps").stdout == "no machine is running\n"


def test_console(hv: Hv, booted: Terminal) -> None:
    with Terminal(hv, "console", "one") as console:
        console.expect("one is up\r?\nmore")
        console.type("hi\x03")  # Ctrl-C is the guest's
        console.expect("<hi\x03>")
        console.type("\x1c")
        assert console.wait() == 0
    result = hv("console", "one", stdin="piped\n")
    assert result.returncode == 0 and "<piped\n>" in result.stdout
    result = hv("console", "three")
    assert result.returncode == 2
    assert "no guest is called three (there are: one, two)" in result.stderr


def test_consoles_on_several_terminals(hv: Hv, booted: Terminal) -> None:
    """Two of one guest and one of another at once; who comes later reads all that was said."""
    with (
        Terminal(hv, "console", "one") as first,
        Terminal(hv, "console", "two") as other,
        Terminal(hv, "console", "one") as second,
    ):
        for console in (first, second):
            console.expect("one is up\r?\nmore")
        first.type("a")
        for console in (first, second):
            console.expect("<a>")
        second.type("b")
        for console in (first, second):
            console.expect("<b>")
        first.type("\x1c")
        assert first.wait() == 0
        second.type("c")  # goes on when another has left
        second.expect("<c>")
        with Terminal(hv, "console", "one") as late:
            late.expect("one is up\r?\nmore(.|\n)*<a>(.|\n)*<b>(.|\n)*<c>")
            late.type("\x1c")
            assert late.wait() == 0
        assert "<a>" not in other.text and other.process.poll() is None
        for console in (second, other):
            console.type("\x1c")
            assert console.wait() == 0


def test_console_ends_with_its_guest(hv: Hv) -> None:
    guests = {"one": {"lines": ["up"], "echo": True, "end": {"reason": "exit", "status": 3}}}
    with Terminal(hv, "boot", hv.partition(**guests)) as boot:
        boot.expect(r">>> ")
        with Terminal(hv, "console", "one") as console:
            console.expect("up")
            console.type("quit\n")
            console.expect(r"one is off \(exit\), status 3")
            assert console.wait() == 0
        boot.type("\x1d")
        boot.wait()


def test_console_of_a_guest_that_never_rests(hv: Hv) -> None:
    """Piped input has ended: the guest's end, or --timeout, ends it."""
    end = {"reason": "exit", "status": 3}
    guests = {"one": {"lines": ["up"], "echo": True, "chatter": 0.05, "end": end}}
    with Terminal(hv, "boot", hv.partition(**guests)) as boot:
        boot.expect(r">>> ")
        result = hv("console", "one", "--timeout", "1.5", stdin="piped\n")
        assert result.returncode == 0 and "<piped\n>" in result.stdout, result
        assert result.stdout.count("tick") > 3
        assert "one still talks after 1.5 s: --timeout S reads for longer" in result.stderr
        result = hv("console", "one", "--timeout", "50", stdin="quit\n")
        assert result.returncode == 0 and "still talks" not in result.stderr, result
        assert "one is off (exit), status 3" in result.stderr
        boot.type("\x1d")
        boot.wait()


def test_repl(hv: Hv, booted: Terminal) -> None:
    with Terminal(hv, "repl") as repl:
        repl.expect(">>> ")  # the line the prompt stands on
        repl.type("2 + 2\r")
        repl.expect(r"ran 2 \+ 2")
        booted.expect(r"ran 2 \+ 2")  # the same prompt
        repl.type("\x1d")
        assert repl.wait() == 0
    result = hv("repl", stdin="3 + 3\n")
    assert result.returncode == 0 and "ran 3 + 3" in result.stdout


def test_pty_takes_the_prompt_and_gives_it_back(hv: Hv, booted: Terminal) -> None:
    path = json.loads(hv("ps", "--json").stdout)[0]["pty"]
    port = serial.Serial(path, 115200, timeout=LIMIT)
    port.write(b"from_pty\r")
    assert b"ran from_pty" in port.read_until(b"ran from_pty")
    booted.expect(f"{path} has the prompt now")
    port.close()
    booted.expect("the prompt is back")
    assert "ran from_pty" not in booted.text
    booted.type("5\r")
    booted.expect("ran 5")
    again = serial.Serial(path, 115200, timeout=LIMIT)
    again.write(b"once_more\r")
    assert b"ran once_more" in again.read_until(b"ran once_more")
    again.close()
    booted.expect("the prompt is back")


def test_no_machine(hv: Hv) -> None:
    for words in (["exec", "1"], ["repl"], ["console", "x"], ["stop"]):
        result = hv(*words)
        assert result.returncode == 1
        assert "no machine is running: start one with `hv boot FILE`" in result.stderr
    result = hv("exec", "1", "--machine", "x")
    assert result.returncode == 1 and "no machine called x is running" in result.stderr


def test_several_machines_need_a_name(hv: Hv) -> None:
    part = hv.partition(**GUESTS)
    with Terminal(hv, "boot", part) as first, Terminal(hv, "boot", part) as second:
        first.expect(">>> ")
        second.expect(">>> ")
        names = sorted(m["name"] for m in json.loads(hv("ps", "--json").stdout))
        assert names == ["part", "part-2"]
        result = hv("exec", "1")
        assert result.returncode == 2 and "say which with --machine" in result.stderr
        assert hv("stop", "--machine", "part-2").returncode == 0
        assert hv("stop").returncode == 0
        first.wait()
        second.wait()


def test_stop_of_a_deaf_machine(hv: Hv) -> None:
    hv.env["FAKE_DEAF"] = "1"
    with Terminal(hv, "boot", hv.partition(**GUESTS)) as boot:
        boot.expect(">>> ")
        result = hv("stop", "--timeout", "1")
        assert result.returncode == 1 and "did not power off within 1 s" in result.stderr
        boot.process.send_signal(signal.SIGTERM)
        assert boot.wait() == 143
