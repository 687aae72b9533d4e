"""Module `machine` of the prompt: ports, clock, identity; and native code that cannot hang it."""

from __future__ import annotations

import ast
import calendar
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from vipervisor import Machine, MonitorError

pytestmark = pytest.mark.machine

LIMIT = 60.0
STUB = Path(__file__).resolve().parents[2] / "firmware" / "stubs" / "machine.pyi"
UUID = uuid.UUID("5f0e9c2a-1d34-4b6e-8a77-0123456789ab")


@pytest.fixture
def run(boot: Callable[..., Machine], backend: str) -> Callable[[str], str]:
    """run(code) -> what it printed, on one machine."""
    machine = boot([], qemu_args=("-uuid", str(UUID)) if backend == "svm" else ())

    def execute(code: str) -> str:
        return machine.exec("import machine, time, _hv\n" + code).strip()

    return execute


def test_the_machine(run: Callable[[str], str], backend: str) -> None:
    # Ports: the PIT's channel 2 counter can be written and read back, the CMOS' by pairs.
    assert run("print(machine.Port(0x3fb).read() == _hv.inb(0x3fb))") == "True"
    assert run("p = machine.Port(0x3ff); p.write(0x15a); print(p, hex(p.read()))") == (
        "Port(0x3ff, size=1) 0x5a"
    )
    assert run("p = machine.Port(0xcf8, 4); p.write(0x80000000)\nprint(hex(p.read()))") == (
        "0x80000000"
    )
    for wrong, why in (
        ("machine.Port(0x10000)", "port 65536 is outside 0 to 0xffff"),
        ("machine.Port(0xffff, 2)", "port 65535 is outside 0 to 0xfffe"),
        ("machine.Port(0x80, 3)", "a port has 1, 2 or 4 bytes, not 3"),
        ("machine.freq(1)", "the frequency cannot be set"),
        ("machine.RTC().datetime((2030, 2, 30, 0, 0, 0, 0, 0))", "is no time from 2000 to 2099"),
    ):
        with pytest.raises(MonitorError, match=why):
            run(wrong)

    assert run("print(machine.freq() == _hv.tsc_hz() > 1000000)") == "True"
    found = run("print(list(machine.unique_id()))")
    if backend == "svm":
        # SMBIOS has the first three fields in little-endian order, as bytes_le.
        assert found == str(list(UUID.bytes_le))
    else:
        assert found == "[]"  # Bochs' BIOS has no UUID
    # The stub for editors has what is there, and nothing else.
    tree = ast.parse(STUB.read_text()).body
    listed = {n.name for n in tree if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    listed |= {ast.unparse(n.target) for n in tree if isinstance(n, ast.AnnAssign)}
    there = run("print(*[n for n in dir(machine) if n[0] != '_'])").split()
    assert set(there) == {n for n in listed if n[0] != "_"}
    for name in ("Port", "RTC"):
        cls = next(n for n in tree if isinstance(n, ast.ClassDef) and n.name == name)
        methods = {n.name for n in cls.body if isinstance(n, ast.FunctionDef)}
        there = run(f"print(*[n for n in dir(machine.{name}) if n[:2] != '__'])").split()
        assert set(there) == {n for n in methods if n[:2] != "__"}
    # mem8 to mem64 look at the same bytes, which can be written.
    assert run(
        "import uctypes\n"
        "b = bytearray(16); a = uctypes.addressof(b)\n"
        "machine.mem64[a] = 0x1122334455667788\n"
        "machine.mem16[a + 8] = 0xabcd\n"
        "print(hex(machine.mem32[a + 4]), hex(machine.mem8[a]), b[8:10].hex())"
    ) == "0x11223344 0x88 cdab"
    # idle() comes back: an event ends it.
    assert run("import asyncio\n_hv.alarm(20)\nmachine.idle()\nprint('back')") == "back"


def test_the_clock(run: Callable[[str], str], backend: str) -> None:
    now = tuple(map(int, run("print(*machine.RTC().datetime())").split()))
    shown = run("print(*time.gmtime()[:6])")
    later = calendar.timegm((*map(int, shown.split()), 0, 0, 0))
    assert 0 <= later - calendar.timegm((*now[:3], *now[4:7], 0, 0, 0)) <= 60
    assert now[3] == calendar.weekday(*now[:3])
    assert 0 <= now[7] < 1_000_000
    # A new time holds for time.time(), for the chip, and over a soft reset. A busy host may let
    # the minute end in between: then it is set again.
    shown, digits = run(
        "def cmos(i):\n _hv.outb(0x70, i)\n return _hv.inb(0x71)\n"
        "for _ in range(50):\n"
        " machine.RTC().datetime((2031, 12, 31, 2, 12, 34, 56, 0))\n"
        " shown = time.gmtime()[:5]\n"
        " digits = [cmos(i) for i in (9, 8, 7, 6, 4, 2, 11, 0)]\n"
        " second = digits[7] if digits[6] & 4 else int('%x' % digits[7])\n"
        " if second >= 56: break\n"
        "print(shown)\nprint(*digits)"
    ).splitlines()
    assert shown == "(2031, 12, 31, 12, 34)"
    year, month, day, weekday, hour, minute, mode, _ = map(int, digits.split())
    assert not mode & 0x80  # the chip runs again
    if not mode & 0x04:
        year, month, day, hour, minute = (
            int(f"{n:x}") for n in (year, month, day, hour, minute)
        )
    assert (year, month, day, weekday, minute) == (31, 12, 31, 4, 34)
    # Bochs 2.7 takes a time that is set for summer time when the next second begins.
    assert hour == 12 or (hour == 11 and backend == "vmx")


def test_reset_restarts_the_machine(boot: Callable[..., Machine], backend: str) -> None:
    machine = boot([])
    machine.prompt.expect(r"^>>> ", LIMIT)
    machine.prompt.write("import machine; machine.reset()\r")
    if backend == "svm":  # QEMU is told not to reboot
        assert "reset itself" in machine.wait_off(LIMIT) or "status 0" in str(machine.ended)
    else:
        machine.prompt.expect(r"machine.reset\(\)\n(.*\n)*MicroPython (.*\n)*>>> ", LIMIT)
