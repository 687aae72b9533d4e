"""Words: what an exit is, what a rule wants, why a guest ended, what things cost."""

import _hv
from hv import text
from hv.rules.table import RULES

EXITS = {
    "cpuid": "CPUID, answered from the table that Python made of this machine and the partition",
    "rdmsr": "RDMSR of an MSR that is not the guest's own; unknown ones fault (#GP)",
    "wrmsr": "WRMSR of an MSR that is not the guest's own; unknown ones fault (#GP)",
    "io": "IN, OUT, INS or OUTS: all ports are the monitor's; what nobody claims reads ones",
    "nested_fault": "memory that the guest has not: a device, or a mistake of the guest",
    "mmio": "an access to device memory that Python serves",
    "hypercall": "VMCALL or VMMCALL; numbers from 0x1000 on are Python's",
    "hlt": "HLT: the vCPU sleeps until an interrupt",
    "window": "the guest can take an interrupt now that waited",
    "nmi_window": "the guest can take an NMI now that waited",
    "interrupt": "an interrupt of the machine came while the guest ran",
    "nmi": "an NMI of the machine came while the guest ran",
    "shutdown": "a triple fault: an exception while a double fault was delivered",
    "cr": "a move to or from a control register that the monitor must see",
    "dr": "a move to or from a debug register",
    "xsetbv": "XSETBV: the guest chooses its vector registers",
    "exception": "an exception that could loop in the CPU without end, handed back to the guest",
    "pause": "PAUSE in a loop",
    "wbinvd": "WBINVD or INVD: nothing to do on coherent memory",
    "virt_insn": "an instruction of VT-x or AMD-V, which guests are not shown: #UD",
    "other_insn": "an instruction that is not offered: #UD",
    "task_switch": "a task switch of a 32-bit guest, which VT-x leaves to the monitor",
    "nested_misconfig": "the monitor's own nested tables are wrong",
    "entry_failed": "the CPU refused to enter the guest",
    "unknown": "an exit reason that nobody here knows",
}
# What the machine does to a guest; all other exits are of the guest's own making.
OUTSIDE = ("interrupt", "nmi")

# Instructions, counted under QEMU's -icount (svm) and by Bochs' TSC (vmx).
PRICES = (
    ("an exit that the core answers", "90 to 150", "100 to 150"),
    ("another exit of a claimed kind, on top", "65", "70"),
    ("a watched exit, on top", "140", "140"),
    ("a handler of one line, guest on the control CPU", "4,000", "4,050"),
)


def explain(what=None):
    """hv.explain("cpuid"), hv.explain("memory-sum"): an exit kind or a rule's id."""
    if what is None:
        return text.Text(text.table([("exit", "is")] + [(k, EXITS[k]) for k in sorted(EXITS)]))
    if not isinstance(what, str):
        what = getattr(what, "kind", what)
    if what in EXITS:
        return text.Text("%s: %s" % (what, EXITS[what]))
    if what in RULES:
        return text.Text("%s: %s; %s" % ((what,) + tuple(RULES[what])))
    raise ValueError(text.unknown("exit kind or rule", what, list(EXITS) + list(RULES)))


def why(guest):
    """Why a guest is in its state: the crash with the code around it, or the note."""
    if isinstance(guest, str):
        from hv import vm

        guest = vm.guest(guest)
    info = guest.info
    lines = ["%s is %s" % (info["name"], info["state"])]
    if info.get("note"):
        lines.append(info["note"])
    crash = guest.crash
    if crash is not None:
        lines.append(crash.why)
        if "where" in crash.record:
            lines.append("at %s" % crash.record["where"])
        lines.append("exit: %s" % explain(crash.kind))
        if crash.kind == "entry_failed":
            lines.append("rule: %s" % _hv.explain(guest.id, crash.get("vcpu")))
        vcpu = guest.vcpus[crash.get("vcpu")]
        try:
            lines.append(repr(vcpu.disasm(4, at=crash.get("rip"))))
            lines.append(repr(vcpu.walk(crash.get("rip"), 4)))
        except OSError:
            pass
        if "trace" in crash.record:
            lines.append("its last exits:\n" + crash.record["trace"])
    elif info["state"] == "off":
        lines.append("it ended: %s, status %d" % (info["reason"], info["status"]))
    elif info["state"] == "paused" and guest.symbols is not None:
        lines.append("at " + ", ".join([str(v.where()) for v in guest.vcpus]))
    waiting = [i for i, v in enumerate(info["vcpus"]) if v[1] == "waiting"]
    if waiting:
        lines.append("vcpu %s waits for Python" % ", ".join([str(i) for i in waiting]))
    return text.Text("\n".join(lines))


def cost(rounds=1000):
    """What exits cost, and what this machine's Python takes for a call, measured now."""

    def nothing(x):
        pass

    start = _hv.tsc()
    for _ in range(rounds):
        nothing(None)
    each = (_hv.tsc() - start) // rounds
    rows = [("instructions", "AMD-V", "VT-x")] + [row for row in PRICES]
    return text.Text("%s\nnow: a Python call in a loop takes %d TSC ticks of %d MHz" % (
        text.table(rows), each, _hv.tsc_hz() // 1000000))
