"""The prompt on COM1: Python in root mode, as a person and as mpremote use it."""

from __future__ import annotations

import datetime
import hashlib
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from vipervisor import HostError, Machine

pytestmark = pytest.mark.machine

Boot = Callable[..., Machine]
LIMIT = 30.0
CTRL_A, CTRL_B, CTRL_C, CTRL_D = "\x01", "\x02", "\x03", "\x04"


def ask(machine: Machine, line: str) -> str:
    """Types a line at the prompt and returns what it printed."""
    before = len(machine.prompt.text)
    machine.prompt.write(line + "\r")
    machine.prompt.expect(r"\n>>> ", LIMIT)
    said = machine.prompt.text[before:]
    return said.partition("\n")[2].rpartition(">>> ")[0].strip()


def tab(machine: Machine, text: str) -> list[str]:
    """What Tab lists behind a text."""
    before = len(machine.prompt.text)
    machine.prompt.write(text + "\t")
    machine.prompt.expect(r"\n>>> " + re.escape(text), LIMIT)
    said = machine.prompt.text[before:].partition("\n")[2].rpartition(">>> ")[0]
    machine.prompt.write(CTRL_C)
    machine.prompt.expect(r"\n>>> ", LIMIT)
    return said.split()


def prompted(boot: Boot, *guests: object, **options: object) -> Machine:
    machine = boot(list(guests), **options)
    machine.prompt.expect(r"^>>> ", LIMIT)
    return machine


def test_numbers_and_modules(boot: Boot) -> None:
    machine = prompted(boot)
    assert ask(machine, "2**200 - 1") == str(2**200 - 1)
    assert ask(machine, "1/3") == repr(1 / 3)
    assert ask(machine, "import math; math.erf(0.5)").startswith("0.52049987781304")
    assert ask(machine, "import hashlib; hashlib.sha256(b'x').digest().hex()") == repr(
        hashlib.sha256(b"x").hexdigest()
    )
    names = (
        "json re struct uctypes binascii random time asyncio select gc os io deflate "
        "collections errno cmath sys vfs machine heapq array micropython _hv hv"
    )
    assert ask(machine, "import " + ", ".join(names.split())) == ""
    assert ask(machine, "json.loads(json.dumps({'a': [1, 2.5, None]}))") == "{'a': [1, 2.5, None]}"
    assert ask(machine, "exec('async def f():\\n await asyncio.sleep(0.01)\\n return 5')") == ""
    assert ask(machine, "asyncio.run(f())") == "5"


def test_line_editing(boot: Boot) -> None:
    machine = prompted(boot)
    assert ask(machine, "print('acb'\x1b[D\x1b[D\x7f\x1b[Cc\x1b[C)") == "abc"
    assert ask(machine, "\x1b[A") == "abc"
    assert ask(machine, "value = 41") == ""
    assert ask(machine, "val\t + 1") == "42"
    # Tab lists what is public, and still steps through what is not.
    offered = tab(machine, "hv.")
    assert set(offered) == set(ask(machine, "' '.join(hv.__all__)").strip("'").split())
    assert ask(machine, "import hv.devices, hv.exits") == ""
    assert tab(machine, "hv.") == offered
    assert ask(machine, "hv.exits.SLO\t") == "31"
    devices = tab(machine, "hv.devices.")
    assert "Scratch" in devices and "doorbell" not in devices
    machine.prompt.write("nonsense" + CTRL_C)
    machine.prompt.expect(r"nonsense\n>>> ", LIMIT)
    machine.prompt.write("for i in range(3):\rprint(i * 7)\r\r\r\r")
    machine.prompt.expect(r"0\n7\n14\n>>> ", LIMIT)
    assert "line 1" in ask(machine, "1 / 0")
    assert "hv.guests()" in ask(machine, "help(hv)")
    assert "mode: 64 and 32" in ask(machine, "help(hv.guest_from)")
    assert ask(machine, "repr(hv.states()).split()[:4]") == "['state', 'load', 'start', 'pause']"
    assert ask(machine, "g = hv.Guest('g', cpus=[0], memory='2M')") == ""
    assert "instead=True" in ask(machine, "help(g.on)") and "walk(gva)" in ask(
        machine, "help(g.vcpus[0])")
    assert ask(machine, "g.on('cpuid', 5)").endswith("takes a function, not 5")
    offered = tab(machine, "g.")
    assert {"start", "restarts", "memory"} <= set(offered)
    assert not {"row", "HEAD", "watched"} & set(offered)
    assert "in the line above a function" in ask(machine, "g.on('cpuid')")
    assert ask(machine, "g.destroy()") == ""


