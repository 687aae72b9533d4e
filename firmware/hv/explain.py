"""Words: what an exit is, what a rule wants, why a guest ended, what things cost."""

import _hv
from hv import text
from hv.rules.kinds import KINDS
from hv.rules.table import RULES

# Instructions: `hv bench` counts them under QEMU's -icount (svm) and by Bochs' TSC (vmx), with
# the guest in slices on the control CPU. The last column names its figures; a test compares.
PRICES = (
    ("an exit that the core answers", "125 to 160", "120 to 160",
     ("hypercall", "cpuid", "msr", "pmtimer", "uart")),
    ("a local APIC access by memory", "240 to 255", "270 to 290", ("lapic-read", "lapic-eoi")),
    ("device memory of the core", "290", "330", ("mmio-read", "mmio-write")),
    ("a watched exit (g.watch), on top", "50", "50", ("watch",)),
    ("a watched read, on top", "60", "60", ("watch-read",)),
    ("a traced exit (g.trace), on top", "85", "85", ("trace",)),
    ("a claimed kind (g.on), no handler for this one, on top", "60", "60", ("claimed",)),
    ("a handler of one line (g.on)", "3,500", "3,800", ("handler",)),
    ("a port read, device in Python (g.attach)", "5,200", "5,550", ("device",)),
    ("a hypercall as a message to Python", "4,050", "4,400", ("python",)),
)


def explain(what=None):
    """hv.explain("cpuid"), "memory-sum", "GUEST_CR3", "sse4.2", "cpuid 1 ecx 20", "vmx 48", "svm
    0x400", "error 7", "msr 0x1b", x.raw: an exit kind or number, a rule's id, a VM-instruction
    error, an MSR, a field of the VMCS or VMCB, a CPUID leaf or bit. ValueError: nothing is known
    of it."""
    if what is None:
        return text.Text(text.table([("exit", "is")] + [(k, KINDS[k][0]) for k in sorted(KINDS)]))
    if isinstance(what, int):  # x.raw, on this machine
        what = "%s %d" % (_hv.backend() or "", what)
    elif not isinstance(what, str):
        what = getattr(what, "kind", what)
    if what in KINDS:
        return text.Text("%s: %s; %s" % ((what,) + KINDS[what]))
    if what in RULES:
        return text.Text("%s: %s; %s" % ((what,) + tuple(RULES[what])))
    from hv.rules import bits, exits, fields, registers

    small = what.strip().lower()
    found = []
    for table in (exits, registers):
        found += [(title, source, lines) for _, title, lines, source in table.look(small)]
    found += [(title, bits.SOURCE, lines) for title, lines in bits.look(small)]
    for structure, name, lines in fields.look(small):
        found.append(("%s %s" % (structure.upper(), name), fields.source(structure, name), lines))
    if found:
        return text.Text("\n".join(["%s (%s)\n  %s" % (title, source, "\n  ".join(lines))
                                    for title, source, lines in found]))
    msrs = [row[1] for row in exits.rows(registers.MSRS)]
    known = list(KINDS) + list(RULES) + bits.names() + msrs
    raise ValueError(text.unknown("exit, rule, error, MSR, field or CPUID bit", what, known))


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
    """What exits cost in instructions on both back ends, as `hv bench` counts them, and what
    this machine's Python takes for a call, measured now over `rounds` calls in TSC ticks."""

    def nothing(x):
        pass

    start = _hv.tsc()
    for _ in range(rounds):
        nothing(None)
    each = (_hv.tsc() - start) // rounds
    rows = [("instructions", "AMD-V", "VT-x")] + [row[:3] for row in PRICES]
    return text.Text("%s\nnow: a Python call in a loop takes %d TSC ticks of %d MHz" % (
        text.table(rows), each, _hv.tsc_hz() // 1000000))
