"""What an exit costs, in instructions: `guests/bench` where the TSC counts instructions, the
guest in slices on the only CPU, so that nothing else runs in between."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import partition
from .errors import HostError
from .machine import Machine
from .paths import built

BACKENDS = ("svm", "vmx")
VMX_TIMES = 1.35  # what vmx may take of svm's gates and budgets
FIRST_OUTPUT_LIMIT = 60_000_000  # instructions from power-on to a guest's first output, on svm
MONITOR_LIMIT = 8 << 20  # bytes, Python's heap apart
_LIMIT = {"svm": 120.0, "vmx": 240.0}  # seconds
_GUEST = "bench"


@dataclass(frozen=True)
class Figure:
    """One exit's yardsticks; all but the floors are meant for svm.

    A floor is what the least monitor that does the same takes: a loop of assembly where there
    is one, else a C `switch`. The peers' figures were counted in the same way on the same
    emulator: KVM of Linux 6.1, Xen 4.17 with a PVH guest."""

    exit: str
    what: str
    floor: dict[str, int]
    gate: int | None
    budget: int | None
    kvm: int | None = None
    xen: int | None = None
    alike: bool = False  # the same is meant for vmx

    def budget_on(self, backend: str) -> int | None:
        return self.budget if self.alike else on_backend(self.budget, backend)

    def gate_on(self, backend: str) -> int | None:
        return self.gate if self.alike else on_backend(self.gate, backend)



def on_backend(figure: int | None, backend: str) -> int | None:
    """What is meant for svm, on another back end."""
    return figure if figure is None or backend == "svm" else round(figure * VMX_TIMES)


_PORT = {"svm": 62, "vmx": 73}
_MSR = {"svm": 65, "vmx": 73}
_PYTHON = {"svm": 1543, "vmx": 1543}
_NOTHING = {"svm": 0, "vmx": 0}
_IPI = {"svm": 149, "vmx": 149}
_MEMORY = {"svm": 60, "vmx": 75}  # without decoding the instruction
FIGURES = (
    Figure("hypercall", "hypercall", {"svm": 39, "vmx": 46}, 130, 90, 8861, 6620),
    Figure("cpuid", "CPUID", {"svm": 44, "vmx": 49}, 150, 110, 2960, 6501),
    Figure("msr", "MSR read", _MSR, 160, 110, 2929, 6410),
    Figure("pmtimer", "port read, PM timer", _PORT, 150, 110, 1530, 1114),
    Figure("pic", "port read, 8259", _PORT, None, 110, 1530, 1114),
    Figure("lapic-read", "local APIC read", _MEMORY, 400, 400, None, 15928),
    Figure("lapic-eoi", "local APIC EOI", _MEMORY, 300, 300, 3465),
    Figure("self-ipi", "self IPI to its handler", _IPI, 900, 900, 9408),
    Figure("x2apic-eoi", "x2APIC EOI", _MSR, 300, 300),
    Figure("x2apic-self-ipi", "x2APIC self IPI", _IPI, 900, 900),
    Figure("deadline", "TSC deadline set", _MSR, None, None),
    Figure("mmio-read", "device memory read", _MEMORY, 400, 400),
    Figure("mmio-write", "device memory write", _MEMORY, 400, 400),
    Figure("mmio-modify", "device memory add", _MEMORY, None, 400),
    Figure("uart", "UART byte out", _PORT, 250, 150, 5060),
    Figure("handler", "CPUID with a Python handler", _PYTHON, 6000, 6000),
    Figure("python", "hypercall, a message to Python", _PYTHON, 6000, 6000),
    Figure("watch", "watching adds to CPUID", _NOTHING, 60, 60, alike=True),
    Figure("watch-off", "and when it is off", _NOTHING, 0, 0, alike=True),
    Figure("watch-read", "watching adds to a port read", _NOTHING, 60, 60, alike=True),
    Figure("trace", "tracing adds to CPUID", _NOTHING, 90, 90, alike=True),
    Figure("trace-off", "and when it is off", _NOTHING, 0, 0, alike=True),
    Figure("claimed", "a handler of another leaf adds to CPUID", _NOTHING, None, None),
    Figure("device", "port read, device in Python", _PYTHON, None, 6000),
)

# Runs on the monitor before the guest's first instruction.
_SCRIPT = """\
import _hv
import hv
from hv import events
_made = []
def _handle(x):
    x.eax = 7
