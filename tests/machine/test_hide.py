"""CPUID features that a partition hides are hidden from the guest, and from it alone; answers
of CPUID leaves and MSRs that it gives are what the guest reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from vipervisor import Machine

pytestmark = pytest.mark.machine

# A boot sector that ends with the AES bit of leaf 1 (ECX 25) as its status.
ASKS = bytes.fromhex(
    "66b801000000"  # mov eax, 1
    "0fa2"  # cpuid
    "6689c8"  # mov eax, ecx
    "66c1e819"  # shr eax, 25
    "6683e001"  # and eax, 1
    "baf400"  # mov dx, 0xf4
    "66ef"  # out dx, eax
    "f4"  # hlt
)
# Ends with the x2APIC bit of leaf 1 (ECX 21), + 2: switching it on in IA32_APIC_BASE was #GP.
X2APIC = bytes.fromhex(
    "31c08ed88ed0bc0070e800005b81c32f00891e34008c0e360066b8010000000fa26689ce66c1"
    "ee156683e60166b91b0000000f3280cc040f30eb0383ce02baf4006689f066eff4"
)
# Writes 5 to MSR 0x611 and ends with what it reads there then.
READS = bytes.fromhex("66b911060000" "66b805000000" "6631d2" "0f30" "0f32" "baf400" "66ef" "f4")


def test_a_hidden_feature(boot: Callable[..., Machine], tmp_path: Path) -> None:
    sector = tmp_path / "asks.bin"
    sector.write_bytes(ASKS.ljust(510, b"\0") + b"\x55\xaa")
    row = {"image": sector, "kind": "flat", "memory": 2 << 20}
    machine = boot([{**row, "name": "sees"}, {**row, "name": "blind", "hide": ["aes", "vaes"]}])
    assert machine.wait_end("sees", 60).status == 1
    assert machine.wait_end("blind", 60).status == 0
    # The same after a restart, and for a guest made at the prompt.
    machine.exec("g = hv.guest('blind'); g.reset(); g.start()")
    code = "print(g.wait('off', timeout=30), g.info['status'], g.hide)"
    assert machine.exec(code).strip() == "off 0 ('aes', 'vaes')"
    machine.exec(
        "for old in hv.guests(): old.destroy()\n"
        "h = hv.Guest('third', memory='2M', hide=['aes'])\n"
        "h.load('asks.bin', kind='flat').start()"
    )
    assert machine.exec("h.wait('off', timeout=30); print(h.info['status'])").strip() == "0"


def test_answers_of_a_partitions_own(boot: Callable[..., Machine], tmp_path: Path) -> None:
    rows = []
    for name, code, keys in (
        ("blind", ASKS, {"cpuid": [{"leaf": 1, "hide_ecx": 1 << 25}]}),
        ("fixed", READS, {"msr": [{"index": 0x611, "value": 77, "write": "ignore"}]}),
        ("stored", READS, {"msr": [{"index": 0x611, "value": 77, "write": "store"}]}),
    ):
        sector = tmp_path / f"{name}.bin"
        sector.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa")
        rows.append({"name": name, "image": sector, "kind": "flat", "memory": 2 << 20,
                     **keys})
    machine = boot(rows)
    assert [machine.wait_end(row["name"], 60).status for row in rows] == [0, 77, 5]
    # What was stored goes with a reset; the answers stay.
    machine.exec("for g in hv.guests(): g.reset(); g.start()")
    code = "print([(g.wait('off', timeout=30), g.info['status']) for g in hv.guests()])"
    assert machine.exec(code).strip() == "[('off', 0), ('off', 77), ('off', 5)]"


def test_a_guest_without_x2apic_cannot_switch_it_on(
        boot: Callable[..., Machine], tmp_path: Path) -> None:
    sector = tmp_path / "x2apic.bin"
    sector.write_bytes(X2APIC.ljust(510, b"\0") + b"\x55\xaa")
    row = {"image": sector, "kind": "flat", "memory": 2 << 20}
    machine = boot([{**row, "name": "sees"}, {**row, "name": "blind", "hide": ["x2apic"]}])
    assert machine.wait_end("sees", 60).status == 1
    assert machine.wait_end("blind", 60).status == 2
