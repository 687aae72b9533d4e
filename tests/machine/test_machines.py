"""Machines of several sizes and models: CPUs brought up, features missing by name."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import pytest

Boot = Callable[..., Any]
MIB = 1 << 20


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_every_cpu_comes_up(boot: Boot, cpus: int) -> None:
    machine = boot([], cpus=cpus)
    out = machine.exec("import _hv; print([c[2] for c in _hv.cpus()])")
    assert out.strip() == str(["control"] + ["idle"] * (cpus - 1))


@pytest.mark.parametrize(
    "models",
    [
        {"svm": ("qemu64,-svm", ["AMD-V (SVM) or VT-x (VMX)"]),
         "vmx": ("core2_penryn_t9600", ["EPT", "VT-x unrestricted guest"])},
        {"svm": ("qemu64,+svm,-npt", ["NP (nested paging)"]),
         "vmx": ("corei5_lynnfield_750", ["VT-x unrestricted guest"])},
    ],
    ids=["all", "a part"],
)
def test_without_virtualisation_the_prompt_says_what_is_missing(
    boot: Boot, backend: str, models: dict[str, tuple[str, list[str]]]
) -> None:
    model, features = models[backend]
    machine = boot([], model=model)
    assert machine.exec("import _hv; print(_hv.backend())").strip() == "None"
    missing = ast.literal_eval(machine.exec("print(_hv.missing())"))
    assert set(features) <= set(missing) and (len(features) > 1 or len(missing) == 1), missing
    assert f"missing: {', '.join(missing)}\n" in machine.exec("print(hv.machine)")
    error = "try:\n    hv.Guest('g')\nexcept OSError as e:\n    print(e.args[1])\n"
    said = machine.exec(error).strip()
    assert said == f"this machine cannot run guests; it lacks {', '.join(missing)}"


@pytest.mark.parametrize(
    "models",
    [
        {"svm": "qemu64,+svm,+npt", "vmx": "corei5_arrandale_m520"},
        {"svm": "EPYC", "vmx": "corei7_sandy_bridge_2600k"},
    ],
    ids=["poor", "other"],
)
def test_poorer_cpus_run_guests(boot: Boot, backend: str, models: dict[str, str]) -> None:
    machine = boot([{"image": "hello", "cmdline": "status=7"}], model=models[backend])
    end = machine.wait_end("hello", 60)
    assert (end.reason, end.status) == ("exit", 7)


def test_guest_memory_is_zeroed_before_it_is_used_again(boot: Boot) -> None:
    machine = boot([], cpus=2, memory=256 * MIB)
    code = (
        "import _hv\n"
        "g = hv.Guest('one', memory='64M')\n"
        "for at in range(0, 64 << 20, 1 << 20):\n"
        "    g.memory[at:at + 8] = b'secret!!'\n"
        "g.destroy()\n"
        "g = hv.Guest('two', memory='64M')\n"
        "print(any(g.memory[at:at + 8] == b'secret!!' for at in range(0, 64 << 20, 1 << 20)))\n"
    )
    assert machine.exec(code).strip() == "False"