@pytest.mark.parametrize(
    "body",
    ["pass", "abs(-1)", "time.sleep(0.001)"],
)
@pytest.mark.parametrize("kind", ["", "@micropython.native\n", "@micropython.viper\n"])
def test_interrupt(boot: Boot, kind: str, body: str) -> None:
    machine = prompted(boot)
    source = f"import micropython, time\n{kind}def f():\n while True:\n  {body}\n"
    assert ask(machine, f"exec({source!r})") == ""
    machine.prompt.write("print('run' + 'ning'); f()\r")
    machine.prompt.expect(r"^running\n", LIMIT)
    machine.prompt.write(CTRL_C)
    machine.prompt.expect(r"KeyboardInterrupt: \n>>> ", LIMIT)
    assert ask(machine, "'alive'") == "'alive'"


def test_a_full_heap_and_a_deep_recursion(boot: Boot) -> None:
    machine = prompted(boot)
    for _ in range(2):
        assert ask(machine, "hog = []") == ""
        said = ask(machine, "exec('while True: hog.append(bytes(1000))')")
        assert "MemoryError" in said and "Python's memory is full" in said, said
        assert ask(machine, "len(hog) > 1000") == "True"
        assert ask(machine, "del hog") == ""
        assert ask(machine, "'alive'") == "'alive'"
    # What the host sends meanwhile leaves the prompt's program what is kept back for it.
    assert ask(machine, "hog, go = [], []") == ""
    machine.prompt.write("exec('while not go: pass\\nwhile True: hog.append(bytes(1000))')\r")
    machine.exec("go.append(1)", LIMIT)
    machine.prompt.expect(r"Python's memory is full(?:.*\n)+>>> ", LIMIT)
    assert ask(machine, "len(hog) > 1000") == "True"
    assert ask(machine, "del hog") == ""
    assert "is full" not in ask(machine, "bytes(1 << 30)")
    assert ask(machine, "f = lambda n: n and f(n - 1) + 1") == ""
    assert ask(machine, "f(20)") == "20"
    said = ask(machine, "f(-1)")
    assert re.search(r"\n  \.\.\. \d+ frames more \.\.\.\r?\n", said), said
    assert "RuntimeError: maximum recursion depth exceeded" in said
    assert said.count(", in <lambda>") == 23 and '"<stdin>", line 1, in <module>' in said


def test_an_interrupt_typed_ahead(boot: Boot) -> None:
    machine = prompted(boot)
    machine.prompt.write("while True: pass\r\rprint('ne' + 'ver')\r" + CTRL_C)
    machine.prompt.expect(r"KeyboardInterrupt: \n>>> ", LIMIT)
    assert ask(machine, "'alive'") == "'alive'"
    assert "\nnever" not in machine.prompt.text


def test_bad_addresses_are_errors(boot: Boot) -> None:
    machine = prompted(boot)
    assert ask(machine, "import machine, micropython, uctypes, _hv") == ""
    assert ask(machine, "machine.mem32[0x200000] == machine.mem64[0x200000] & 0xffffffff") == "True"
    hole = 0x7000_0000_0000
    for line in (
        f"machine.mem32[{hole}]",
        f"machine.mem8[{hole}] = 1",
        "machine.mem64[1 << 63]",
        "machine.mem32[0x200000] = 0",  # the monitor's own text
        f"_hv.peek({hole}, 4)",
        f"uctypes.bytes_at({hole}, 64)",
        f"uctypes.bytearray_at({hole}, 64)[5]",
        f"uctypes.bytearray_at({hole}, 64)[0:8] = bytes(8)",
        f"uctypes.struct({hole}, {{'f': uctypes.UINT32}}).f",
    ):
        assert ask(machine, line).endswith("OSError: [Errno 14] EFAULT"), line
    viper = "@micropython.viper\ndef peek(a: int) -> int:\n return int(ptr32(a)[0])\n"
    assert ask(machine, f"exec({viper!r})") == ""
    assert ask(machine, f"peek({hole})").endswith("OSError: [Errno 14] EFAULT")
    assert "not aligned" in ask(machine, "machine.mem32[2]")
    assert "port 65536 is outside 0 to 0xffff" in ask(machine, "_hv.inb(0x10000)")
    assert "no guest 3; there is none" in ask(machine, "_hv.guest_info(3)")
    assert "no boot module x; there is partition.json" in ask(machine, "_hv.module('x')")


