"""hv.probe(): what this machine has, what it lacks and for what. Works on a machine without
virtualisation, too; `hv check --board` reads what it writes."""

import struct

import _hv
from hv import text

FORMAT = 1
# Registers and bits by the manuals' names: Intel SDM vol. 2A CPUID and vol. 3 appendix A,
# AMD APM vol. 3 appendix E and vol. 2 appendix A.
VM_CR, VM_CR_SVMDIS = 0xC001_0114, 1 << 4
IA32_FEATURE_CONTROL, LOCK, VMX_OUTSIDE_SMX = 0x3A, 1 << 0, 1 << 2
IA32_VMX_BASIC, TRUE_CONTROLS = 0x480, 1 << 55
IA32_VMX_PROCBASED_CTLS, SECONDARY_CONTROLS = 0x482, 1 << 31
IA32_VMX_PROCBASED_CTLS2, IA32_VMX_EPT_VPID_CAP = 0x48B, 0x48C
IA32_VMX_PINBASED_CTLS, PREEMPTION_TIMER = 0x481, 1 << 6
CPU2 = (
    ("EPT", 1, "guest memory", True), ("unrestricted guest", 7, "real-mode guests", True),
    ("VPID", 5, "world switches without TLB flushes", True),
    ("RDTSCP control", 3, "RDTSCP in guests", False),
    ("INVPCID control", 12, "INVPCID in guests", False),
    ("XSAVES control", 20, "XSAVES in guests", False),
)
EPT_CAP = (
    ("EPT 2 MiB pages", 16, "guest memory", True), ("EPT 1 GiB pages", 17, "large guests", False),
    ("EPT accessed and dirty bits", 21, "dirty tracking", False),
)
SVM_FEATURES = (  # leaf 0x8000000A, EDX
    ("nested paging", 0, "guest memory", True), ("NRIP save", 3, "short exits", False),
    ("VMCB clean bits", 5, "short world switches", False),
    ("flush by ASID", 6, "cheap TLB flushes", False),
    ("decode assists", 7, "short exits", False),
    ("virtual GIF", 16, "nesting", False),
)
CPU_FEATURES = (  # leaf, register (EAX 0 to EDX 3), bit, name, what for, needed
    (0x8000_0001, 3, 29, "64-bit mode", "the monitor", True),
    (0x8000_0001, 3, 20, "NX", "the monitor", True),
    (0x8000_0001, 3, 26, "1 GiB pages", "large memory", False),
    (1, 2, 26, "XSAVE", "AVX in guests", False),
    (1, 2, 28, "AVX", "AVX in guests", False),
    (1, 2, 21, "x2APIC", "more than 255 APIC ids", False),
    (1, 2, 24, "TSC deadline", "precise timers", False),
    (0x8000_0007, 3, 8, "invariant TSC", "clocks that do not drift", False),
)
EXTENDED = 0x8000_0000
SVM_LEAF = 0x8000_000A
HYPERVISOR_BIT, HYPERVISOR_LEAF = 31, 0x4000_0000
COM = (0x3F8, 0x2F8, 0x3E8, 0x2E8)
SCRATCH = 7  # a UART's scratch register
PCI_ADDRESS, PCI_DATA, PCI_ENABLE = 0xCF8, 0xCFC, 1 << 31
PCI_BRIDGE = 0x0604
RAM = 1
KINDS = {1: "ram", 2: "reserved", 3: "acpi", 4: "nvs", 5: "bad"}
ACPI_FOR = {
    "APIC": "CPUs and interrupt controllers", "FACP": "power-off and reset",
    "MCFG": "PCI Express", "HPET": "a timer", "DMAR": "device assignment (VT-d)",
    "IVRS": "device assignment (AMD-Vi)", "SRAT": "memory by CPU", "TPM2": "a TPM",
}


class Row:
    """One thing: there or not, what it is good for, and whether guests need it."""

    def __init__(self, name, there, use, needed):
        self.name = name
        self.there = bool(there)
        self.use = use
        self.needed = needed


