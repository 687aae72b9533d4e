"""Policies swapped while guests run: at the prompt, by `hv watch`, across soft resets."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machine.beats import goes_on
from machine.command import environment
from vipervisor import Machine, MonitorError
from vipervisor.hub import Hub
from vipervisor.registry import Claim

pytestmark = pytest.mark.machine

ROOT = Path(__file__).resolve().parents[2]
Boot = Callable[..., Machine]
LIMIT = 90.0
EVERY = 20  # milliseconds of a beat
CTRL_C, CTRL_D = "\x03", "\x04"

POLICY = """\
count = old.get("count", 0)

@beat.on("io", port=(0x3f8, 0x3ff))
def uart(x):
    global count
    count += 1

class Adder(hv.Device):
    sum = 0
    def save(self): return self.sum
    def load(self, state): self.sum = state
adder = beat.attach(Adder(), ports=0x560)
adder.sum += 1
ticks = []
hv.every(10, lambda: ticks.append(VERSION))
print("this is", VERSION)
"""


def started(boot: Boot) -> Machine:
    machine = boot([{"image": "beat", "cmdline": f"every={EVERY}"}])
    machine.console("beat", LIMIT).expect(r"beat 3\b.*\n", LIMIT)
    return machine


def test_versions_take_each_others_place(boot: Boot) -> None:
    machine = started(boot)
    ready = "len(p.names['ticks']) > 1 and p.names['count'] > {}"
    wait = f"hv.clock.until(lambda: {ready}, 60, 'ticks')"
    last = 0
    for version in range(1, 9):
        source = POLICY.replace("VERSION", str(version))
        said = machine.exec(f"p = hv.policy('p.py', {source!r})\nprint(p)", LIMIT)
        has = "1 handler, 1 device, 1 timer"
        assert said == f"this is {version}\np.py: {has} (version {version})\n"
        machine.exec(wait.format(last), LIMIT)
        total = "hv.guest('beat').devices['adder'].sum"
        now = f"print(p.names['count'], {total}, set(p.names['ticks']))"
        count, total, ticks = machine.exec(now, LIMIT).split()
        assert (int(total), ticks) == (version, f"{{{version}}}")
        assert int(count) > last
        last = int(count)
        if version % 3 == 0:  # one that raises: everything stays
            wrong = source.replace("0x3f8", "0x2f8") + "1 // 0\n"
            with pytest.raises(MonitorError, match=r'"p.py", line 17, in <module>\nZeroDivision'):
                machine.exec(f"hv.policy('p.py', {wrong!r})", LIMIT)
    goes_on(machine.console("beat", LIMIT), LIMIT, 5)
    machine.exec("p.remove()")
    assert machine.exec("print(hv.guest('beat').handlers)").startswith("no handlers")
    goes_on(machine.console("beat", LIMIT), LIMIT, 5)


def test_a_policy_outlives_a_soft_reset(boot: Boot) -> None:
    machine = started(boot)
    machine.exec(f"hv.policy('p.py', {POLICY.replace('VERSION', '1')!r})", LIMIT)
    machine.prompt.write("\r")
    machine.prompt.expect(r"\n>>> ", LIMIT)
    machine.prompt.write(CTRL_D)
    machine.prompt.expect(r"soft reboot\n(?:.*\n)*>>> ", LIMIT)
    said = machine.exec(
        "p = hv.policies['p.py']\n"
        "hv.clock.until(lambda: p.names['count'], 60, 'an exit')\n"
        "print(p, sorted(hv.guest('beat').handlers))",
        LIMIT,
    )
    assert said == (
        "p.py: 1 handler, 1 device, 1 timer (version 1) ['adder (io)', 'uart']\n"
    )
    goes_on(machine.console("beat", LIMIT), LIMIT, 5)


@contextlib.contextmanager
def shared(machine: Machine, folder: Path) -> Iterator[dict[str, str]]:
    """The machine as `hv boot` would offer it; the environment for other commands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        claim = Claim("m", "m")
        hub = Hub(machine.link, machine.prompt, claim.folder)
        claim.write_info({"backend": machine.backend})
    try:
        yield environment(folder)
    finally:
        hub.close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", str(folder))
            claim.release()


