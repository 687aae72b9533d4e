"""The prompt on the machine's own screen and keyboard: VGA text, a UEFI framebuffer, beside a
serial line and without one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from machine.bochs_pc import BochsPc
from machine.conftest import ROOT, describe
from machine.pc import COLUMNS, ROWS, Desk, Pc, PixelPc
from machine.test_images import possible
from vipervisor import Machine, build, paths
from vipervisor.qemu import find_uefi

pytestmark = pytest.mark.machine

PROMPT = r"^MicroPython .*\n(.*\n)*>>> *$"
LIMIT = 60.0
KEYBOARD_VECTOR = 0x21


def by_multiboot1(folder: Path) -> Pc:
    return Pc(folder, ["-kernel", str(paths.built("vipervisor.elf"))])


def stick(folder: Path) -> list[str]:
    """QEMU's words for a USB stick with the monitor and no guests."""
    description, files = describe([], "svm")
    image = folder / "x.iso"
    build.build(image, description, files)
    drive = f"if=none,id=image,format=raw,readonly=on,file={image}"
    device = ["-device", "qemu-xhci", "-device", "usb-storage,drive=image,bootindex=0"]
    return ["-drive", drive, *device]


def try_out(pc: Desk) -> None:
    """A question, an edited line, and more lines than there is room for."""
    pc.expect(PROMPT)
    pc.ask("6 * 8", "48")
    pc.type("1 * 7")
    pc.press("home")
    pc.type("6")
    pc.press("delete")
    pc.type("\n")
    pc.expect(r"^>>> 6 \* 7\n42\n>>> *$")
    pc.type("for i in range(120): print(i * i)\n\n")
    pc.expect(r"^14161\n>>> *$")


def exercise(pc: Desk) -> None:
    """What a person does at the prompt."""
    pc.expect(PROMPT)
    pc.ask("6 * 7", "42")
    signs = "{[(<^>)]} ~`@#$%&_-+=|:;,.?!/"
    pc.ask(f"print('{signs}')", re.escape(signs))
    # The line editor: back, erase, insert, the beginning and the end.
    pc.type("12 + 45")
    pc.press("left")
    pc.type("\x7f3")
    pc.press("home")
    pc.type("100 + ")
    pc.press("end")
    pc.type("\n")
    pc.expect(r"^>>> 100 \+ 12 \+ 35\n147\n>>> *$")
    pc.press("up")
    pc.expect(r"^>>> 100 \+ 12 \+ 35\n*\Z")
    pc.press("ctrl", "c")
    pc.press("caps_lock")
    pc.type("'a'+'B'\n", caps_lock=True)
    pc.expect(r"^'Ab'$")
    pc.press("caps_lock")
    pc.ask("value = 41")
    pc.type("val\t + 1\n")
    pc.expect(r"^>>> value \+ 1\n42$")
    # Longer than the screen, and Ctrl-C.
    pc.type("for i in range(120): print(i * i)\n\n")
    pc.expect(r"^14161\n>>> *$")
    pc.type("while True: pass\n\n")
    pc.press("ctrl", "c")
    pc.expect(r"^KeyboardInterrupt: *\n>>> *$")
    pc.press("ctrl", "d")
    pc.expect(r"^MPY: soft reboot\n(.*\n)*>>> *$")
    pc.ask("'al' + 'ive'", "'alive'")


def test_text_screen(tmp_path: Path) -> None:
    with by_multiboot1(tmp_path) as pc:
        exercise(pc)


def test_text_screen_in_bochs(tmp_path: Path) -> None:
    """On VT-x, without a serial line, too."""
    with BochsPc(tmp_path) as pc:
        pc.expect(r"^Vipervisor on VT-x \(vmx\) in Bochs")
        try_out(pc)
        pc.type("while True: pass\n\n")
        pc.press("ctrl", "c")
        pc.expect(r"^KeyboardInterrupt: *\n>>> *$")


def test_text_screen_by_grub(tmp_path: Path) -> None:
    possible("usb", "bios")
    with Pc(tmp_path, stick(tmp_path)) as pc:
        try_out(pc)


