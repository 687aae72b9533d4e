"""The stubs for editors name what there is, and nothing else."""

import ast
from pathlib import Path

import pytest
from unit import fake_hv

STUBS = Path(__file__).resolve().parents[2] / "firmware" / "stubs"
PORT = Path(__file__).resolve().parents[2] / "firmware" / "port"


def names(body):
    out = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            out.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            out.add(node.target.id)
    return out


def stub(name):
    return ast.parse((STUBS / name).read_text()).body


def test_the_fake_core_has_no_call_that_the_stub_lacks():
    mine = {n for n in vars(fake_hv) if n.islower() and not n.startswith("_")
            and callable(getattr(fake_hv, n)) and n != "end"}
    assert mine - names(stub("_hv.pyi")) == set()


def test_every_call_of_the_stub_is_bound_by_the_port():
    tables = "".join(p.read_text() for p in PORT.glob("modhv*.[ch]"))
    functions = {n.name for n in stub("_hv.pyi") if isinstance(n, ast.FunctionDef)}
    assert {f for f in functions if f"HV_ENTRY({f})" not in tables} == set()


@pytest.fixture
def guest(world):
    import hv

    return hv.Guest("a", memory="2M")


@pytest.mark.parametrize("name", ["Guest", "VCpu", "Memory", "Console", "Machine", "Screen"])
def test_members_exist_and_all_public_ones_are_listed(guest, name):
    import hv

    real = {"Guest": guest, "VCpu": guest.vcpus[0], "Memory": guest.memory,
            "Console": guest.console, "Screen": guest.screen, "Machine": hv.machine}[name]
    tree = next(n for n in stub("hv.pyi") if isinstance(n, ast.ClassDef) and n.name == name)
    listed = {n for n in names(tree.body) if not n.startswith("__")}
    public = {n for n in dir(real) if not n.startswith("_")}
    assert listed - public == set()
    assert public - listed == set()


def test_module_names(guest):
    import hv

    for name in hv.__all__:
        assert name in names(stub("hv.pyi"))
