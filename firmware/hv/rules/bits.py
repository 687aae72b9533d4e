"""CPUID bits in words, by name ("sse4.2") or by place ("cpuid 1 ecx 20", "CPUID.01H:ECX[20]").
Names and meanings: Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E."""

from . import features

REGISTERS = "eax", "ebx", "ecx", "edx"
SOURCE = "Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E"
# What the core makes itself: leaf, subleaf, register, names.
OWN = (
    (1, 0, 2, {"tsc_deadline": 24, "osxsave": 27, "hypervisor": 31}),
    (1, 0, 3, {"apic": 9, "htt": 28}), (6, 0, 0, {"arat": 2}), (7, 0, 1, {"tsc_adjust": 1}),
    (0x8000_0001, 0, 2, {"cmp_legacy": 1}), (0x8000_0007, 0, 3, {"invariant_tsc": 8}),
)
# What no guest sees, of all that is asked for; so is every bit without a name here.
HIDDEN = (
    (1, 0, 2, {"dtes64": 2, "monitor": 3, "ds_cpl": 4, "vmx": 5, "smx": 6, "est": 7, "tm2": 8,
               "cnxt_id": 10, "sdbg": 11, "xtpr": 14, "pdcm": 15, "pcid": 17, "dca": 18,
               "rdrand": 30}),
    (1, 0, 3, {"psn": 18, "ds": 21, "acpi": 22, "tm": 29, "pbe": 31}),
    (7, 0, 1, {"sgx": 2, "hle": 4, "invpcid": 10, "rtm": 11, "pqm": 12, "mpx": 14, "pqe": 15,
               "rdseed": 18, "intel_pt": 25}),
    (7, 0, 2, {"pku": 3, "ospke": 4, "waitpkg": 5, "cet_ss": 7, "la57": 16, "sgx_lc": 30,
               "pks": 31}),
    (7, 0, 3, {"cet_ibt": 20, "ibrs": 26, "stibp": 27, "l1d_flush": 28,
               "arch_capabilities": 29, "ssbd": 31}),
    (0xD, 1, 0, {"xsavec": 1, "xgetbv1": 2, "xsaves": 3}),
    (0x8000_0001, 0, 2, {"svm": 2, "extapic": 3, "osvw": 9, "ibs": 10, "skinit": 12, "wdt": 13,
                         "tce": 17, "topoext": 22, "perfctr_core": 23, "monitorx": 29}),
)
# Where the name does not say it.
WORDS = {
    "3dnow": "AMD's vectors in MMX registers", "abm": "LZCNT", "acpi": "thermal control by MSRs",
    "adx": "ADCX, ADOX", "apic": "the local APIC", "arat": "the APIC timer never stops",
    "arch_capabilities": "IA32_ARCH_CAPABILITIES is there", "bmi1": "ANDN, BEXTR, BLSR, TZCNT",
    "bmi2": "BZHI, PDEP, PEXT, MULX, shifts without flags", "cet_ibt": "indirect branch tracking",
    "cet_ss": "shadow stacks", "cmp_legacy": "leaf 0x80000008 counts the cores",
    "cx16": "CMPXCHG16B", "cx8": "CMPXCHG8B", "de": "debugging extensions, CR4.DE",
    "dtes64": "64-bit debug store", "ds": "debug store", "erms": "fast REP MOVSB and STOSB",
    "est": "SpeedStep", "extapic": "AMD's extended APIC registers", "fma": "fused multiply-add",
    "fsgsbase": "RDFSBASE and its like, CR4.FSGSBASE", "fsrm": "fast short REP MOVSB",
    "fxsr": "FXSAVE, CR4.OSFXSR", "gbpages": "pages of 1 GiB", "gfni": "Galois field instructions",
    "hle": "transactions by prefix", "htt": "EBX counts several logical CPUs",
    "hypervisor": "there is a hypervisor: leaf 0x40000000 names it", "ibrs": "IA32_SPEC_CTRL",
    "ibs": "instruction-based sampling", "intel_pt": "processor trace",
    "invariant_tsc": "the TSC counts at one rate for ever", "la57": "paging in five levels",
    "lahf": "LAHF and SAHF in 64-bit mode", "lm": "64-bit mode", "mca": "machine-check banks",
    "mce": "machine-check exception, CR4.MCE", "md_clear": "VERW empties buffers",
    "monitor": "MONITOR, MWAIT", "mpx": "memory bounds", "msr": "RDMSR, WRMSR",
    "mtrr": "memory types by MTRRs", "nx": "no-execute pages, EFER.NXE",
    "osvw": "OS-visible workarounds",
    "osxsave": "CR4.OSXSAVE, as the guest has set it", "pae": "physical addresses beyond 32 bits",
    "pat": "the page attribute table", "pbe": "pending break enable", "pcid": "TLB tags, CR4.PCIDE",
    "pdcm": "performance MSRs", "pge": "global pages, CR4.PGE", "pks": "keys for supervisor pages",
    "pku": "keys for user pages", "popcnt": "POPCNT", "pqe": "cache allocation",
    "pqm": "cache monitoring", "pse": "pages of 4 MiB", "pse36": "36-bit addresses in 4 MiB pages",
    "psn": "serial number", "rdpid": "RDPID", "rdrand": "RDRAND", "rdseed": "RDSEED",
    "rdtscp": "RDTSCP and TSC_AUX", "rtm": "XBEGIN, XEND", "sep": "SYSENTER, SYSEXIT",
    "sgx": "enclaves", "skinit": "SKINIT", "smap": "no kernel access to user pages, CR4.SMAP",
    "smep": "no kernel execution of user pages, CR4.SMEP", "smx": "GETSEC, CR4.SMXE",
    "ss": "self-snoop", "ssbd": "store bypass can be switched off", "stibp": "IA32_SPEC_CTRL",
    "svm": "AMD-V", "syscall": "SYSCALL, SYSRET", "tm": "thermal monitor",
    "tm2": "thermal monitor 2",
    "topoext": "leaves 0x8000001D and 0x8000001E", "tsc": "the time-stamp counter",
    "tsc_adjust": "IA32_TSC_ADJUST", "tsc_deadline": "the APIC timer by deadlines",
    "umip": "no SGDT and its like for users, CR4.UMIP", "vme": "virtual-8086 mode extensions",
    "vmx": "VT-x", "waitpkg": "TPAUSE, UMONITOR, UMWAIT", "wdt": "watchdog timer",
    "x2apic": "the local APIC by MSRs", "xgetbv1": "XGETBV with ECX 1",
    "xsave": "XSAVE, CR4.OSXSAVE",
    "xsavec": "XSAVE, packed", "xsaves": "XSAVE of supervisor states",
}
_MADE = "made by the core, whatever the machine has"
NEVER = "hidden: 0 for every guest"