class Board:
    """What hv.probe() found: vendor, model, cpus, memory, virtualisation, features, ...
    The repr is for a person; toml() is what `hv check --board` reads."""

    def __init__(self):
        _, b, c, d = _hv.cpuid(0, 0)
        self.vendor = str(struct.pack("<3I", b, d, c), "utf-8")
        self.model = brand()
        self.backend = _hv.backend()
        self.emulator = _hv.emulator()
        self.hypervisor = under()
        self.missing = list(_hv.missing())
        self.cpus = len([row for row in _hv.cpus() if row[2] != "failed"])
        self.failed = [row[0] for row in _hv.cpus() if row[2] == "failed"]
        memory = _hv.memory()
        self.memory, self.free = memory["total"], memory["free"]
        self.ranges = list(memory["ranges"])
        self.tsc_hz = _hv.tsc_hz()
        self.tables = acpi_tables(memory.get("rsdp", 0))
        self.serial = [base for base in COM if uart(base)]
        self.pci = pci_functions()
        self.features = features()

    def toml(self):
        """The board description."""
        out = ["# What hv.probe() found; `hv check --board FILE` compares a partition with it."]
        out.append("board = %d" % FORMAT)
        for key in ("vendor", "model", "hypervisor", "emulator"):
            out.append("%s = %s" % (key, quoted(getattr(self, key))))
        out.append("backend = %s" % quoted(self.backend or "none"))
        out.append("missing = [%s]" % ", ".join([quoted(name) for name in self.missing]))
        out.append("cpus = %d" % self.cpus)
        out.append("memory = %d" % self.memory)
        out.append("free = %d" % self.free)
        out.append("tsc_hz = %d" % self.tsc_hz)
        out.append("acpi = [%s]" % ", ".join([quoted(name) for name in self.tables]))
        out.append("serial = [%s]" % ", ".join(["%#x" % base for base in self.serial]))
        out += ["", "[features]"]
        for row in self.features:
            out.append("%s = %s" % (quoted(row.name), "true" if row.there else "false"))
        for base, size, kind in self.ranges:
            out += ["", "[[range]]", "base = %#x" % base, "size = %#x" % size,
                    "type = %s" % quoted(KINDS.get(kind, str(kind)))]
        for place, ids, kind in self.pci:
            out += ["", "[[pci]]", "place = %s" % quoted(place), "id = %s" % quoted(ids),
                    "class = %s" % quoted(kind)]
        return "\n".join(out) + "\n"

    def __str__(self):  # MicroPython would print the plain base class
        return self.__repr__()

    def __repr__(self):
        world = {"svm": "AMD-V (svm)", "vmx": "VT-x (vmx)"}.get(
            self.backend, "none that guests run on")
        cpus = "%d" % self.cpus
        if self.failed:
            cpus += ", %s did not start" % self.failed
        rows = [
            ("CPU", self.model or self.vendor),
            ("CPUs", cpus),
            ("memory", "%s, %s for guests" % (
                text.size_text(self.memory), text.size_text(self.free))),
            ("virtualisation", world),
            ("below us", self.hypervisor or "nothing that tells of itself"),
            ("TSC", "%d MHz" % (self.tsc_hz // 1_000_000)),
            ("serial ports", ", ".join(["%#x" % b for b in self.serial]) or "none"),
            ("ACPI", ", ".join(self.tables) or "none found"),
            ("PCI", "%d functions" % len(self.pci)),
        ]
        lines = [text.table(rows)]
        lines.append(text.table([(
            "yes" if row.there else "NO " if row.needed else "no ", row.name, row.use,
        ) for row in self.features]))
        if self.missing or not self.backend:
            lines.append("no guest can run here; missing: %s" % ", ".join(self.missing))
        else:
            lines.append("guests can run here")
        return "\n".join(lines)


def quoted(value):
    """A TOML basic string."""
    out = '"'
    for c in value:
        out += c if 32 <= ord(c) < 127 and c not in '"\\' else "\\u%04x" % ord(c)
    return out + '"'


def brand():
    """The processor's name of itself."""
    if _hv.cpuid(EXTENDED, 0)[0] < EXTENDED + 4:
        return ""
    words = []
    for leaf in range(EXTENDED + 2, EXTENDED + 5):
        words += _hv.cpuid(leaf, 0)
    return str(struct.pack("<12I", *words).split(b"\0")[0], "utf-8").strip()


def under():
    """The hypervisor below us, as far as it tells."""
    if not _hv.cpuid(1, 0)[2] >> HYPERVISOR_BIT & 1:
        return ""
    name = struct.pack("<3I", *_hv.cpuid(HYPERVISOR_LEAF, 0)[1:]).strip(b"\0 ")
    return str(name, "utf-8") if name else "unnamed"


def _msr(index):
    try:
        return _hv.rdmsr(index)
    except OSError:
        return None


def _bit(leaf, register, bit):
    top = _hv.cpuid(leaf & EXTENDED, 0)[0]
    return leaf <= top and _hv.cpuid(leaf, 0)[register] >> bit & 1


def features():
    """The rows, in the order in which they matter."""
    rows = []
    svm, vmx = _bit(EXTENDED + 1, 2, 2), _bit(1, 2, 5)
    rows.append(Row("AMD-V", svm, "guests on AMD", not vmx))
    rows.append(Row("VT-x", vmx, "guests on Intel", not svm))
    if svm:
        control = _msr(VM_CR)
        rows.append(Row("AMD-V switched on by the firmware",
                        control is None or not control & VM_CR_SVMDIS, "guests", True))
        for name, bit, use, needed in SVM_FEATURES:
            rows.append(Row(name, _bit(SVM_LEAF, 3, bit), use, needed))
    if vmx:
        rows += _vmx()
    for leaf, register, bit, name, use, needed in CPU_FEATURES:
        rows.append(Row(name, _bit(leaf, register, bit), use, needed))
    return rows


def _vmx():
    control = _msr(IA32_FEATURE_CONTROL)
    usable = control is None or not control & LOCK or control & VMX_OUTSIDE_SMX
    basic = _msr(IA32_VMX_BASIC) or 0
    rows = [Row("VT-x switched on by the firmware", usable, "guests", True),
            Row("TRUE controls", basic & TRUE_CONTROLS, "guests", True)]
    # The high half of a control's MSR says what may be 1.
    primary = (_msr(IA32_VMX_PROCBASED_CTLS) or 0) >> 32
    second = (_msr(IA32_VMX_PROCBASED_CTLS2) or 0) >> 32 if primary & SECONDARY_CONTROLS else 0
    for name, bit, use, needed in CPU2:
        rows.append(Row(name, second >> bit & 1, use, needed))
    # The register exists with EPT or VPID only.
    ept = _msr(IA32_VMX_EPT_VPID_CAP) or 0 if second & (1 << 1 | 1 << 5) else 0
    for name, bit, use, needed in EPT_CAP:
        rows.append(Row(name, ept >> bit & 1, use, needed))
    pin = (_msr(IA32_VMX_PINBASED_CTLS) or 0) >> 32
    rows.append(Row("preemption timer", pin & PREEMPTION_TIMER, "slices on CPU 0", False))
    return rows


def acpi_tables(rsdp):
    """Signatures of the ACPI tables, by the RSDP that the core found."""
    if not rsdp:
        return []
    try:
        head = _hv.peek(rsdp, 36)
        wide = head[15] >= 2 and any(head[24:32])
        root = struct.unpack("<Q" if wide else "<I", head[24:32] if wide else head[16:20])[0]
        length = struct.unpack("<I", _hv.peek(root + 4, 4))[0]
        size = 8 if wide else 4
        entries = _hv.peek(root + 36, max(0, min(length, 4096) - 36))
        found = []
        for at in range(0, len(entries) - size + 1, size):
            address = struct.unpack("<Q" if wide else "<I", entries[at : at + size])[0]
            name = str(_hv.peek(address, 4), "utf-8")
            if name not in found:
                found.append(name)
        return sorted(found)
    except (OSError, ValueError):  # what lies there is not mapped, or no table
        return []


def uart(base):
    """True where a 16450 or later answers: its scratch register keeps what is written."""
    before = _hv.inb(base + SCRATCH)
    kept = True
    for value in (0x5A, 0xA5):
        _hv.outb(base + SCRATCH, value)
        kept = kept and _hv.inb(base + SCRATCH) == value
    _hv.outb(base + SCRATCH, before)
    return kept


def pci_functions():
    """(bus:device.function, vendor:device, class) by configuration mechanism 1."""
    found, buses, seen = [], [0], []
    while buses:
        bus = buses.pop(0)
        seen.append(bus)
        for device in range(32):
            for function in range(8):
                at = PCI_ENABLE | bus << 16 | device << 11 | function << 8
                ids = _config(at, 0)
                if ids & 0xFFFF == 0xFFFF:
                    if function == 0:
                        break
                    continue
                kind = _config(at, 8) >> 16
                found.append((
                    "%02x:%02x.%d" % (bus, device, function),
                    "%04x:%04x" % (ids & 0xFFFF, ids >> 16), "%04x" % kind))
                if kind == PCI_BRIDGE:
                    below = _config(at, 0x18) >> 8 & 0xFF
                    if below not in seen and below not in buses:
                        buses.append(below)
                if function == 0 and not _config(at, 0xC) >> 23 & 1:
                    break  # a device of one function
    return found


def _config(at, offset):
    _hv.outl(PCI_ADDRESS, at | offset)
    return _hv.inl(PCI_DATA)


BEGIN, END = "--- board.toml", "--- end of board.toml"


def report():
    """For a screen and a serial line: the table, and the description between two lines."""
    board = Board()
    print(board)
    print(BEGIN)
    print(board.toml(), end="")
    print(END)
