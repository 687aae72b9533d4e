"""Model-specific registers and CPUID leaves that a guest may ask for. Numbers and names: Intel
SDM vol. 4; AMD APM vol. 2, appendix A, and vol. 3, appendix E.

Text and no dicts, as in exits.py."""

from .exits import number, row, rows

# What a guest meets, where the row has one of these words.
HERE = {
    "base": "shows what the guest's local APIC is",
    "apic": "the guest's local APIC, where it is shown one",
    "kvm": "served where the guest is shown the KVM-compatible block",
    "stored": "kept for the guest, without effect on the machine",
    "fixed": "a fixed answer; writes are ignored or raise #GP, as the table says",
    "native": "the guest's own, switched with it",
    "core": "answered by the core",
    "hidden": "in no row: #GP, as on a CPU without it",
}
# (index, name, what it is, what a guest meets)
MSRS = """\
0x10|IA32_TIME_STAMP_COUNTER|the time-stamp counter|core
0x17|IA32_PLATFORM_ID|the processor's platform|fixed
0x1B|IA32_APIC_BASE|where the local APIC is, and whether it is on|base
0x3A|IA32_FEATURE_CONTROL|whether VMX may be used|locked, VMX off
0x3B|IA32_TSC_ADJUST|an offset of the time-stamp counter|stored
0x48|IA32_SPEC_CTRL|speculation controls|hidden
0x49|IA32_PRED_CMD|prediction barrier|hidden
0x8B|IA32_BIOS_SIGN_ID|the microcode's revision|fixed
0xCE|MSR_PLATFORM_INFO|the base frequency's ratio|fixed
0xFE|IA32_MTRRCAP|which memory-type range registers there are|fixed
0x10A|IA32_ARCH_CAPABILITIES|which speculation faults the CPU lacks|hidden
0x174|IA32_SYSENTER_CS|SYSENTER: code segment|native
0x175|IA32_SYSENTER_ESP|SYSENTER: stack|native
0x176|IA32_SYSENTER_EIP|SYSENTER: entry|native
0x179|IA32_MCG_CAP|machine-check banks: none|fixed
0x17A|IA32_MCG_STATUS|machine-check state|fixed
0x1A0|IA32_MISC_ENABLE|assorted switches|stored
0x1D9|IA32_DEBUGCTL|branch tracing|fixed
0x250|IA32_MTRR_FIX64K_00000|memory types of the first 512 KiB|stored
0x258|IA32_MTRR_FIX16K_80000|memory types from 512 KiB|stored
0x259|IA32_MTRR_FIX16K_A0000|memory types of the legacy video memory|stored
0x277|IA32_PAT|the page attribute table|native
0x2FF|IA32_MTRR_DEF_TYPE|the memory type outside all ranges|stored
0x6E0|IA32_TSC_DEADLINE|the local APIC's timer in TSC-deadline mode|apic
0xDA0|IA32_XSS|supervisor state of XSAVES|reads 0: XSAVES is hidden
0xC0000080|EFER|long mode, NX, SYSCALL|core
0xC0000081|STAR|SYSCALL: segments|native
0xC0000082|LSTAR|SYSCALL: 64-bit entry|native
0xC0000083|CSTAR|SYSCALL: compatibility-mode entry|native
0xC0000084|SFMASK|SYSCALL: flags that are cleared|native
0xC0000100|FS_BASE|base of FS|native
0xC0000101|GS_BASE|base of GS|native
0xC0000102|KERNEL_GS_BASE|what SWAPGS swaps in|native
0xC0000103|TSC_AUX|what RDTSCP gives in ECX|native
0xC0010010|SYSCFG|AMD system configuration|fixed
0xC0010015|HWCR|AMD hardware configuration|fixed
0xC001001F|NB_CFG|AMD northbridge configuration|fixed
0xC0010055|INT_PENDING|AMD: interrupt pending message|fixed
0xC0010114|VM_CR|whether SVM may be used|locked, SVM off
0xC0010117|VM_HSAVE_PA|where VMRUN saves the host's state|hidden
0x4B564D00|MSR_KVM_WALL_CLOCK_NEW|KVM-compatible wall clock|kvm
0x4B564D01|MSR_KVM_SYSTEM_TIME_NEW|KVM-compatible clock page|kvm
"""
# (first, last, name, what it is, what a guest meets)
MSR_RANGES = (
    (0x200, 0x20F, "IA32_MTRR_PHYSBASE/MASK{}", "a variable memory-type range", "stored"),
    (0x268, 0x26F, "IA32_MTRR_FIX4K{}", "memory types from 768 KiB", "stored"),
    (0x400, 0x47F, "IA32_MC{}", "a machine-check bank", "hidden"),
    (0x480, 0x491, "IA32_VMX{}", "what VMX can do", "hidden"),
    (0x800, 0x83F, "x2APIC{}", "a register of the local APIC in x2APIC mode",
     "apic"),
)