def _plain(name):
    return name.replace("_", "").replace(".", "").replace("-", "")


def _rows():
    """(leaf, subleaf, register, name, bit, what a guest sees) of each that has a name."""
    for leaf, subleaf, register, names in features.WHERE:
        for name, bit in names.items():
            if name in features.LEAF_1_ECX_OWN:
                here = _MADE
            else:
                here = "shown where the machine has it"
            if name not in features.NEEDED:
                here += '; hide = ["%s"] hides it' % name
            yield leaf, subleaf, register, name, bit, here
    for table, here in ((OWN, _MADE), (HIDDEN, NEVER)):
        for leaf, subleaf, register, names in table:
            for name, bit in names.items():
                yield leaf, subleaf, register, name, bit, here


def names():
    """Every name that look() knows."""
    return sorted({row[3] for row in _rows()})


def _place(text):
    """(leaf, subleaf, register, bit) of "cpuid 7.0 ebx 5" or "CPUID.07H:EBX.AVX2[5]", or None."""
    for mark in ".:,[]()=":
        text = text.replace(mark, " ")
    words = [w for w in text.split() if w not in ("cpuid", "leaf", "subleaf", "bit")]
    register = [i for i, w in enumerate(words) if w in REGISTERS]
    if len(register) != 1 or not 1 <= register[0] <= 2 or not words[register[0] + 1:]:
        return None
    at = register[0]
    try:
        numbers = [_number(w) for w in words[:at]]
        bit = _number(words[-1])
    except ValueError:
        return None
    if not 0 <= bit < 32:
        return None
    return numbers[0], (numbers + [0])[1], REGISTERS.index(words[at]), bit


def _number(word):
    if word.endswith("h"):
        return int(word[:-1], 16)
    return int(word, 16 if word[:2] == "0x" or len(word) == 8 else 10)


def look(text):
    """(title, lines) of each bit that `text`, in small letters, may mean."""
    place = _place(text)
    words = text.split()
    if len(words) == 2 and words[0] in ("cpuid", "feature"):
        words = words[1:]
    name = _plain(words[0]) if len(words) == 1 else ""
    found = [row for row in _rows()
             if place == (row[0], row[1], row[2], row[4]) or not place and name == _plain(row[3])]
    if place and not found and place[:3] in [row[:3] for row in features.WHERE + OWN]:
        found = [place[:3] + (None, place[3], NEVER)]  # a word of features alone
    for leaf, subleaf, register, name, bit, here in found:
        where = "CPUID 0x%x%s %s bit %d" % (
            leaf, ".%d" % subleaf if leaf in (7, 0xD) else "", REGISTERS[register].upper(), bit)
        if name is None:
            yield where, ["here     " + here]
        else:
            said = WORDS.get(name, "instructions or registers of that name")
            yield where + " " + name, ["meaning  " + said, "here     " + here]
