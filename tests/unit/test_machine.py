"""Machine on the fake emulator, and on the real ones with a kernel of a few bytes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from unit import blob_kernel
from unit.fake_setup import FAKE, Hv
from vipervisor import (
    EmulatorError,
    Machine,
    MonitorError,
    Unavailable,
    UsageError,
    WaitTimeout,
    accel,
    signals,
)
from vipervisor.channel import Type, json_frame
from vipervisor.emulator import Emulator, Setup
from vipervisor.machine import machine_size

MIB = 1 << 20


@pytest.fixture
def hv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hv]:
    hv = Hv(tmp_path)
    for name in ("VIPERVISOR_BUILD", "VIPERVISOR_QEMU", "TMPDIR", "PATH"):
        monkeypatch.setenv(name, hv.env[name])
    monkeypatch.setattr("tempfile.tempdir", hv.env["TMPDIR"])
    yield hv
    assert [p for p in (tmp_path / "tmp").iterdir()] == []


def guests(hv: Hv, **behaviours: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Path]]:
    rows = [
        {"name": name, "cpus": 1, "memory": 16 * MIB, "image": f"{name}.img"} for name in behaviours
    ]
    files = {f"{name}.img": Path(hv.image(f"{name}.img", **b)) for name, b in behaviours.items()}
    description = {"format": 1, "name": "t", "machine": {"cpus": 2}, "guests": rows}
    return description, files


def test_life(hv: Hv) -> None:
    part, files = guests(hv, a={"lines": ["hi"], "echo": True, "end": {"reason": "poweroff"}})
    with Machine(part, files) as machine:
        assert machine.hello.abi == 1
        machine.wait_started(10)
        machine.prompt.expect(">>> ", 10)
        console = machine.console("a", 10)
        console.expect("hi", 10)
        assert machine.wait_state("a", "running", timeout=10) == "running"
        assert machine.exec("print(5)") == "5\n"
        with pytest.raises(MonitorError, match="NameError"):
            machine.exec("nonsense")
        console.write("quit\n")
        assert machine.wait_end("a", 10).reason == "poweroff"
        assert machine.guests()["a"].state == "off"
        assert machine.quit(10) == "the monitor powered the machine off"
        with pytest.raises(EmulatorError, match="the machine has ended"):
            console.expect("more", 10)


def test_logs_are_kept(hv: Hv, tmp_path: Path) -> None:
    part, files = guests(hv, a={"lines": ["hi"]})
    logs = tmp_path / "logs"
    with Machine(part, files, logs=logs) as machine:
        machine.console("a").expect("hi", 10)
        machine.prompt.expect(">>> ", 10)
        # It is there while the guest runs.
        live = logs / "console-a.txt"
        machine.bell.wait(lambda: live.exists() and live.read_text() == "hi\n", 10, "the log")
    assert (logs / "console-a.txt").read_text() == "hi\n"
    assert "fake monitor" in (logs / "prompt.txt").read_text()
    assert (logs / "stderr").exists() and (logs / "channel.bin").stat().st_size


def test_files_with_any_names(hv: Hv, tmp_path: Path) -> None:
    odd = tmp_path / "odd, name with spaces"
    odd.write_text('{"lines": ["found"]}')
    part, _ = guests(hv, a={})
    with Machine(part, {"a.img": odd}) as machine:
        machine.console("a").expect("found", 10)


def test_missing_file(hv: Hv) -> None:
    with pytest.raises(Exception, match="cannot read the module x /no/file"):
        Machine(guests(hv)[0], {"x": "/no/file"})


def test_waits_say_what_for(hv: Hv) -> None:
    part, files = guests(hv, a={"lines": ["last words"]})
    with Machine(part, files) as machine:
        machine.console("a").expect("last", 10)
        with pytest.raises(
            WaitTimeout, match=r"waited 0\.1 s for the guest a to end.*\nlast words"
        ):
            machine.wait_end("a", 0.1)
        with pytest.raises(WaitTimeout, match="the guest a to be off or crashed"):
            machine.wait_state("a", "off", "crashed", timeout=0.1)
        with pytest.raises(WaitTimeout, match="to make the guest b"):
            machine.console("b", 0.1)


def test_panic_ends_every_wait(hv: Hv) -> None:
    part, files = guests(hv, a={"lines": ["hi"]})
    with Machine(part, files) as machine:
        machine.prompt.expect(">>> ", 10)
        machine.prompt.write("panic()\r")
        with pytest.raises(EmulatorError, match="the monitor stopped: #PF at 1234"):
            machine.wait_end("a", 30)


def test_mute_monitor(hv: Hv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MUTE", "1")
    machine = Machine(guests(hv)[0], boot_timeout=0.5)
    power_on = machine.power_on

    def until_it_has_said_that() -> None:
        power_on()
        machine.prompt.expect("stuck here", 60)

    monkeypatch.setattr(machine, "power_on", until_it_has_said_that)
    with pytest.raises(EmulatorError, match=r"did not come up: waited 0.5 s.*COM1:\nstuck here"):
        machine.start()
    assert machine.ended == "closed"


def test_close_while_running_leaves_no_process(hv: Hv) -> None:
    with Machine(guests(hv, a={"lines": []})[0] | {"guests": []}) as machine:
        pid = machine.emulator.pid
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    machine.close()  # once more does nothing


def test_sizes() -> None:
    part = {"guests": [{"cpus": 2, "memory": 64 * MIB}, {"cpus": [0, 5], "memory": MIB}]}
    assert machine_size(part) == (6, 129 * MIB)
    assert machine_size({"guests": [{"cpus": [0], "memory": 0}]})[0] == 1
    part = {"machine": {"cpus": 8, "memory": 1 << 30}, "guests": []}
    assert machine_size(part) == (8, 1 << 30)


def test_choice_of_accelerator() -> None:
    assert accel.choose(None, None) == ("svm", "tcg")
    assert accel.choose("vmx", None) == ("vmx", "bochs")
    assert accel.choose(None, "bochs") == ("vmx", "bochs")
    assert accel.choose("svm", "bochs") == ("svm", "bochs")
    with pytest.raises(UsageError, match="no VT-x"):
        accel.choose("vmx", "tcg")


def test_kvm_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert accel.host_backend("flags : fpu svm nx") == "svm"
    assert accel.host_backend("flags : fpu vmx") == "vmx"
    assert accel.host_backend("flags : fpu") is None
    monkeypatch.setattr(accel, "host_backend", lambda: None)
    with pytest.raises(Unavailable, match="KVM cannot"):
        accel.choose(None, "kvm")


def test_icount_is_for_tcg_only(hv: Hv) -> None:
    with pytest.raises(UsageError, match="icount"):
        Machine(guests(hv)[0], backend="vmx", icount=True)


# --- the real emulators ---

HELLO = {"version": 1, "abi": 1, "backend": None, "emulator": "", "cpus": 1, "guests": []}
SAYS = b"power on\r\n>>> "
REAL = [
    pytest.param("tcg", "qemu-system-x86_64", marks=pytest.mark.machine, id="qemu"),
    pytest.param("bochs", "bochs-bin", marks=pytest.mark.machine, id="bochs"),
]
Build = Callable[[str], None]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    def build(ending: str) -> None:
        folder = tmp_path / "build"
        blob_kernel.build(folder, SAYS, json_frame(Type.HELLO, HELLO).encode(), ending)
        monkeypatch.setenv("VIPERVISOR_BUILD", str(folder))

    return build


@pytest.mark.parametrize("accelerator, program", REAL)
@pytest.mark.parametrize(
    "ending, why",
    [("hang", ""), ("off", "the monitor powered the machine off"), ("triple", "triple fault")],
)
def test_real_emulator(
    kernel: Build, accelerator: str, program: str, ending: str, why: str, tmp_path: Path
) -> None:
    if shutil.which(program) is None:
        pytest.fail(f"{program} is not installed: run `make setup`", pytrace=False)
    off = {"tcg": "qemu", "bochs": "bochs"}[accelerator]
    kernel(off if ending == "off" else ending)
    big = tmp_path / "big"
    big.write_bytes(bytes(3 << 20))
    part = {"guests": [], "machine": {"cpus": 2}}
    with Machine(part, {"big": big}, accel=accelerator) as machine:
        folder = machine.emulator.folder
        machine.prompt.expect("power on\n>>> ", 20)
        if why:
            assert why in machine.wait_off(20)
        pid = machine.emulator.pid
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_qemu_refuses_its_command(kernel: Build) -> None:
    kernel("hang")
    with pytest.raises(EmulatorError, match="QEMU ended with status 1.*\nqemu-system-x86_64: "):
        Machine({"guests": []}, qemu_args=["-machine", "no-such-machine"]).start()


def test_fake_is_executable() -> None:
    assert os.access(FAKE, os.X_OK)


def test_a_signal_while_it_is_started_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def struck(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
        process = real(*words, **options)
        signal.raise_signal(signal.SIGINT)  # it is there, and nobody knows it yet
        return process

    real = subprocess.Popen
    one = Emulator(Setup(cpus=1, memory=MIB), tmp_path)
    monkeypatch.setattr(subprocess, "Popen", struck)
    with pytest.raises(KeyboardInterrupt), signals.end_once():
        one.spawn(["sleep", "600"])
    assert one.process is not None
    one.kill()
    assert one.process.returncode == -signal.SIGKILL
