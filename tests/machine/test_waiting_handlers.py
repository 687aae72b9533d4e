"""Handlers that take their time: they sleep, start another guest, or are coroutines of two
guests that wait for each other. Whoever is not concerned goes on."""

from __future__ import annotations

import pytest
from machine.claims import LIMIT, Boot, Claims

pytestmark = pytest.mark.machine

OTHER = {"image": "claims", "name": "other"}


def test_a_handler_sleeps_and_starts_another_guest(boot: Boot) -> None:
    c = Claims(boot, OTHER, {"image": "beat", "cmdline": "every=50"})
    c.machine.wait_end("other", LIMIT)
    text = c.run(
        "import time\n"
        "@g.on('cpuid', leaf=1)\n"
        "def sleeps(x):\n"
        " before = time.ticks_ms()\n"
        " time.sleep_ms(60)\n"
        " x.eax = time.ticks_diff(time.ticks_ms(), before) >= 60\n",
        "cpuid=1",
    )
    assert "cpuid 1: 00000001 " in text
    assert c.exec("print(sleeps.hits)").strip() == "1"

    c.exec("o = hv.guest('other')\no.reset()\no.load('claims.elf', cmdline='call=0x1000 cpuid=1')")
    console = c.machine.console("other", LIMIT)
    before = len(console.text)
    text = c.run(
        "hv.handler_limit = 60000\n"
        "@o.on('hypercall', number=0x1000, instead=True)\n"
        "def first(x): x.value = 0x321\n"
        "@g.on('cpuid', leaf=1)\n"
        "def starts(x):\n"
        " o.start()\n"
        " x.eax = o.wait('off', timeout=60) == 'off'\n",
        "cpuid=1",
    )
    assert "cpuid 1: 00000001 " in text
    assert c.machine.wait_end("other", LIMIT).status == 0
    assert "call 1000: 321" in console.text[before:]


def test_coroutines_of_two_guests_take_turns(boot: Boot) -> None:
    """Each can go on only after the other, or the prompt, has done something; one begins as a
    task of asyncio.run() and outlives it."""
    c = Claims(boot, OTHER)
    c.machine.wait_end("other", LIMIT)
    console = c.machine.console("other", LIMIT)
    before = len(console.text)
    c.exec(
        "import asyncio\n"
        "o = hv.guest('other')\n"
        "o.reset()\n"
        "o.load('claims.elf', cmdline='cpuid=1')\n"
        "turns = []\n"
        "begun, go, back, last = [asyncio.Event() for _ in range(4)]\n"
        "@o.on('cpuid', leaf=1, instead=True)\n"
        "async def theirs(x):\n"
        " begun.set()\n"
        " await go.wait()\n"
        " turns.append('theirs')\n"
        " back.set()\n"
        " await last.wait()\n"
        " x.eax = 0x88\n"
        "async def main():\n"
        " o.start()\n"
        " await begun.wait()\n"
        "asyncio.run(main())\n"
    )
    at = c.start(
        "@g.on('cpuid', leaf=1, instead=True)\n"
        "async def ours(x):\n"
        " turns.append('ours')\n"
        " go.set()\n"
        " await back.wait()\n"
        " await asyncio.sleep_ms(30)\n"
        " turns.append('ours again')\n"
        " x.eax = 0x77\n",
        "cpuid=1",
    )
    assert c.machine.wait_end("claims", LIMIT).status == 0
    assert "cpuid 1: 00000077 " in c.console.text[at:]
    # The other vCPU waits still, and Python answers.
    assert c.exec("print(turns, o.state)").strip() == "['ours', 'theirs', 'ours again'] running"
    assert "cpuid 1:" not in console.text[before:]
    c.exec("last.set()")
    assert c.machine.wait_end("other", LIMIT).status == 0
    assert "cpuid 1: 00000088 " in console.text[before:]
