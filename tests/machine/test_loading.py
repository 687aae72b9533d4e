"""Images of each kind run: their first instructions look at what the loader hands them. Kinds
that a stock program or a small guest has are in test_support.py and test_guests.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from machine.claims import Boot
from unit import images

pytestmark = pytest.mark.machine

LIMIT = 90.0
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
