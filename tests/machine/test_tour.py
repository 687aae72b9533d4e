"""hv.tour(), typed at the prompt."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from machine.beats import goes_on
from vipervisor import Machine

pytestmark = pytest.mark.machine

LIMIT = 90.0


def test_the_tour(boot: Callable[..., Machine]) -> None:
    """Each step as it is shown, with a miss, a skip and a block in between."""
    machine = boot([{"image": "beat", "cmdline": "every=100"}])
    prompt = machine.prompt
    prompt.expect(r"^>>> ", LIMIT)
    prompt.write("hv.tour()\r")
    steps = 0
    while steps < 10:
        code = prompt.expect(r"\n   try:  (.*)\n(?:.*\n)*?tour> ", LIMIT)[1]
        steps += 1
        if steps == 3:
            prompt.write("beat.state\r")
            prompt.expect(r"not yet, beat is running; try:  beat.pause\(\)\ntour> ", LIMIT)
        elif steps == 8:
            prompt.write('@beat.on("io", port=0x3f8)\rdef h(x): pass\r\r\r')
            prompt.expect(r"  \d+ exits went through your function already\n", LIMIT)
            continue
        elif steps == 5:
            code = "skip"
        prompt.write(code + "\r")
        if steps == 7:
            prompt.expect(r"  it prints: Beat \d+\n", LIMIT)
    prompt.expect(r"  it is off, and left its world for: cpuid, hlt\n", LIMIT)
    prompt.expect(r"That was all ten\.(?:.*\n)*>>> ", LIMIT)
    # It has put everything back, and can be left at any time.
    look = "print(beat.memory.find(b'beat %') is not None, beat.state, hv.guests() == [beat])"
    assert machine.exec(look, LIMIT) == "True running True\n"
    prompt.write("hv.tour()\r")
    prompt.expect(r"tour> ", LIMIT)
    prompt.write("beat.pause()\r")
    prompt.expect(r"not yet, .*; try:  hv.guests\(\)\ntour> ", LIMIT)
    prompt.write("quit\r")
    prompt.expect(r"The tour ends(?:.*\n)*>>> ", LIMIT)
    assert machine.exec("print(beat.state)", LIMIT) == "running\n"
    goes_on(machine.console("beat", LIMIT), LIMIT)
