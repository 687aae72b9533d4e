"""Registers of a vCPU: `g.vcpus[0].rip`, settable while the guest does not run."""

import _hv
from hv.text import unknown

GPRS = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)
OTHERS = (
    "rflags", "cr0", "cr2", "cr3", "cr4", "efer", "dr6", "dr7", "gdt_base", "gdt_limit",
    "idt_base", "idt_limit", "star", "lstar", "cstar", "fmask", "kernel_gs_base",
    "sysenter_cs", "sysenter_esp", "sysenter_eip", "pat", "shadow", "activity",
)
SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr")  # enum vseg

REGISTERS = {"rip": _hv.RIP}
for _i, _name in enumerate(GPRS):
    REGISTERS[_name] = _i
for _name in OTHERS:
    REGISTERS[_name] = getattr(_hv, "REG_" + _name.upper())


class Segment:
    """selector, base, limit in bytes, attributes (VMX access-rights format)."""

    def __init__(self, selector, base, limit, attributes):
        self.selector = selector
        self.base = base
        self.limit = limit
        self.attributes = attributes

    def __repr__(self):
        return "%04x base %#x limit %#x attributes %#x" % (
            self.selector, self.base, self.limit, self.attributes)


class VCpu:
    """One vCPU. Registers are attributes: rax ... r15, rip, rflags, cr0 ... cr4, efer,
    cs ... tr; get(name), set(name, value) and set_segment(...) do the same by name."""

    def __init__(self, guest_id, index):
        self._guest = guest_id
        self.index = index

    def get(self, name):
        """A register (a number of 64 bits) or a Segment by name. AttributeError: no such name;
        OSError: the guest runs."""
        if name in SEGMENTS:
            return Segment(*_hv.seg_get(self._guest, self.index, SEGMENTS.index(name)))
        if name not in REGISTERS:
            raise AttributeError(unknown("register", name, list(REGISTERS) + list(SEGMENTS)))
        return _hv.reg_get(self._guest, self.index, REGISTERS[name])

    def set(self, name, value):
        """Sets it. AttributeError: no such name; OSError: the guest runs, or the CPU would fault
        on the value."""
        if name not in REGISTERS:
            if name in SEGMENTS:
                self.set_segment(name, value.selector, value.base, value.limit, value.attributes)
                return
            raise AttributeError(unknown("register", name, list(REGISTERS) + list(SEGMENTS)))
        _hv.reg_set(self._guest, self.index, REGISTERS[name], value)

    def set_segment(self, name, selector, base, limit, attributes):
        """Sets one: selector, linear base, limit in bytes - 1, attribute bits as in VMX access
        rights (SDM 3C 24.4.1). OSError: the guest runs."""
        _hv.seg_set(
            self._guest, self.index, SEGMENTS.index(name), selector, base, limit, attributes)

    def walk(self, gva, access=1):
        """The guest's own translation of an address, level by level (access: 1 read,
        2 write, 4 fetch)."""
        from hv import look

        return look.walk(self._guest, self.index, gva, access)

    @property
    def memory(self):
        """Memory through this vCPU's page tables."""
        from hv import look

        return look.VirtualMemory(self._guest, self.index)

    def disasm(self, count=8, at=None):
        """Instructions from rip or an address on."""
        from hv import look

        return look.disasm(self, count, at)

    def where(self, address=None):
        """RIP, or an address, by the guest's symbols: native_safe_halt+0xf."""
        from hv import symbols, vm

        return symbols.where(vm.by_id(self._guest), self, self.get("rip") if address is None
                             else address)

    @property
    def trace(self):
        """This vCPU's newest exits, as g.trace has those of all."""
        from hv import trace, vm

        return trace.Trace(vm.by_id(self._guest), [self])

    @property
    def vmcs(self):
        """The VMCS by field names (VT-x)."""
        from hv import look

        return look.Fields(self._guest, self.index, "vmx")

    @property
    def vmcb(self):
        """The VMCB by field names (AMD-V)."""
        from hv import look

        return look.Fields(self._guest, self.index, "svm")

    def __repr__(self):
        try:
            return registers_text(self.get, self.get("cs").selector)
        except OSError:
            return "<vcpu %d, running: pause() the guest to see its registers>" % self.index


def _register(name):
    return property(lambda self: self.get(name), lambda self, value: self.set(name, value))


for _name in list(REGISTERS) + list(SEGMENTS):
    setattr(VCpu, _name, _register(_name))


def registers_text(get, cs):
    """Registers in five lines; `get(name)` gives one."""
    lines = ["rip %016x  rflags %08x  cs %04x" % (get("rip"), get("rflags"), cs)]
    for row in range(4):
        names = GPRS[4 * row : 4 * row + 4]
        lines.append("  ".join(["%-3s %016x" % (n, get(n)) for n in names]))
    lines.append("cr0 %x cr2 %x cr3 %x cr4 %x efer %x" % tuple(
        [get(n) for n in ("cr0", "cr2", "cr3", "cr4", "efer")]))
    return "\n".join(lines)
