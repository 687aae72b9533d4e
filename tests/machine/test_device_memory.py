"""Device memory and ports that the core serves, seen from Python; and the guest that tries
every instruction on device memory, with its device in Python."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from machine.claims import LIMIT, Boot, Claims
from vipervisor import Machine, MonitorError

pytestmark = pytest.mark.machine

GUESTS = Path(__file__).resolve().parents[2] / "build" / "guests"


def run(
    machine: Machine, image: str, script: str, cmdline: str = "", limit: float = LIMIT
) -> str:
    """What a self-checking guest in the place of `claims` wrote; it passed."""
    before = len(machine.console("claims", LIMIT).text)
    code = f"g.reset()\ng.load('{image}.elf', cmdline={cmdline!r})\n{script}\ng.start()"
    machine.exec(code, timeout=LIMIT)
    end = machine.wait_end("claims", limit)
    text = machine.console("claims", LIMIT).text[before:]
    assert end.status == 0 and re.search(r"^[1-9]\d* passed, 0 failed", text, re.MULTILINE), text
    return text


FILES = {f"{name}.elf": GUESTS / f"{name}.elf" for name in ("apic", "mmio-forms")}


@pytest.fixture
def claims(boot: Boot) -> Claims:
    return Claims(boot, files=FILES)


@pytest.fixture
def long_claims(boot: Boot, backend: str) -> Claims:
    """Bochs runs CPUs in turn: the one that both share is faster for the guest's long work."""
    return Claims(boot, files=FILES, first={"cpus": [0]} if backend == "vmx" else {})


def test_the_cores_devices_and_nobodys_memory(claims: Claims) -> None:
    c = claims
    # Behind the core's answer, which a handler sees and may change; the neighbours of an
    # address are left alone.
    text = c.run(
        "log = []\n"
        "@g.on('mmio', gpa=0xfee00030)\n"
        "def version(x): log.append((x.kind, x.size, x.write, x.value)); x.value = 0x51\n"
        "@g.on('mmio', gpa=(0xd0000000, 0xd000000f))\n"
        "def nobodys(x): log.append((x.size, x.write, x.value))\n",
        "load=0xfee00020 load=0xfee00030 load=0xd0000000 store=0xd0000008 load=0xd0000010",
    )
    assert "load fee00020: 0\nload fee00030: 51\nload d0000000: ffffffff\n" in text
    log = c.exec("print(log)").strip()
    version = re.match(r"\[\('mmio', 4, False, (\d+)\)", log)
    assert version and int(version[1]) & 0xFF == 0x14, log  # an integrated APIC
    assert log.endswith("(4, False, 4294967295), (4, True, 3203334210)]"), log
    # In the core's place.
    text = c.run(
        "@g.on('mmio', gpa=(0xd0000000, 0xd0000003), instead=True)\ndef mine(x): x.value = 7\n",
        "load=0xfee00030 load=0xd0000000",
    )
    assert "load d0000000: 7\n" in text and "load fee00030: 51" not in text
    with pytest.raises(MonitorError, match="EEXIST"):
        c.exec("g.watch('mmio', gpa=0x100000)")  # its own memory: no exits there


def test_watching_device_memory_and_ports(claims: Claims) -> None:
    c = claims
    c.run(
        "seen = []\n"
        "w = g.watch('mmio', seen.append)\n"
        "p = g.watch('io', seen.append, port=0x608)\n"
        "m = g.watch('rdmsr', seen.append, msr=0x1b)\n",
        "load=0xfee00030 store=0xfee00080 store=0xd0000000 load=0xd0000000 in=0x608 rdmsr=0x1b",
    )
    c.exec("hv.clock.until(lambda: len(seen) == 6, 60, 'records')")
    seen = c.exec("for s in seen: print(s.kind, hex(s.words[0]), hex(s.value))").split("\n")
    assert seen[0].startswith("mmio 0xfee00030 0x") and seen[0].endswith("14")
    assert seen[1] == "mmio 0xfee00080 0xbeef0042"
    assert seen[2:4] == ["mmio 0xd0000000 0xbeef0042", "mmio 0xd0000000 0xffffffff"]
    assert re.match("io 0x608 0x[0-9a-f]{3,}$", seen[4])  # the PM timer, behind the answer
    assert seen[5] == "rdmsr 0x1b 0xfee00900"
    assert c.exec("print(w.hits, p.hits, m.hits, w.drops)").strip() == "4 1 1 0"
    c.exec("w.remove(); p.remove(); m.remove()")
    # What a guest writes on COM1, byte by byte behind the core.
    text = c.run(
        "out = []\n@g.on('io', port=0x3f8, write=True)\ndef tap(x): out.append(chr(x.value))",
        "load=0xfee00030 cpuid=0",
    )
    said = c.exec("print(repr(''.join(out)))")
    assert repr(text.replace("\n", "\r\n"))[1:-1] in said


@pytest.mark.full  # it takes its time in Bochs
@pytest.mark.timeout(600)
def test_the_local_apic_guest_passes_while_it_is_watched(long_claims: Claims) -> None:
    c = long_claims
    c.exec("n = [0]\ndef count(s): n[0] += 1")
    script = "w = g.watch('mmio', count, gpa=(0xfee00000, 0xfee00fff))\n"
    script += "e = g.on('mmio', lambda x: None, gpa=0xfee000b0)"
    run(c.machine, "apic", script, limit=500)
    c.exec("hv.clock.until(lambda: n[0] + w.drops == w.hits, 60, 'all records')")
    assert int(c.exec("print(w.hits)")) > int(c.exec("print(e.hits)")) > 0


@pytest.mark.parametrize("backend", ["svm", pytest.param("vmx", marks=pytest.mark.full)])
def test_a_local_apic_that_its_guest_has_moved_is_seen(long_claims: Claims, backend: str) -> None:
    c = long_claims
    page = "gpa=(0xfed40000, 0xfed40000 + 0xfff)"
    script = f"seen = []\ng.on('mmio', lambda x: seen.append((x.gpa & 0xfff, x.value)), {page})"
    run(c.machine, "apic", script)
    seen = c.exec("print(seen)")
    assert re.match(r"\[\(\d+, \d+\)", seen), seen


def test_instructions_on_device_memory_in_python(claims: Claims, backend: str) -> None:
    forms(claims, "every=40" if backend == "svm" else "every=1000")


@pytest.mark.full
@pytest.mark.timeout(3600)  # Bochs, on a busy host
def test_every_instruction_on_device_memory_in_python(long_claims: Claims) -> None:
    forms(long_claims, "")


def forms(claims: Claims, cmdline: str) -> None:
    """The same guest as with the device in C (test_guests.py)."""
    run(claims.machine, "mmio-forms", "g.add_devices(['python-testdev'])", cmdline,
        LIMIT if cmdline else 3400)
