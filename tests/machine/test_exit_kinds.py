"""Handlers of the rarer kinds of exits, each on a guest of a few instructions."""

from __future__ import annotations

import pytest
from machine.claims import Boot
from vipervisor import Machine

pytestmark = pytest.mark.machine

LIMIT = 90.0
# CR4.OSXSAVE and CR0.CD set, DR0 written and read, XCR0 written as it is, WBINVD, HLT, CPUID, HLT.
CODE = (
    "0f20e0 0d00000400 0f22e0 0f20c0 0d00000040 0f22c0 0f23c0 0f21c3 31c9 0f01d0 0f01d1"
    " 0f09 f4 31c0 0fa2 f4"
)
KINDS = """
seen = []
g = hv.guest_from(bytes.fromhex(%r.replace(" ", "")), cpus=[0])
g.on("cr", "cr", number=0, write=True)(lambda x: seen.append(("cr", x.number, x.value == x.rax)))
g.on("dr", "dr", number=0)(lambda x: seen.append(("dr", x.number, x.value == x.rax * x.write)))
g.on("xsetbv", "xsetbv")(lambda x: seen.append(("xsetbv", x.rcx)))
g.on("wbinvd", "wbinvd")(lambda x: seen.append(("wbinvd", x.raw > 0)))

@g.on("hlt", instead=True)
def awake(x):
    seen.append(("hlt", len(seen)))
    if len([row for row in seen if row[0] == "hlt"]) < 2:
        x.skip()
    else:
        x.core()

g.start()
print(g.wait(timeout=60), seen, g.exits["cpuid"])
g.destroy()
"""
RAW = """
seen = []
g = hv.guest_from(b"\\x0f\\xa2\\x0f\\x0b", cpus=[0])
g.on("raw", "by number", reason=%d)(lambda x: seen.append((x.kind, x.raw)))
g.on("shutdown", "shutdown")(lambda x: seen.append((x.kind, x.rip)))
g.start()
print(g.wait(timeout=60), seen)
g.destroy()
"""
CPUID = {"svm": 0x72, "vmx": 10}  # AMD APM vol. 2, appendix C; Intel SDM vol. 3, appendix C


def ran(machine: Machine, code: str) -> str:
    return machine.exec(code, LIMIT).strip()


def test_control_debug_and_sleep(boot: Boot) -> None:
    machine = boot([], cpus=1)
    seen = [("cr", 0, True), ("dr", 0, True), ("dr", 0, True), ("xsetbv", 0), ("wbinvd", True)]
    if ran(machine, "import _hv; print(_hv.caps()['xsetbv_exits'])") == "False":  # TCG
        seen.remove(("xsetbv", 0))
    seen += [("hlt", len(seen)), ("hlt", len(seen) + 1)]
    assert ran(machine, KINDS % CODE) == f"off {seen} 1"


def test_by_number_and_the_last_exit(boot: Boot, backend: str) -> None:
    number = CPUID[backend]
    seen = [("cpuid", number), ("shutdown", 0x100002)]
    assert ran(boot([], cpus=1), RAW % number) == f"crashed {seen}"


# CPUID, HLT with interrupts off: nothing can wake it. The handler is called, and it ends there,
# on a CPU of its own as in slices; what the handler sets is in the registers.
LAST = """
for cpu in (0, 1):
    seen = []
    g = hv.guest_from(b"\\x0f\\xa2\\xf4", cpus=[cpu], regs={"rax": 0})
    def last(x): seen.append((x.kind, hex(x.rip)))
    def sets(x): last(x); x.rbx = 0x77; x.skip()
    def pauses(x): last(x); x.pause()
    for handler in (last, sets, pauses):
        g.on("hlt", handler, name="last")
        g.reset().start()
        print(g.wait("off", timeout=60), seen, hex(g.vcpus[0].rip), g.vcpus[0].rbx == 0x77)
        seen.clear()
    g.on("hlt", lambda x: x.inject(6), name="last")
    g.reset().start()
    print(g.wait("crashed", timeout=60))
    g.destroy()
"""


def test_the_hlt_that_ends_its_guest(boot: Boot) -> None:
    machine = boot([], cpus=2)
    ended = "off [('hlt', '0x100002')] 0x100002 "
    once = [ended + "False", ended + "True", ended + "False", "crashed"]
    assert ran(machine, LAST).splitlines() == once * 2