def test_soft_reset_keeps_guests_and_files(boot: Boot) -> None:
    machine = prompted(boot, "beat")
    machine.console("beat").expect(r"beat 1\b", LIMIT)
    assert ask(machine, "f = open('kept', 'w'); n = f.write('still here'); f.close()") == ""
    machine.prompt.write(CTRL_D)
    machine.prompt.expect(r"^MPY: soft reboot\n(.*\n)*>>> ", LIMIT)
    assert "'f'" not in ask(machine, "dir()")
    assert ask(machine, "open('kept').read()") == "'still here'"
    assert ask(machine, "beat.state") == "'running'"
    assert ask(machine, "beat.vcpus[0].rax").endswith(
        "beat is running; pause() it first, or look at it in `with beat.paused():`")
    count = int(machine.console("beat").expect(r"beat (\d+)\r?\n", LIMIT)[1])
    machine.console("beat").expect(rf"beat {count + 2}\b", LIMIT)


def test_scripts_of_the_first_boot(boot: Boot, tmp_path: Path) -> None:
    (tmp_path / "boot.py").write_text("print('boot' + 'ed'); early = 6\n1 / 0\n")
    (tmp_path / "main.py").write_text("print('main', early * 7)\n")
    files = {name: tmp_path / name for name in ("boot.py", "main.py")}
    machine = boot([], files)
    machine.prompt.expect(r"^booted\nTraceback(.*\n)*.*boot.py.*line 2(.*\n)*main 42\n", LIMIT)
    machine.prompt.expect(r"^>>> ", LIMIT)
    machine.prompt.write(CTRL_D)
    machine.prompt.expect(r"^MPY: soft reboot\n(.*\n)*>>> ", LIMIT)
    assert machine.prompt.text.count("booted") == 1


def test_a_long_paste_loses_nothing(boot: Boot, backend: str) -> None:
    machine = prompted(boot)
    lines = 1200 if backend == "svm" else 200
    paste = "".join(f"total += {i}  # {'x' * 40}\r" for i in range(lines))
    machine.prompt.write("total = 0\r" + paste + "print('total is', total)\r")
    machine.prompt.expect(rf"\ntotal is {sum(range(lines))}\n", 3 * LIMIT)


def test_a_stuck_handler_can_be_interrupted(boot: Boot) -> None:
    machine = prompted(boot)
    # For its first moments Ctrl-C belongs to the line that is being edited.
    handler = (
        "def stuck():\n start = time.ticks_ms()\n"
        " while time.ticks_diff(time.ticks_ms(), start) < 300: pass\n"
        " print('stuck' + '!')\n while True: pass\n"
    )
    ask(machine, f"import time; exec({handler!r})")
    machine.prompt.write("t = hv.after(1, stuck)\r")
    machine.prompt.expect(r"stuck!\n", LIMIT)
    machine.prompt.write(CTRL_C)
    machine.prompt.expect(r"in stuck\nKeyboardInterrupt:", LIMIT)
    machine.prompt.write("print('go' + 'ing on')\r")
    machine.prompt.expect(r"going on\n", LIMIT)


# The pump takes its time with the end of `beat`.
SLOW = (
    "from hv import events\n"
    "def slow(n, was=events.changed):\n"
    " start = time.ticks_ms()\n"
    " if beat.state == 'off': print('pump' + 'ing')\n"
    " while beat.state == 'off' and time.ticks_diff(time.ticks_ms(), start) < 300: pass\n"
    " was(n)\n"
    "events.changed = slow\n"
)


def test_an_interrupt_loses_no_event(boot: Boot) -> None:
    machine = prompted(boot, "beat", "claims")
    machine.wait_end("claims", LIMIT)
    ask(machine, f"import time; exec({SLOW!r})")
    for foreground in ("exec('while True: pass')", "hv.clock.until(lambda: 0, None, 'end')"):
        # In one line: a timer that is over while the next one is edited has no foreground.
        machine.prompt.write(f"t = hv.after(200, beat.stop); {foreground}\r")
        machine.prompt.expect(r"pumping\n", LIMIT)
        machine.prompt.write(CTRL_C)
        machine.prompt.expect(r"KeyboardInterrupt: \n>>> ", LIMIT)
        assert machine.wait_end("beat", LIMIT).reason == "stopped"
        ask(machine, "beat.reset(); beat.start(); 0")
        machine.wait_state("beat", "running", timeout=LIMIT)
    # Nor is a handler ended that is called again and again meanwhile.
    ask(machine, "claims.reset().load('claims.elf', cmdline='polls=1000000000'); 0")
    ask(machine, "h = claims.on('io', lambda x: x.skip(), port=0x560, instead=True)")
    ask(machine, "claims.start(); 0")
    for _ in range(3):
        machine.prompt.write("print('lo' + 'op')\rwhile True: pass\r\r")
        machine.prompt.expect(r"loop\n>>> while True: pass\n.*\n", LIMIT)
        machine.prompt.write(CTRL_C)
        machine.prompt.expect(r"KeyboardInterrupt: \n>>> ", LIMIT)
        assert ask(machine, "claims.state") == "'running'"