def test_framebuffer_by_uefi(tmp_path: Path) -> None:
    possible("usb", "uefi")
    with PixelPc(tmp_path, ["-bios", str(find_uefi()), *stick(tmp_path)], read_font()) as pc:
        try_out(pc)
        shown = "\n".join(pc.lines())
        assert "\N{REPLACEMENT CHARACTER}" not in shown
        assert len(shown.splitlines()) > ROWS  # the whole of it is used


def read_font() -> dict[bytes, str]:
    """Characters by their pixels, from what the monitor was built with."""
    text = (ROOT / "build" / "gen" / "font.h").read_text()
    rows = re.findall(r"^    \{ (.*) \},$", text, re.MULTILINE)
    assert len(rows) == 95
    cells = [bytes(int(number, 16) for number in row.split(",")) for row in rows]
    return {cell: chr(0x20 + place) for place, cell in enumerate(cells)}


def test_the_registers_of_a_panic(tmp_path: Path) -> None:
    with by_multiboot1(tmp_path) as pc:
        pc.expect(PROMPT)
        # The keyboard's interrupt handler gets an address that nothing backs.
        place = symbol("irq_handlers") + 8 * KEYBOARD_VECTOR
        pc.type(f"import machine; machine.mem64[{place}] = 0x10\n")
        # Keys until one comes after that: those typed ahead are read before it.
        pc.expect(r"vipervisor: the machine is stopped", meanwhile=lambda: pc.press("a"))
        shown = "\n".join(pc.lines())
        assert "vipervisor: CPU 0 took #PF page fault (vector 14, error 10) in the monitor" in shown
        assert re.search(r"^  rip 0{14}10  cs 0008  rflags \w{8}  cr2 0{14}10", shown, re.M)
        for name in "rax rsi r8  r12 stack".split():
            assert re.search(rf"^  {name} +\w{{16}}", shown, re.M), name
        assert "vipervisor: panic: #PF page fault at 10" in shown


def symbol(name: str) -> int:
    """The address of a variable of the monitor."""
    with paths.built("vipervisor.elf64").open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        found = [entry["st_value"] for entry in table.get_symbol_by_name(name)]
    assert len(found) == 1
    return int(found[0])


def test_beside_a_serial_line(boot: Callable[..., Machine], backend: str) -> None:
    """Both show the same, and both are typed at. The text memory is read by the monitor."""
    machine = boot([], qemu_args=("-vga", "std") if backend == "svm" else ())
    machine.prompt.expect(r"^>>> $", LIMIT)
    machine.exec(
        "import machine, _hv\n"
        "def lines():\n"
        f" text = bytes(machine.mem8[0xb8000 + 2 * i] for i in range({ROWS * COLUMNS}))\n"
        f" for at in range(0, len(text), {COLUMNS}):\n"
        f"  print(text[at:at + {COLUMNS}].decode().rstrip())\n"
        "def press(code):\n"  # as if the keyboard had sent it (i8042, command D2h)
        " for byte in code, code | 0x80:\n"
        "  for port, value in (0x64, 0xd2), (0x60, byte):\n"
        "   while _hv.inb(0x64) & 3: pass\n"
        "   _hv.outb(port, value)\n"
    )
    machine.prompt.write("print('ser' + 'ial')\r")
    machine.prompt.expect(r"^serial\n>>> ", LIMIT)
    assert screen(machine)[-3:] == [">>> print('ser' + 'ial')", "serial", ">>>"]
    # 7, *, 6, enter: the star is the keypad's.
    machine.exec("for code in 0x08, 0x37, 0x07, 0x1c: press(code)")
    machine.prompt.expect(r"7\*6\n42\n>>> ", LIMIT)
    assert screen(machine)[-3:] == [">>> 7*6", "42", ">>>"]
    # What the screen shows is the end of what the line said.
    shown = " ".join(" ".join(screen(machine)).split())
    assert " ".join(machine.prompt.text.split()).endswith(shown[-200:])


def screen(machine: Machine) -> list[str]:
    """The lines on the text screen."""
    return machine.exec("lines()").rstrip().splitlines()
