"""The registers a vCPU starts with, per way of entering an image."""

from hv.loaders import layout

CR0_PE, CR0_ET, CR0_NE, CR0_PG = 1 << 0, 1 << 4, 1 << 5, 1 << 31
CR4_PAE = 1 << 5
EFER_LME, EFER_LMA = 1 << 8, 1 << 10
RFLAGS_FIXED = 1 << 1

# Segment attributes in the format of virt/vcpu.h.
CODE16, DATA16 = 0x009B, 0x0093
CODE32, DATA32 = 0xC09B, 0xC093
CODE64 = 0xA09B
TSS32, TSS64, LDT = 0x008B, 0x008B, 0x0082
UNUSABLE = 1 << 16

FLAT = 0xFFFF_FFFF


class Entry:
    """Registers by name, segments by name, as `apply()` sets them."""

    def __init__(self, rip, **registers):
        self.registers = {"rflags": RFLAGS_FIXED, "cr0": CR0_ET, "cr3": 0, "cr4": 0, "efer": 0}
        self.registers.update(registers)
        self.registers["rip"] = rip
        self.segments = {}

    def apply(self, vcpu):
        # EFER first: a CPU checks CR0.PG against it.
        for name in ("efer", "cr4", "cr3", "cr0"):
            vcpu.set(name, self.registers[name])
        for name, value in self.registers.items():
            if name not in ("efer", "cr4", "cr3", "cr0"):
                vcpu.set(name, value)
        for name, values in self.segments.items():
            vcpu.set_segment(name, *values)


def _flat(entry, code):
    entry.segments["cs"] = (layout.CODE, 0, FLAT, code)
    for name in ("ds", "es", "fs", "gs", "ss"):
        entry.segments[name] = (layout.DATA, 0, FLAT, DATA32)
    entry.segments["tr"] = (0, 0, 0xFFFF, TSS32)
    entry.segments["ldtr"] = (0, 0, 0xFFFF, LDT | UNUSABLE)


def protected(g, rip, **registers):
    """32-bit protected mode, flat, paging off, interrupts off (Multiboot 3.2)."""
    registers.setdefault("rsp", g.shift + layout.STACK_TOP)
    entry = Entry(rip, cr0=CR0_PE | CR0_ET, **registers)
    entry.registers["gdt_base"] = g.shift + layout.GDT
    entry.registers["gdt_limit"] = layout.descriptors(g, False)
    _flat(entry, CODE32)
    return entry


def long(g, rip, **registers):
    """64-bit mode, flat, the first 4 GiB mapped onto themselves, interrupts off."""
    registers.setdefault("rsp", g.shift + layout.STACK_TOP)
    entry = Entry(
        rip,
        cr0=CR0_PE | CR0_ET | CR0_NE | CR0_PG,
        cr3=layout.identity_tables(g),
        cr4=CR4_PAE,
        efer=EFER_LME | EFER_LMA,
        **registers
    )
    entry.registers["gdt_base"] = g.shift + layout.GDT
    entry.registers["gdt_limit"] = layout.descriptors(g, True)
    _flat(entry, CODE64)
    return entry


def real(rip, **registers):
    """Real mode with all segments 0, as a BIOS enters a boot sector."""
    registers.setdefault("rsp", rip)
    entry = Entry(rip, **registers)
    entry.registers["idt_base"] = 0
    entry.registers["idt_limit"] = 0x3FF
    entry.segments["cs"] = (0, 0, 0xFFFF, CODE16)
    for name in ("ds", "es", "fs", "gs", "ss"):
        entry.segments[name] = (0, 0, 0xFFFF, DATA16)
    entry.segments["tr"] = (0, 0, 0xFFFF, TSS32)
    entry.segments["ldtr"] = (0, 0, 0xFFFF, LDT)
    return entry