def test_giving_up_what_was_sent_loses_no_event(boot: Boot) -> None:
    machine = prompted(boot, "beat")
    ask(machine, f"import time; exec({SLOW!r})")
    given_up, printed = threading.Event(), bytearray()

    def look(output: bytes) -> None:
        printed.extend(output)
        if b"pumping" in printed:
            given_up.set()

    code = "t = hv.after(200, beat.stop)\nhv.clock.until(lambda: 0, None, 'end')"
    with pytest.raises(HostError, match="given up"):
        machine.link.exec(code, LIMIT, look, given_up)
    assert machine.wait_end("beat", LIMIT).reason == "stopped"
    assert machine.exec("print(6 * 7)").strip() == "42"


def test_a_notice_keeps_the_line_being_typed(boot: Boot) -> None:
    machine = prompted(boot)
    ask(machine, "import _hv; exec('def tell(_): _hv.notice(\"told\")')")
    ask(machine, "_hv.notify(tell); 0")
    machine.prompt.write("_hv.alarm(1500)\r12345")
    machine.prompt.expect(r"told\n>>> 12345", LIMIT)
    assert ask(machine, "6") == "123456"


def test_raw_repl(boot: Boot) -> None:
    machine = prompted(boot)
    machine.prompt.write(CTRL_A)
    machine.prompt.expect(r"raw REPL; CTRL-B to exit\n>", LIMIT)
    machine.prompt.write("import _hv; print(_hv.raw_repl(), _hv.notice('never'))" + CTRL_D)
    machine.prompt.expect("OKTrue False\n\x04\x04>", LIMIT)
    machine.prompt.write(CTRL_B)
    machine.prompt.expect(r"^>>> ", LIMIT)
    assert "never" not in machine.prompt.text.partition("OK")[2]


@pytest.mark.parametrize("word", ["exit()", "quit()", "import _hv; _hv.poweroff()"])
def test_power_off(boot: Boot, word: str) -> None:
    machine = prompted(boot)
    machine.prompt.write(word + "\r")
    assert machine.wait_off(LIMIT) in (
        "the monitor powered the machine off",
        "QEMU ended with status 0",  # its last event was not read in time
    )


# --- stock mpremote ---


@contextmanager
def terminal_of(machine: Machine) -> Iterator[str]:
    """The prompt as a pseudo-terminal, which is what mpremote opens."""
    master, slave = pty.openpty()
    tty.setraw(slave)

    def to_terminal(data: bytes) -> None:
        os.write(master, data)

    def from_terminal() -> None:
        while True:
            try:
                data = os.read(master, 4096)
            except OSError:
                return
            if not data:
                return
            machine.prompt.write(data)

    machine.prompt.listen(to_terminal, replay=False)
    reader = threading.Thread(target=from_terminal, daemon=True)
    reader.start()
    try:
        yield os.ttyname(slave)
    finally:
        machine.prompt.unlisten(to_terminal)
        os.close(slave)
        reader.join(5)
        os.close(master)


