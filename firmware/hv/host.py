"""The machine that we booted on."""

import _hv
from hv import vm as guests
from hv import making, text


class Machine:
    """hv.machine: cpus, memory, backend, emulator, features, missing."""

    @property
    def cpus(self):
        """(number, APIC id, state, guest id or -1) of each; states: idle, guest, control,
        failed."""
        return _hv.cpus()

    @property
    def memory(self):
        """`total free largest monitor heap pool` in bytes (pool: free of the monitor's own),
        `rsdp`, `ranges` of (address, bytes, E820 type)."""
        return _hv.memory()

    @property
    def backend(self):
        """"svm" (AMD-V), "vmx" (VT-x), or None: no virtualisation."""
        return _hv.backend()

    @property
    def emulator(self):
        """"qemu", "bochs", "kvm", or "": none that is known."""
        return _hv.emulator()

    @property
    def missing(self):
        """Names of the CPU features that guests need and that are missing."""
        return _hv.missing()

    @property
    def features(self):
        """What was probed, by name: bools, numbers of ASIDs and physical address bits."""
        return _hv.caps()

    @property
    def modules(self):
        """(name, arguments, bytes) of each boot module."""
        return _hv.modules()

    @property
    def tsc_hz(self):
        """Ticks of the TSC a second."""
        return _hv.tsc_hz()

    def __repr__(self):
        rows = [("cpu", "apic", "owner")]
        owners = making.owners()
        for index, apic, state, _ in _hv.cpus():
            rows.append((index, apic, owner_text(state, owners.get(index))))
        memory = _hv.memory()
        lines = [headline(), text.table(rows)]
        lines.append("memory: %s, %s free (largest piece %s), monitor %s, Python heap %s" % tuple(
            [text.size_text(memory[k]) for k in ("total", "free", "largest", "monitor", "heap")]))
        shown = sorted([k for k, v in _hv.caps().items() if v is True])
        lines.append("features: %s" % (", ".join(shown) or "none"))
        missing = _hv.missing()
        lines.append("missing: %s" % (", ".join(missing) or "nothing"))
        return "\n".join(lines)


def headline():
    """Back end, emulator, frequency in one line."""
    backend = _hv.backend()
    world = {"svm": "AMD-V (svm)", "vmx": "VT-x (vmx)"}.get(backend, "no virtualisation")
    place = {"qemu": " in QEMU", "bochs": " in Bochs", "kvm": " in KVM"}.get(_hv.emulator(), "")
    return "Vipervisor on %s%s, %d CPUs at %d MHz" % (
        world, place, len(_hv.cpus()), _hv.tsc_hz() // 1_000_000)


def owner_text(state, names):
    if state == "control":
        return "Python" + (" and %s (slices)" % ", ".join(names) if names else "")
    if names:
        return ", ".join(names)
    return "idle" if state == "guest" else state  # it has not yet looked


def for_rules():
    """What the rules compare a partition with."""
    return {"cpus": len(_hv.cpus()), "memory": _hv.memory()["free"], "free": True,
            "missing": list(_hv.missing())}


def banner(description):
    """At most twelve lines: the machine, who owns what, three things to try."""
    print(headline())
    missing = _hv.missing()
    if missing:
        print("missing, no guest can run: %s" % ", ".join(missing))
    owners = making.owners()
    print(" | ".join(
        ["cpu%d %s" % (row[0], owner_text(row[2], owners.get(row[0]))) for row in _hv.cpus()]))
    shares = ["%s %s" % (g.name, text.size_text(g.memory_size)) for g in guests.guests()]
    memory = _hv.memory()
    shares.append("free %s" % text.size_text(memory["free"]))
    print("memory: " + " | ".join(shares))
    first = guests.guests()
    name = first[0].name if first else None
    print("try:  hv.guests()   hv.machine   help(hv)" if name is None else
          "try:  hv.guests()   %s.console.attach()   %s.exits" % (name, name))
    print("leave: exit() powers off; Ctrl-\\ leaves an attached console")
    if _hv.emulator() == "qemu":
        print("the same on VT-x: make run-vmx")
