"""`hv run`: its statuses and messages, on a fake emulator that speaks every protocol."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.fake_setup import Hv
from vipervisor import cli

CRASH = {"reason": "crash", "crash": {"why": "triple fault", "rip": 0x1234567, "bytes": "0f0b"}}


@pytest.fixture
def hv(tmp_path: Path) -> Iterator[Hv]:
    hv = Hv(tmp_path)
    yield hv
    assert hv.leftovers() == []


@pytest.mark.parametrize(
    "end, status, says",
    [
        ({"reason": "exit", "status": 0}, 0, ""),
        ({"reason": "exit", "status": 3}, 3, ""),
        ({"reason": "exit", "status": 119}, 119, ""),
        ({"reason": "exit", "status": 120}, 119, "status is 120 (0x78)"),
        ({"reason": "exit", "status": 0x12345678}, 119, "status is 305419896 (0x12345678)"),
        ({"reason": "poweroff"}, 0, ""),
        ({"reason": "reset"}, 121, "guest reset itself"),
        ({"reason": "stopped"}, 125, "stopped by the monitor"),
        (CRASH, 126, "crash: triple fault\n  bytes         0f0b\n  rip           0x1234567"),
    ],
)
def test_status(hv: Hv, end: dict[str, Any], status: int, says: str) -> None:
    result = hv.run(lines=["hello"], end=end)
    assert (result.returncode, result.stdout) == (status, "hello\n"), result.stderr
    assert says in result.stderr
    assert bool(says) == bool(result.stderr)


def test_reboot_lets_it_reset(hv: Hv) -> None:
    result = hv.run("--reboot", lines=["up"], resets=2, end={"reason": "exit", "status": 5})
    assert (result.returncode, result.stdout) == (5, "up\nup\nup\n")


def test_until_across_chunks_and_escapes(hv: Hv) -> None:
    lines = ["boot", "\x1b[32mlo\x1b[0mgin\x1b[1;31m:\x1b[0m"]
    result = hv.run("--until", "^login:", lines=lines, chunk=1)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "end, status",
    [
        ({"reason": "exit", "status": 0}, 123),
        ({"reason": "poweroff"}, 123),
        (CRASH, 126),
        ({"reason": "reset"}, 121),
    ],
)
def test_until_that_never_comes(hv: Hv, end: dict[str, Any], status: int) -> None:
    result = hv.run("--until", "login:", lines=["no"], end=end)
    assert result.returncode == status
    assert "guest" in result.stderr


def test_timeout(hv: Hv) -> None:
    begin = time.monotonic()
    for limit in ("2", "4", "8"):  # of which a busy computer may need much before the first line
        result = hv.run("--timeout", limit, lines=["still here"])
        assert result.returncode == 124 and f"no end within {limit} s" in result.stderr
        if result.stdout:
            break
    assert result.stdout == "still here\n"
    assert time.monotonic() - begin < 30


def test_timeout_before_the_monitor_is_up(hv: Hv) -> None:
    result = hv.run("--timeout", "1", lines=[], env={"FAKE_MUTE": "1"})
    assert result.returncode == 124


def test_stats_on_stderr(hv: Hv) -> None:
    result = hv.run("--stats", lines=["x"], end={"reason": "poweroff"})
    assert result.returncode == 0 and result.stdout == "x\n"
    assert "io          12,345" in result.stderr and "total       12,348" in result.stderr


def test_stdin_reaches_the_console(hv: Hv) -> None:
    text = "a" * 3000 + "\nquit\n"
    result = hv.run(echo=True, end={"reason": "exit", "status": 7}, stdin=text)
    assert result.returncode == 7, result.stderr
    assert result.stdout.replace("><", "").count("a") == 3000


@pytest.mark.parametrize(
    "words, says",
    [
        (["run"], "required: IMAGE"),
        (["run", "x", "--cpus", "0"], "no positive number"),
        (["run", "x", "--until", "("], "no regular expression"),
        (["run", "x", "--backend", "arm"], "invalid choice"),
        (["run", "/no/such/file"], "cannot read the file /no/such/file: No such file"),
        (["run", "IMAGE", "--initrd", "/no/rd"], "cannot read the file /no/rd"),
        (["run", "IMAGE"], "image-text"),
        (["run", "IMAGE", "--kind", "flat32", "--memory", "much"], "memory"),
        (["run", "IMAGE", "--kind", "flat32", "--memory", "2M", "--module", "BIG"], "memory"),
        (["run", "IMAGE", "--kind", "flat32", "--memory", "-5M"],
         "--memory: size-zero: memory is '-5M': memory is more than nothing"),
        (["run", "x", "--timeout", "-5s"], "--timeout: '-5s' is no time (say 30, 30s, 2m)"),
        (["run", "x", "-5M"], "there is no argument -5M here"),
        (["run", "IMAGE", "--kind", "nonsense"], "kind"),
        (["run", "IMAGE", "--kind", "flat32", "--hide", "avx22"], "--hide: hide-unknown"),
        (["run", "IMAGE", "--backend", "vmx", "--accel", "tcg"], "has no VT-x"),
        (["run", "IMAGE", "--kind", "flat32", "--machine", "a b"], "cannot name a machine"),
    ],
)
def test_usage_is_125_in_one_sentence(hv: Hv, words: list[str], says: str) -> None:
    big = hv.folder / "big"
    big.write_bytes(bytes(8 << 20))
    names = {"IMAGE": hv.image(), "BIG": str(big)}
    result = hv(*[names.get(word, word) for word in words])
    assert result.returncode == 125, result
    assert says in result.stderr and result.stdout == ""
    assert "Traceback" not in result.stderr and len(result.stderr.splitlines()) <= 2


def test_missing_emulator(hv: Hv) -> None:
    result = hv.run(env={"VIPERVISOR_QEMU": "/no/qemu"})
    assert result.returncode == 125
    assert (
        result.stderr
        == "hv run: VIPERVISOR_QEMU says /no/qemu, which is no program that can be run\n"
    )
    result = hv("run", hv.image(), "--kind", "flat32", VIPERVISOR_QEMU="", PATH="/nowhere")
    assert result.returncode == 125
    assert "QEMU is not installed" in result.stderr and "make setup" in result.stderr


def test_missing_monitor(hv: Hv) -> None:
    result = hv.run(env={"VIPERVISOR_BUILD": "/nowhere"})
    assert result.returncode == 125
    assert "/nowhere/vipervisor.elf is missing: run `make build` first" in result.stderr


def test_emulator_that_refuses(hv: Hv) -> None:
    result = hv.run(env={"FAKE_REFUSE": "1"})
    assert result.returncode == 125
    assert "QEMU ended with status 1" in result.stderr
    assert "fake-qemu: no such option" in result.stderr


def test_emulator_that_dies_while_booting(hv: Hv) -> None:
    result = hv.run(env={"FAKE_DIE": "1"})
    assert result.returncode == 125
    assert "the monitor did not come up" in result.stderr
    assert "PANIC: no memory" in result.stderr and "the machine broke" in result.stderr


def test_emulator_that_dies_later(hv: Hv) -> None:
    result = hv.run(lines=["so far"], die=9)
    assert (result.returncode, result.stdout) == (125, "so far\n")
    assert "the machine has ended" in result.stderr and "out of luck" in result.stderr


def test_partition_that_does_not_start(hv: Hv) -> None:
    result = hv.run(env={"FAKE_ERROR": "guest was not started: no memory for 256M"})
    assert result.returncode == 125
    assert result.stderr == "hv run: guest was not started: no memory for 256M\n"


def test_name_that_is_taken(hv: Hv) -> None:
    owner = hv.start("run", hv.image(lines=["up"]), "--kind", "flat32", "--machine", "m")
    try:
        assert owner.stdout.readline() == "up\n"
        result = hv.run("--machine", "m", lines=["x"])
        assert result.returncode == 125
        assert "a machine called m is running already" in result.stderr
    finally:
        owner.send_signal(signal.SIGTERM)
        assert owner.wait(30) == 143
        owner.communicate()


@pytest.mark.parametrize(
    "number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_end_it_cleanly(hv: Hv, number: signal.Signals, status: int) -> None:
    process = hv.start("run", hv.image(lines=["up"]), "--kind", "flat32")
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    assert process.wait(30) == status
    assert "Traceback" not in process.communicate()[1]


def test_kill_leaves_no_emulator_and_is_swept(hv: Hv) -> None:
    process = hv.start("run", hv.image(lines=["up"]), "--kind", "flat32")
    assert process.stdout.readline() == "up\n"
    process.kill()
    process.wait(30)
    process.communicate()
    end = time.monotonic() + 10
    while any("fake_qemu" in word for word in hv.leftovers()) and time.monotonic() < end:
        time.sleep(0.05)
    listing = hv("ps")
    assert listing.stdout == "no machine is running\n"
    for stale in (hv.folder / "tmp").iterdir():
        old = time.time() - 3600
        os.utime(stale, (old, old))
    assert hv.run(lines=["again"], end={"reason": "poweroff"}).returncode == 0


def test_closed_stdout(hv: Hv) -> None:
    process = hv.start("run", hv.image(lines=["up"] * 5000), "--kind", "flat32")
    process.stdout.close()
    assert process.wait(30) == 125
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_interrupted_in_a_librarys_locks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """threading.Condition struck while it gives its lock back leaves as RuntimeError."""

    def struck(_: object) -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError("release unlocked lock") from None
        return 0

    monkeypatch.setattr(cli.doctor, "version_main", struck)
    assert cli.main(["version"]) == 130
    assert "RuntimeError" not in capsys.readouterr().err