class Command:
    """A command of `hv` that runs beside the test; both its streams are one text."""

    def __init__(self, environment: dict[str, str], *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vipervisor", *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.text = ""
        self._at = 0
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.text += line
                self._changed.notify_all()

    def expect(self, pattern: str) -> str:
        """Waits for it behind the last match."""
        with self._changed:
            ok = self._changed.wait_for(lambda: re.search(pattern, self.text[self._at :]), LIMIT)
            assert ok, f"no /{pattern}/ in:\n{self.text[self._at :]}"
            found = re.search(pattern, self.text[self._at :])
            assert found is not None
            self._at += found.end()
            return found.group()

    def leave(self) -> int:
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        return status


def test_hv_watch(boot: Boot, tmp_path: Path) -> None:
    """Each save is in force at once; an error shows its line and changes nothing."""
    machine = started(boot)
    file = tmp_path / "policy.py"
    file.write_text(POLICY.replace("VERSION", "1"))
    with shared(machine, tmp_path) as environment:
        watch = Command(environment, "watch", str(file))
        try:
            watch.expect(r"this is 1\npolicy\.py: 1 handler, 1 device, 1 timer .*, \d+ ms")
            file.write_text(POLICY.replace("VERSION", "2"))
            watch.expect(r"this is 2\n")
            new = tmp_path / "new"  # as editors save
            new.write_text(POLICY.replace("VERSION", "3").replace("count += 1", "count += 'x'"))
            os.replace(new, file)
            watch.expect(r"this is 3\n")
            # What fails later is told here as well.
            watch.expect(r"\[beat\] paused: the handler uart of io failed")
            watch.expect(r'"policy\.py", line 6, in uart\n(.*\n)?TypeError')
            machine.wait_state("beat", "paused", timeout=LIMIT)
            file.write_text(POLICY.replace("VERSION", "4"))
            watch.expect(r"this is 4\n")
            machine.exec("hv.guest('beat').resume()", LIMIT)
            file.write_text(POLICY.replace("VERSION", "undefined"))
            watch.expect(r"not taken, nothing has changed:\n")
            watch.expect(r'  File "policy\.py", line 16, in ')
            watch.expect(r'print\("this is", undefined\)\nNameError')
            file.write_text("def broken(:\n")
            watch.expect(r'  File "policy\.py", line 1\n +def broken\(:\nSyntaxError')
            hits = "hv.guest('beat').handlers['uart'].hits"
            machine.exec(f"hv.clock.until(lambda: {hits}, 60, 'an exit')", LIMIT)
            assert machine.exec("print(hv.policies['policy.py'].version)", LIMIT) == "4\n"
            # Python starts anew (mpremote does that before each command): it is there again.
            machine.prompt.write(CTRL_C + CTRL_D)
            machine.prompt.expect(r"soft reboot\n", LIMIT)
            assert machine.exec("print(sorted(hv.guest('beat').handlers))", LIMIT) == (
                "['adder (io)', 'uart']\n"
            )
            file.write_text(POLICY.replace("VERSION", "5"))
            watch.expect(r"this is 5\n")
            assert watch.leave() == 0
        finally:
            watch.process.kill()
            watch.process.wait()
        missing = Command(environment, "watch", str(tmp_path / "none.py"))
        missing.expect("there is no file .*none.py")
        assert missing.process.wait(LIMIT) == 1
        file.write_text("1 // 0\n")
        once = Command(environment, "watch", "--once", str(file))
        once.expect("ZeroDivisionError")
        assert once.process.wait(LIMIT) == 1
    goes_on(machine.console("beat", LIMIT), LIMIT, 5)
