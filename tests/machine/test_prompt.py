"""The prompt on COM1: what a person types at it, and stock mpremote over a pty."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Boot = Callable[..., Any]
LIMIT = 60.0


@pytest.fixture
def machine(boot: Boot) -> Any:
    """One machine with no guest, its prompt up."""
    booted = boot([], cpus=1)
    booted.prompt.expect(">>> ", timeout=LIMIT)
    return booted


def ask(machine: Any, line: str, answer: str) -> None:
    machine.prompt.write(line + "\r\n")
    machine.prompt.expect(answer, timeout=LIMIT)


def test_language_and_modules(machine: Any) -> None:
    code = (
        "import json, re, struct, uctypes, binascii, hashlib, time, asyncio, select, gc, math\n"
        "print(2 ** 100, 1.5 * 3, json.loads('[1, 2]'), re.match('a+', 'aaa').group(0))\n"
        "print(struct.pack('<I', 7), binascii.hexlify(hashlib.sha256(b'x').digest())[:8])\n"
        "async def f():\n"
        "    await asyncio.sleep_ms(5)\n"
        "    return 9\n"
        "print(asyncio.run(f()), math.sqrt(2) > 1.41)\n"
    )
    lines = machine.exec(code).splitlines()
    assert lines[0] == f"{2**100} 4.5 [1, 2] aaa"
    assert lines[1] == "b'\\x07\\x00\\x00\\x00' b'2d711642'"
    assert lines[2] == "9 True"


def test_traceback_names_the_error(machine: Any) -> None:
    ask(machine, "1/0", "ZeroDivisionError")


def test_line_editing_history_and_tab(machine: Any) -> None:
    machine.prompt.write("print('one' 'x')\x1b[D\x08\x08\x08\r\n")
    machine.prompt.expect("\none", timeout=LIMIT)
    machine.prompt.write("print('hist' + 'ory')\r\n")
    machine.prompt.expect("\nhistory", timeout=LIMIT)
    machine.prompt.write("\x1b[A\r\n")
    machine.prompt.expect("\nhistory", timeout=LIMIT)
    machine.prompt.write("import uctyp\t\r\n")
    machine.prompt.expect("uctypes", timeout=LIMIT)


@pytest.mark.parametrize(
    "loop",
    [
        "while True: pass",
        "import time; time.sleep(1000)",
    ],
)
def test_ctrl_c_interrupts(machine: Any, loop: str) -> None:
    machine.prompt.write(loop + "\r\n\r\n")
    machine.prompt.write("print('not yet')\r\n")
    machine.prompt.write("\x03")
    machine.prompt.expect("KeyboardInterrupt", timeout=LIMIT)
    ask(machine, "print('al' 'ive')", "alive")


def test_ctrl_c_interrupts_native_code(machine: Any) -> None:
    machine.prompt.write("\x05")  # paste mode
    machine.prompt.write("@micropython.native\ndef f():\n    while True:\n        pass\n\nimport micropython\n")
    machine.prompt.write("\x03")
    machine.prompt.expect(">>> ", timeout=LIMIT)
    code = "import micropython\r\n@micropython.native\r\ndef spin():\r\nwhile True: pass\r\n\r\n\r\n"
    machine.prompt.write(code)
    machine.prompt.write("print('def' 'ined')\r\n")
    machine.prompt.expect("defined", timeout=LIMIT)
    machine.prompt.write("print('going'); spin()\r\n")
    machine.prompt.expect("\ngoing", timeout=LIMIT)
    machine.prompt.write("\x03")
    machine.prompt.expect("KeyboardInterrupt", timeout=LIMIT)
    ask(machine, "print('al' 'ive')", "alive")


def test_long_paste_loses_nothing(machine: Any) -> None:
    # Raw REPL, as mpremote without raw paste: 6,000 bytes in one go.
    data = "x" * 6000
    machine.prompt.write("\x01")
    machine.prompt.expect("raw REPL; CTRL-B to exit", timeout=LIMIT)
    machine.prompt.write(f"print(len('{data}'))\x04")
    machine.prompt.expect("OK6000", timeout=LIMIT)
    machine.prompt.write("\x02")


def test_a_wrong_address_is_an_error_not_the_end(machine: Any) -> None:
    out = machine.exec(
        "import machine\n"
        "try:\n"
        "    machine.mem32[0]\n"
        "except OSError as e:\n"
        "    print('OSError')\n"
    )
    assert out.strip() == "OSError"


def test_without_guests_the_machine_is_shown(machine: Any) -> None:
    text = machine.exec("print(hv.machine)")
    assert "CPU" in text or "cpu" in text


def test_exit_powers_off(machine: Any) -> None:
    machine.prompt.write("exit()\r\n")
    machine.wait_off(LIMIT)


@pytest.fixture
def mpremote(boot: Boot, backend: str) -> Any:
    if backend != "svm":
        pytest.skip("mpremote is tried on QEMU's pty")
    machine = boot([{"image": "beat", "cmdline": "ms=50"}], prompt="pty")
    machine.wait_started(LIMIT)

    def run(*words: str) -> str:
        command = [str(Path(sys.executable).parent / "mpremote"), "connect", machine.pty, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run.machine = machine  # type: ignore[attr-defined]
    return run


def test_stock_mpremote_runs_while_a_guest_beats(mpremote: Any, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("print('from a file', 2 ** 65)\n")
    (tmp_path / "mounted.py").write_text("value = 4711\n")
    assert mpremote("exec", "print(hv.guest('beat').state)").strip() == "running"
    assert f"from a file {2**65}" in mpremote("run", str(script))
    assert "4711" in mpremote("mount", str(tmp_path), "exec", "import mounted; print(mounted.value)")
    console = mpremote.machine.console("beat", LIMIT)
    numbers = [int(n) for n in re.findall(r"^beat (\d+)\r?$", console.text, re.MULTILINE)]
    assert numbers == list(range(1, numbers[-1] + 1))
