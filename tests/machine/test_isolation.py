"""Guests beside each other: a guest can hurt only itself, and Python goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from machine.beats import goes_on

Boot = Callable[..., Any]
LIMIT = 60.0


def test_prompt_answers_while_every_guest_cpu_spins_with_interrupts_off(boot: Boot) -> None:
    machine = boot(
        [
            {"image": "spin", "name": "a"},
            {"image": "spin", "name": "b"},
        ]
    )
    machine.wait_started(LIMIT)
    assert machine.exec("print(6 * 7)").strip() == "42"
    machine.prompt.write("print(3 * 37)\r\n")
    machine.prompt.expect("111", timeout=LIMIT)
    assert "running" in machine.exec("print(hv.guest('a').state, hv.guest('b').state)")


@pytest.mark.parametrize("cpus", [[0], 1])
def test_a_guest_that_spins_with_interrupts_off_can_be_paused(boot: Boot, cpus: Any) -> None:
    machine = boot([{"image": "spin", "cpus": cpus}])
    machine.wait_started(LIMIT)
    code = (
        "g = hv.guest('spin')\n"
        "for i in range(5):\n"
        "    g.pause(); print(g.state)\n"
        "    g.resume(); print(g.state)\n"
        "g.stop(); print(g.state)\n"
    )
    assert machine.exec(code).split() == ["paused", "running"] * 5 + ["off"]


def test_triple_fault_leaves_the_neighbour_and_the_prompt_alive(boot: Boot) -> None:
    machine = boot(
        [
            {"image": "beat", "cmdline": "every=50"},
            {"image": "triple"},
        ]
    )
    end = machine.wait_end("triple", LIMIT)
    assert end.reason == "crash"
    goes_on(machine.console("beat", LIMIT), LIMIT)
    assert "triple fault" in machine.exec("print(hv.guest('triple').crash)")
    assert "running" in machine.exec("print(hv.guest('beat').state)")


NO_INSTRUCTIONS = 0x2FF  # all kinds of moves but random instructions, which may end it


def test_a_hostile_guest_hurts_only_itself(boot: Boot, backend: str) -> None:
    rounds = 3000 if backend == "svm" else 600
    machine = boot(
        [
            {"image": "beat", "cmdline": "every=50"},
            {
                "image": "hostile",
                "devices": ["testdev"],
                "memory": 4 << 20,
                "cmdline": f"seed=1 rounds={rounds} only={NO_INSTRUCTIONS}",
            },
        ]
    )
    end = machine.wait_end("hostile", LIMIT)
    assert (end.reason, end.status) == ("exit", 0), machine.console("hostile", LIMIT).text
    # Those that die of it: of instructions that no device takes, of resets, of what they break.
    code = (
        "import _hv\n"
        "hv.guest('hostile').destroy()\n"
        "before = _hv.memory()\n"
        "for seed in range(2, 5):\n"
        "    g = hv.Guest('again', cpus=1, memory='4M')\n"
        "    g.add_devices(['testdev'])\n"
        "    mask = 'only=%d' % (256, 767, 1023)[seed % 3]\n"
        "    g.load('hostile.elf', cmdline='wild rounds=100000 seed=%d %s' % (seed, mask))\n"
        "    g.start()\n"
        "    print(g.wait('off', 'crashed', timeout=30))\n"
        "    g.destroy()\n"
        "after = _hv.memory()\n"
        "print(before['free'] == after['free'], before['pool'] == after['pool'])\n"
    )
    answers = machine.exec(code, timeout=3 * LIMIT).split()
    assert set(answers[:-2]) <= {"off", "crashed"} and len(answers) == 5
    assert answers[-2:] == ["True", "True"]
    goes_on(machine.console("beat", LIMIT), LIMIT)


def test_a_guest_in_slices_beside_the_prompt(boot: Boot) -> None:
    machine = boot([{"image": "beat", "cpus": [0], "cmdline": "every=50"}])
    machine.console("beat", LIMIT).expect("beat 5\\b", timeout=LIMIT)
    assert machine.exec("print(2 ** 70)").strip() == str(2**70)


def test_pause_and_resume_lose_no_beat(boot: Boot) -> None:
    machine = boot([{"image": "beat", "cmdline": "every=50"}])
    console = machine.console("beat", LIMIT)
    console.expect("beat 3\\b", timeout=LIMIT)
    machine.exec("hv.guest('beat').pause()")
    assert "paused" in machine.exec("print(hv.guest('beat').state)")
    machine.exec("hv.guest('beat').resume()")
    goes_on(console, LIMIT, 5)


def test_soft_reset_restarts_python_only(boot: Boot) -> None:
    machine = boot([{"image": "beat", "cmdline": "every=50"}])
    console = machine.console("beat", LIMIT)
    console.expect("beat 3\\b", timeout=LIMIT)
    machine.prompt.write("remembered = 1\r\n")
    machine.prompt.write("\x04")
    machine.prompt.expect("MPY: soft reboot", timeout=LIMIT)
    machine.prompt.expect(">>> ", timeout=LIMIT)
    machine.prompt.write("print('remembered' in globals(), hv.guest('beat').state)\r\n")
    machine.prompt.expect("False running", timeout=LIMIT)
    goes_on(console, LIMIT, 5)


def test_stop_destroy_and_make_again_returns_what_was_taken(boot: Boot) -> None:
    machine = boot(["hello"])
    machine.wait_end("hello", LIMIT)
    code = (
        "import _hv\n"
        "hv.guest('hello').destroy()\n"
        "before = _hv.memory()['free']\n"
        "for i in range(20):\n"
        "    g = hv.Guest('again', cpus=1, memory='16M')\n"
        "    g.load('hello.elf'); g.start()\n"
        "    try: g.stop()\n"
        "    except OSError: pass  # it had ended\n"
        "    g.destroy()\n"
        "print(before == _hv.memory()['free'])\n"
    )
    assert machine.exec(code, timeout=LIMIT).strip() == "True"