class _Device(hv.Device):
    def __init__(self, g):
        g.attach(self, ports=(0x608, 0x60b))
    def read(self, offset, size):
        return 7
    def remove(self):
        self.guest.detach(self)
def _answer(guest, vcpu, kind, detail, answer=_hv.answer):
    if detail[0] != 0x1000:
        _change(detail[0])
    answer(guest, vcpu, "done", 0)
def _change(what):
    while _made:
        _made.pop().remove()
    g = hv.guest("bench")
    if what == 0x1002:
        _made.append(g.watch("cpuid", fn=_seen))
    elif what == 0x1003:
        _made.append(g.on("cpuid")(_handle))
    elif what == 0x1004:
        _made.append(g.watch("io", fn=_seen, port=0x608))
    elif what == 0x1006:
        _made.append(g.on("cpuid", _handle, leaf=0x1234))
    elif what == 0x1007:
        _made.append(_Device(g))
    g.trace.on() if what == 0x1005 else g.trace.clear()
def _seen(x):
    pass
events.message = _answer
bench_start = _hv.tsc()
"""
_ASK = """\
import _hv
m = _hv.memory()
print(bench_start, m["monitor"] - m["heap"], *_hv.guest_info(%d)["decoded"])
"""


@dataclass(frozen=True)
class Result:
    """What one back end took."""

    backend: str
    counts: dict[str, int]  # instructions by exit
    first_output: int  # instructions from power-on; on Bochs a poor measure, its BIOS waits
    monitor: int  # bytes, Python's heap apart
    decoded: tuple[int, int]  # hits and misses of the cache of decoded instructions

    def rows(self) -> list[dict[str, object]]:
        """For --json."""
        return [
            {
                "backend": self.backend,
                "exit": figure.exit,
                "instructions": self.counts[figure.exit],
                "floor": figure.floor[self.backend],
                "budget": figure.budget_on(self.backend),
            }
            for figure in FIGURES
        ]


def measure(backend: str) -> Result:
    """Boot the bench guest and read what it counted."""
    with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as folder:
        script = Path(folder) / "bench.py"
        script.write_text(_SCRIPT)
        return _measure(backend, script)


def command(backend: str) -> str:
    """The emulator's command line."""
    with tempfile.TemporaryDirectory(prefix="vipervisor-bench-") as folder:
        script = Path(folder) / "bench.py"
        script.write_text(_SCRIPT)
        return _machine(backend, script).describe_command()


def _machine(backend: str, script: Path) -> Machine:
    loaded = partition.single_guest(
        built("guests/bench.elf"),
        memory="16M",
        cmdline="python=1 wait=1",
        devices=["testdev"],
        control=True,
        name=_GUEST,
    )
    if loaded.description is None:
        raise HostError(loaded.said)
    description = {**loaded.description, "run": {"single": True, "script": script.name}}
    files = {**loaded.modules, script.name: script}
    return Machine(description, files, backend=backend, icount=backend == "svm")


def _measure(backend: str, script: Path) -> Result:
    limit = _LIMIT[backend]
    with _machine(backend, script) as machine:
        console = machine.console(_GUEST, limit)
        console.expect(r"bench start \d+\n", timeout=limit)
        console.write("\n")
        end = machine.wait_end(_GUEST, limit)
        if end.reason != "exit" or end.status != 0:
            raise HostError(f"the bench guest did not end as it should: {end.describe()}")
        # The console's last bytes come before the answer to this.
        asked = machine.exec(_ASK % console.guest.id, limit)
        start, monitor, hits, misses = (int(word) for word in asked.split())
        text = console.text
        machine.quit()
    counts = {m[1]: int(m[2]) for m in re.finditer(r"^bench ([\w-]+) (-?\d+)$", text, re.MULTILINE)}
    missing = {"start", *(f.exit for f in FIGURES)} - counts.keys()
    if missing:
        raise HostError(f"the bench guest said nothing about {', '.join(sorted(missing))}:\n{text}")
    return Result(backend, counts, start + counts["start"], monitor, (hits, misses))
