"""The prompt on the machine's own screen and keyboard, where there is no serial port."""

from __future__ import annotations

from pathlib import Path

import pytest
from machine.pc import Pc
from vipervisor import paths

pytestmark = pytest.mark.machine


def test_prompt_on_the_text_screen(tmp_path: Path) -> None:
    kernel = paths.built("vipervisor.elf")
    with Pc(tmp_path, ["-kernel", str(kernel)]) as pc:
        pc.expect(r"^MicroPython .*\n(.*\n)*>>> *$")
        pc.ask("6 * 7", "42")
