"""Addresses by name: crash records, hv.why(), listings; Linux wherever it has put itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from machine.claims import LIMIT, Boot
from vipervisor import Machine, partition, paths

pytestmark = pytest.mark.machine

GUESTS = paths.build_dir() / "guests"


def booted(boot: Boot, text: str, folder: Path) -> Machine:
    file = folder / "p.toml"
    file.write_text("version = 1\n[[guest]]\n" + text)
    loaded = partition.load(file)
    assert loaded.description is not None, loaded.findings
    return boot(loaded.description, loaded.modules)


def test_a_small_guests_code_has_names(boot: Boot, tmp_path: Path) -> None:
    text = (
        'name = "beat"\nmemory = "16M"\ncmdline = "spin=1"\n'
        f'image = "{GUESTS}/beat.elf"\nsymbols = "{GUESTS}/obj/beat/beat.elf"\n'
    )
    machine = booted(boot, text, tmp_path)
    machine.console("beat", LIMIT).expect("beat 2", timeout=LIMIT)
    said = machine.exec(
        "g = hv.guest('beat'); g.pause(); v = g.vcpus[0]\n"
        "at = g.symbols.address('guest_main')\n"
        "print(v.where(at + 4)); print(g.symbols.say(at)); print(v.disasm(1, at=at + 4))\n"
        "print(v.where().name is not None, v.where().table); print(hv.why(g))"
    )
    lines = said.replace("\r", "").splitlines()
    assert lines[:3] == [
        "guest_main+0x4 (beat.sym)",
        "guest_main+0x0",
        "guest_main+0x4 (beat.sym):",
    ]
    assert "True beat.sym" in lines and any(line.startswith("at ") for line in lines), said


def test_a_crash_says_in_which_function(boot: Boot, tmp_path: Path) -> None:
    text = (
        'name = "triple"\nmemory = "16M"\n'
        f'image = "{GUESTS}/triple.elf"\nsymbols = "{GUESTS}/obj/triple/triple.elf"\n'
    )
    machine = booted(boot, text, tmp_path)
    end = machine.wait_end("triple", LIMIT)
    assert end.crash["where"].startswith("guest_main+0x"), end.crash
    said = machine.exec("g = hv.guest('triple'); print(g.crash); print(hv.why(g))")
    assert said.count("at guest_main+0x") == 2, said


@pytest.mark.parametrize("backend", ["svm"])  # the same table; Bochs takes half a minute more
def test_linux_by_its_own_table_wherever_it_lies(boot: Boot, tmp_path: Path) -> None:
    text = (
        'name = "linux"\nmemory = "256M"\n'
        f'image = "{GUESTS}/linux/vmlinuz"\nsymbols = "{GUESTS}/linux/vmlinuz"\n'
        f'initrd = "{GUESTS}/linux/initrd.cpio.gz"\n'
        'cmdline = "console=ttyS0 cryptomgr.notests quiet"\n'
    )
    machine = booted(boot, text, tmp_path)
    machine.console("linux", LIMIT).expect("linux ready", timeout=2 * LIMIT)
    # Where it is paused in a program, whose addresses have no names, it goes on for a moment.
    said = machine.exec(
        "import time; g = hv.guest('linux'); g.pause(); v = g.vcpus[0]\n"
        "for _ in range(1000):\n"
        "    if '+0x' in str(v.where()): break\n"
        "    g.resume(); time.sleep_ms(10); g.pause()\n"
        "print(v.where(v.lstar)); print(v.where()); print(g.symbols)\n"
        "print(v.walk(g.symbols.address('native_safe_halt')).gpa is not None)\n"
    )
    lines = said.replace("\r", "").splitlines()
    assert lines[0] == "entry_SYSCALL_64+0x0 (linux.sym)"
    assert "+0x" in lines[1] and "slide 0x" in lines[2] and lines[3] == "True", said
