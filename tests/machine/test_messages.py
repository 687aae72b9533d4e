"""Exits that the core leaves to Python, and Python's answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from vipervisor import Machine

pytestmark = pytest.mark.machine

LIMIT = 60.0
BYSTANDER = {"image": "beat", "cpus": [0]}  # runs on beside all of this
CALL = {"svm": b"\x0f\x01\xd9", "vmx": b"\x0f\x01\xc1"}  # VMMCALL, VMCALL


def boot_sector(backend: str) -> bytes:
    """Calls the hypervisor with number 0x1001 and arguments 5 to 8; the result becomes
    its exit status."""
    code = b"\x66\xb8\x01\x10\x00\x00"  # mov eax, 0x1001
    code += b"\x66\xbb\x05\x00\x00\x00"  # mov ebx, 5
    code += b"\x66\xb9\x06\x00\x00\x00"  # mov ecx, 6
    code += b"\x66\xba\x07\x00\x00\x00"  # mov edx, 7
    code += b"\x66\xbe\x08\x00\x00\x00"  # mov esi, 8
    code += CALL[backend]
    code += b"\xba\xf4\x00\x66\xef\xf4"  # mov dx, 0xf4; out dx, eax; hlt
    return code.ljust(510, b"\0") + b"\x55\xaa"


HANDLER = """
import _hv, hv
from hv import events
seen = []
def handler(guest, vcpu, kind, detail):
    seen.append((kind, detail, _hv.reg_get(guest, vcpu, _hv.RIP)))
    _hv.answer(guest, vcpu, action, value)
events.message = handler
guest = hv.Guest("caller", cpus=[%d], memory="16M")
guest.load("caller.bin", kind="flat")
action, value = %r, %r
guest.start()
"""


@pytest.mark.parametrize("cpu", [0, 1])
def test_a_hypercall_is_answered_by_python(
    boot: Callable[..., Machine], backend: str, tmp_path: Path, cpu: int
) -> None:
    (tmp_path / "caller.bin").write_bytes(boot_sector(backend))
    machine = boot([BYSTANDER], {"caller.bin": tmp_path / "caller.bin"}, cpus=2, memory=128 << 20)
    machine.exec(HANDLER % (cpu, "done", 77))
    assert machine.wait_end("caller", LIMIT).status == 77
    seen = machine.exec("print(seen)").strip()
    assert seen == "[('hypercall', (4097, 5, 6, 7, 8), 31774)]"  # 0x7C00 + 30


def test_a_message_can_end_in_a_crash_record(
    boot: Callable[..., Machine], backend: str, tmp_path: Path
) -> None:
    (tmp_path / "caller.bin").write_bytes(boot_sector(backend))
    machine = boot([BYSTANDER], {"caller.bin": tmp_path / "caller.bin"}, cpus=2, memory=128 << 20)
    machine.exec(HANDLER % (1, "crash", "it asked for too much"))
    end = machine.wait_end("caller", LIMIT)
    assert (end.state, end.reason) == ("crashed", "crash")
    assert end.crash is not None
    assert end.crash["why"] == "it asked for too much"
    assert end.crash["kind"] == "hypercall"
    assert end.crash["registers"]["rbx"] == 5
    assert end.crash["bytes"].startswith(CALL[backend].hex())
    error = machine.exec(
        "try:\n _hv.answer(guest.id, 0, 'done', 0)\nexcept OSError as e:\n print(e.args[0])"
    )
    assert error.strip() == "2"  # ENOENT: there is no message any more