def mpremote(device: str, cwd: Path, *words: str) -> tuple[int, str]:
    """Its exit status, and what it said on both streams."""
    done = subprocess.run(
        [sys.executable, "-m", "mpremote", "connect", device, *words],
        capture_output=True,
        text=True,
        timeout=2 * LIMIT,
        cwd=cwd,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_mpremote(boot: Boot, tmp_path: Path) -> None:
    machine = prompted(boot)
    data = bytes(range(256)) * 12
    (tmp_path / "data.bin").write_bytes(data)
    (tmp_path / "script.py").write_text("import sys\nprint(sys.platform)\nraise OSError(5)\n")

    with terminal_of(machine) as device:

        def does(*words: str) -> str:
            status, said = mpremote(device, tmp_path, *words)
            assert status == 0, said
            return said

        assert does("exec", "print(6 * 7)") == "42\n"
        assert does("eval", "2**100") == f"{2**100}\n"
        status, said = mpremote(device, tmp_path, "run", "script.py")
        assert status == 1 and said.startswith("vipervisor\n") and "OSError: [Errno 5] EIO" in said
        # A command alone soft-resets first, one after `resume` does not.
        does("exec", "here = 5")
        assert "NameError" in mpremote(device, tmp_path, "exec", "here")[1]
        does("exec", "here = 5", "+", "exec", "print(here)")
        assert does("resume", "exec", "print(here)") == "5\n"
        assert mpremote(device, tmp_path, "soft-reset", "resume", "exec", "here")[0] == 1


def test_mpremote_files(boot: Boot, tmp_path: Path) -> None:
    machine = prompted(boot)
    data = bytes(range(256)) * 12
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "one.txt").write_text("one\n")
    (folder / "inner" / "two.txt").write_text("two\n")
    (tmp_path / "data.bin").write_bytes(data)
    with terminal_of(machine) as device:

        def does(line: str) -> str:
            status, said = mpremote(device, tmp_path, *line.split())
            assert status == 0, said
            return said

        does("cp data.bin :data.bin + touch :empty + cp -r folder :")
        said = does("fs sha256sum :data.bin + ls + tree :folder + cat :folder/inner/two.txt")
        assert hashlib.sha256(data).hexdigest() in said
        assert re.search(r"^ *3072 data.bin\n *0 empty\n *0 folder/\n", said, re.MULTILINE)
        assert re.search(r"inner\n.*two.txt\n.*one.txt\n", said) and said.endswith("\ntwo\n")
        said = does("mkdir :made + rmdir :made + rm :empty + rm -r :folder + ls + df")
        assert re.search(r"^ls :\n +3072 data.bin\nfilesystem", said, re.MULTILINE)
        does("fs cp :data.bin back.bin")
        assert (tmp_path / "back.bin").read_bytes() == data
        assert mpremote(device, tmp_path, "fs", "cat", ":gone")[0] == 1


def test_mpremote_clock(boot: Boot, tmp_path: Path) -> None:
    machine = prompted(boot)
    wrong = "machine.RTC().datetime((2031, 12, 31, 2, 12, 34, 56, 0)); time.gmtime()[0]"
    assert ask(machine, f"import machine, time; {wrong}") == "2031"
    with terminal_of(machine) as device:
        assert mpremote(device, tmp_path, "rtc", "--set")[0] == 0
        status, said = mpremote(device, tmp_path, "rtc")
        year, month, day, weekday = map(int, said.strip("()\n").split(",")[:4])
        assert status == 0
        # Bochs' clock runs ahead while the CPU idles.
        set_to = datetime.date(year, month, day)
        assert abs(set_to - datetime.date.today()) <= datetime.timedelta(days=2)
        assert weekday == set_to.weekday()


def test_mpremote_repl(boot: Boot, tmp_path: Path) -> None:
    """Its terminal: mpremote itself runs on one, as a person has it."""
    machine = prompted(boot)
    with terminal_of(machine) as device:
        ours, theirs = pty.openpty()
        tty.setraw(theirs)  # mpremote does it too, but after its first words
        program = subprocess.Popen(
            [sys.executable, "-m", "mpremote", "connect", device, "repl"],
            stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, start_new_session=True,
        )
        os.close(theirs)
        said = b""

        def wait_for(text: bytes) -> None:
            nonlocal said
            end = time.monotonic() + 2 * LIMIT
            while text not in said:
                assert time.monotonic() < end, f"mpremote repl did not show {text!r}: {said!r}"
                if select.select([ours], [], [], 0.5)[0]:
                    said += os.read(ours, 4096)

        try:
            wait_for(b"Ctrl-]")  # how to leave it
            os.write(ours, b"print(6 * 7, 'in' + 'side')\r")
            wait_for(b"42 inside\r\n>>> ")
            os.write(ours, b"while True: pass\r\r")
            wait_for(b"pass\r\n")
            os.write(ours, b"\x03")
            wait_for(b"KeyboardInterrupt: \r\n>>> ")
            os.write(ours, b"\x1d")
            assert program.wait(LIMIT) == 0
        finally:
            program.kill()
            program.wait()
            os.close(ours)


def test_mpremote_mount(boot: Boot, tmp_path: Path) -> None:
    machine = prompted(boot)
    data = bytes(range(256)) * 12
    host = tmp_path / "host"
    host.mkdir()
    (host / "answers.py").write_text("ANSWER = 42\n")
    (host / "data.bin").write_bytes(data)
    look = "import answers; print(answers.ANSWER, open('data.bin', 'rb').read() == "
    look += "bytes(range(256)) * 12)"
    with terminal_of(machine) as device:
        status, said = mpremote(device, tmp_path, "mount", "host", "exec", look)
        assert (status, said.splitlines()[-1]) == (0, "42 True")