# (leaf, what it is, what a guest is shown)
LEAVES = """\
0x0|largest basic leaf and vendor|the physical vendor; leaves up to 0x16
0x1|family, model, stepping; features|features its world can honour; hypervisor bit
0x2|cache descriptors (Intel)|the physical answer
0x4|caches|the physical caches, without counts of CPUs and cores
0x5|MONITOR and MWAIT|zeros
0x6|thermal and power|zeros
0x7|structured extended features|features its world can honour
0xA|performance monitoring|zeros
0xB|topology|the guest's own CPUs
0xD|XSAVE state|the states it may use; XSAVEC and XSAVES are hidden
0x14|processor trace|zeros
0x15|TSC frequency|the guest's TSC frequency, exactly
0x16|CPU frequency|the guest's TSC frequency in MHz
0x40000000|hypervisor|"ViperVisorHV" and the largest leaf of the block
0x40000001|hypervisor ABI|EAX is the ABI version, EBX the guest's id
0x40000100|KVM-compatible block|a signature that stock kernels know, where it is shown
0x40000101|KVM-compatible features|a stable clock, where it is shown
0x80000000|largest extended leaf|leaves up to 0x80000008
0x80000001|extended features|features its world can honour; SVM is hidden
0x80000002|brand string, first part|the physical answer
0x80000003|brand string, second part|the physical answer
0x80000004|brand string, third part|the physical answer
0x80000005|first-level caches (AMD)|the physical answer
0x80000006|second-level caches|the physical answer
0x80000007|power management|the invariant TSC
0x80000008|address sizes|the physical sizes
0x8000000A|SVM features|none: SVM is hidden
"""


def msr(index):
    """(name, what it is, what a guest meets) of an MSR."""
    for first, last, name, what, here in MSR_RANGES:
        if first <= index <= last:
            return name.format("[0x%x]" % (index - first)), what, HERE.get(here, here)
    found = row(MSRS, index)
    return found and (found[0], found[1], HERE.get(found[2], found[2]))


def _plain(name):
    for prefix in ("ia32_", "msr_"):
        if name.startswith(prefix):
            return name[len(prefix):]
    return name


def _msr(index, name, what, here):
    if "KVM" in name:
        source = "Linux Documentation/virt/kvm/x86/msr.rst"
    elif index >> 16 == 0xC001 or name in ("EFER", "STAR", "LSTAR", "CSTAR", "SFMASK", "TSC_AUX"):
        source = "AMD APM vol. 2, appendix A"
    else:
        source = "Intel SDM vol. 4, chapter 2"
    return ("a model-specific register", "MSR 0x%x %s" % (index, name),
            ("meaning  " + what, "here     " + here), source)


def look(text):
    """(what it is, title, lines, source) of each MSR and CPUID leaf that `text`, in small
    letters, may mean."""
    for index, name, _, _ in rows(MSRS):
        if _plain(text) == _plain(name.lower()):
            yield _msr(index, *msr(index))
    if text.isdigit():
        return
    index = number(text, ("msr",))
    found = msr(index) if index is not None else None
    if found is not None:
        yield _msr(index, *found)
    leaf = number(text, ("cpuid leaf", "cpuid", "leaf"))
    found = row(LEAVES, leaf)
    if found is not None:
        yield ("a CPUID leaf", "CPUID leaf 0x%x" % leaf,
               ("meaning  " + found[0], "here     " + found[1]),
               "Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E")
