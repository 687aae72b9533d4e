"""Images of each kind run: their first instructions look at what the loader hands them. Kinds
that a stock program or a small guest has are in test_support.py and test_guests.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from machine.claims import Boot
from machine.conftest import GUESTS
from unit import images

pytestmark = pytest.mark.machine

LIMIT = 90.0
AT, BEHIND = 0x180000, 4096  # where guests/screen lies, and the memory it has behind its image
END = bytes.fromhex("66baf400ee f4".replace(" ", ""))  # mov $0xF4,%dx; out %al,%dx; hlt

FIRST_OF_EBX = bytes.fromhex("8b03") + END  # mov (%ebx),%eax
# kind -> the image, and the byte it ends with: the protocol's magic number
IMAGES: dict[str, tuple[bytes, int]] = {
    # EAX at the entry (Multiboot 0.6.96, 3.2; Multiboot2 2.0, 3.2)
    "multiboot1": (images.multiboot1_elf(body=END), 0x02),
    "multiboot2": (images.multiboot2_elf(body=bytes.fromhex("90909090") + END), 0x89),
    # struct hvm_start_info at EBX begins with 0x336EC578 (Xen, docs/misc/pvh)
    "pvh": (images.elf64(body=FIRST_OF_EBX, notes=images.pvh_note(0x100000)), 0x78),
    # In 64-bit mode REX.W is a prefix: mov $0x1122334455667788,%rax; shr $32,%rax
    "elf64": (images.elf64(body=bytes.fromhex("48b8887766554433221148c1e820") + END), 0x44),
    # 40h is INC EAX in 32-bit mode: mov $5,%eax; inc %eax
    "elf32": (images.elf32(body=bytes.fromhex("b80500000040") + END), 0x06),
}
# What a boot sector does to reset the PC: the keyboard controller, port 92h, port CF9h.
RESETS = {"0x64": "b0fee664", "0x92": "b001e692", "0xcf9": "baf90cb006ee"}


@pytest.mark.parametrize("kind", IMAGES)
def test_a_kind_of_image_is_found_and_run(boot: Boot, kind: str, tmp_path: Path) -> None:
    """By its content; and no less when told."""
    image, status = IMAGES[kind]
    file = tmp_path / "image"
    file.write_bytes(image)
    guests: list[dict[str, Any]] = [
        {"image": file, "name": "found", "cpus": [0]},
        {"image": file, "name": "told", "cpus": [0], "kind": kind},
    ]
    machine = boot(guests, cpus=1)
    for name in ("found", "told"):
        end = machine.wait_end(name, LIMIT)
        assert (end.reason, end.status) == ("exit", status), end.describe()
    assert machine.exec("print(hv.guest('found').kind)").strip() == kind


@pytest.mark.parametrize("port", RESETS)
def test_resets(boot: Boot, port: str, tmp_path: Path) -> None:
    """And the debug port writes to the console."""
    image = tmp_path / "reset.bin"
    # mov $'R',%al; out %al,$0xE9
    code = bytes.fromhex("b052e6e9" + RESETS[port] + "ebfe")
    image.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa")
    machine = boot([{"image": image, "name": "g", "cpus": [0], "kind": "flat"}], cpus=1)
    end = machine.wait_end("g", LIMIT)
    assert end.reason == "reset", end.describe()
    assert machine.console("g", LIMIT).text == "R"


def test_a_raw_multiboot_image_and_its_text_screen(boot: Boot) -> None:
    """The header says where it lies; it writes 30 lines and moves the screen to the last 25."""
    machine = boot([{"image": "screen.bin", "name": "g"}])
    said = machine.exec(
        f"g = hv.guest('g'); s = g.screen; s.expect('line 29', {LIMIT:g})\n"
        # The start of the screen is moved last, by two bytes.
        f"hv.clock.until(lambda: s.find('line 05') == (0, 0), {LIMIT:g}, 'line 05 at the top')\n"
        "print(g.kind, g.image.low, g.image.high, s.find('line 29'), s.cell(3, 6))\n"
        "print([set(row[:7]) for row in s.attributes] == [{n} for n in range(5, 30)])\n"
        "print(s.text)",
        LIMIT,
    )
    facts, attributes, *lines = said.rstrip().splitlines()
    size = (GUESTS / "screen.bin").stat().st_size
    kind, low, high, place, cell = re.fullmatch(
        r"(\w+) (\d+) (\d+) (\(.*?\)) (\(.*?\))", facts).groups()  # type: ignore[union-attr]
    assert (kind, int(low), int(high)) == ("multiboot1", AT, AT + size + BEHIND)
    assert (place, cell, attributes) == ("(24, 0)", "('8', 8)", "True")
    assert lines == [f"line {n:02}" for n in range(5, 30)]
