"""The test device in C and in Python: its guest sees no difference."""

from __future__ import annotations

import re

import pytest
from machine.claims import LIMIT, Boot

pytestmark = pytest.mark.machine


@pytest.mark.parametrize("image, cmdline", [("string-io", ""), ("ioapic", "lines")])
def test_moving_the_device_changes_nothing_for_its_guest(
    boot: Boot, backend: str, image: str, cmdline: str
) -> None:
    # Bochs runs CPUs in turn: one that both share is faster.
    where = {"svm": {}, "vmx": {"cpus": [0]}}[backend]
    machine = boot([
        {"image": image, "cmdline": cmdline, "name": name, "devices": [device], **where}
        for name, device in (("in_c", "testdev"), ("in_python", "python-testdev"))
    ])
    said = []
    for name in ("in_c", "in_python"):
        end = machine.wait_end(name, 3 * LIMIT)
        said.append(machine.console(name, LIMIT).text)
        assert (end.reason, end.status) == ("exit", 0), said[-1]
    assert said[0] == said[1]
    assert re.search(r"^[1-9]\d* passed, 0 failed, 0 skipped", said[0], re.MULTILINE), said[0]
    hits = "sum([h.hits for h in hv.guest('in_python').handlers.values()])"
    assert int(machine.exec(f"print({hits})")) > 10
