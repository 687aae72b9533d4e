"""Exits as the manuals number them, and VM-instruction errors. Numbers and names: Intel SDM
vol. 3, appendix C and 31.4; AMD APM vol. 2, appendix C.

Long tables are text, a row a line: less than half of what tuples take in the image."""

from .kinds import KINDS

NONE = "nothing that concerns the guest", "dealt with by the back end; entered again"

# Basic VM-exit reasons: (number, name, kind).
VMX = """\
0|exception or NMI|exception
1|external interrupt|interrupt
2|triple fault|shutdown
3|INIT signal|unknown
4|start-up IPI|unknown
5|I/O system-management interrupt|unknown
6|other system-management interrupt|unknown
7|interrupt window|window
8|NMI window|nmi_window
9|task switch|task_switch
10|CPUID|cpuid
11|GETSEC|virt_insn
12|HLT|hlt
13|INVD|wbinvd
14|INVLPG|other_insn
15|RDPMC|other_insn
16|RDTSC|other_insn
17|RSM|other_insn
18|VMCALL|hypercall
19|VMCLEAR|virt_insn
20|VMLAUNCH|virt_insn
21|VMPTRLD|virt_insn
22|VMPTRST|virt_insn
23|VMREAD|virt_insn
24|VMRESUME|virt_insn
25|VMWRITE|virt_insn
26|VMXOFF|virt_insn
27|VMXON|virt_insn
28|control-register access|cr
29|MOV DR|dr
30|I/O instruction|io
31|RDMSR|rdmsr
32|WRMSR|wrmsr
33|entry failure: invalid guest state|entry_failed
34|entry failure: MSR loading|entry_failed
36|MWAIT|other_insn
37|monitor trap flag|none
39|MONITOR|other_insn
40|PAUSE|pause
41|entry failure: machine-check event|entry_failed
43|TPR below threshold|unknown
44|APIC access|unknown
45|virtualized EOI|unknown
46|access to GDTR or IDTR|unknown
47|access to LDTR or TR|unknown
48|EPT violation|nested_fault
49|EPT misconfiguration|nested_misconfig
50|INVEPT|virt_insn
51|RDTSCP|other_insn
52|VMX-preemption timer expired|none
53|INVVPID|virt_insn
54|WBINVD or WBNOINVD|wbinvd
55|XSETBV|xsetbv
56|APIC write|unknown
57|RDRAND|other_insn
58|INVPCID|other_insn
59|VMFUNC|virt_insn
60|ENCLS|other_insn
61|RDSEED|other_insn
62|page-modification log full|unknown
63|XSAVES|other_insn
64|XRSTORS|other_insn
65|PCONFIG|other_insn
66|sub-page-permission event|unknown
67|UMWAIT|other_insn
68|TPAUSE|other_insn
69|LOADIWKEY|other_insn
"""

# SVM exit codes: (number, name, kind); those of registers and vectors are SVM_RANGES.
SVM = """\
0x60|INTR|interrupt
0x61|NMI|nmi
0x62|SMI|none
0x63|INIT|none
0x64|VINTR|window
0x65|CR0_SEL_WRITE|cr
0x66|IDTR_READ|unknown
0x67|GDTR_READ|unknown
0x68|LDTR_READ|unknown
0x69|TR_READ|unknown
0x6A|IDTR_WRITE|unknown
0x6B|GDTR_WRITE|unknown
0x6C|LDTR_WRITE|unknown
0x6D|TR_WRITE|unknown
0x6E|RDTSC|unknown
0x6F|RDPMC|other_insn
0x70|PUSHF|unknown
0x71|POPF|unknown
0x72|CPUID|cpuid
0x73|RSM|other_insn
0x74|IRET|none
0x75|SWINT|unknown
0x76|INVD|wbinvd
0x77|PAUSE|pause
0x78|HLT|hlt
0x79|INVLPG|unknown
0x7A|INVLPGA|virt_insn
0x7B|IOIO|io
0x7C|MSR|rdmsr
0x7D|TASK_SWITCH|unknown
0x7E|FERR_FREEZE|unknown
0x7F|SHUTDOWN|shutdown
0x80|VMRUN|virt_insn
0x81|VMMCALL|hypercall
0x82|VMLOAD|virt_insn
0x83|VMSAVE|virt_insn
0x84|STGI|virt_insn
0x85|CLGI|virt_insn
0x86|SKINIT|virt_insn
0x87|RDTSCP|unknown
0x88|ICEBP|unknown
0x89|WBINVD|wbinvd
0x8A|MONITOR|other_insn
0x8B|MWAIT|other_insn
0x8C|MWAIT_CONDITIONAL|other_insn
0x8D|XSETBV|xsetbv
0x8E|RDPRU|unknown
0x8F|EFER_WRITE_TRAP|unknown
0xA0|INVLPGB|unknown
0xA1|INVLPGB_ILLEGAL|unknown
0xA2|INVPCID|unknown
0xA3|MCOMMIT|unknown
0xA4|TLBSYNC|unknown
0x400|NPF|nested_fault
0x401|AVIC_INCOMPLETE_IPI|unknown
0x402|AVIC_NOACCEL|unknown
0x403|VMGEXIT|unknown
0xFFFFFFFF|INVALID|entry_failed
"""
# (first code, last code, name, kind)
SVM_RANGES = (
    (0x00, 0x0F, "CR{}_READ", "cr"), (0x10, 0x1F, "CR{}_WRITE", "cr"),
    (0x20, 0x2F, "DR{}_READ", "dr"), (0x30, 0x3F, "DR{}_WRITE", "dr"),
    (0x40, 0x5F, "EXCP{}", "exception"), (0x90, 0x9F, "CR{}_WRITE_TRAP", "unknown"),
)

# (number, what it says)
VM_ERRORS = """\
1|VMCALL executed in VMX root operation
2|VMCLEAR with an invalid physical address
3|VMCLEAR with the VMXON pointer
4|VMLAUNCH with a VMCS that is not clear
5|VMRESUME with a VMCS that is not launched
6|VMRESUME after VMXOFF
7|VM entry with invalid control fields
8|VM entry with invalid host-state fields
9|VMPTRLD with an invalid physical address
10|VMPTRLD with the VMXON pointer
11|VMPTRLD with a wrong VMCS revision identifier
12|VMREAD or VMWRITE of an unsupported component
13|VMWRITE to a read-only component
15|VMXON executed in VMX root operation
16|VM entry with an invalid executive-VMCS pointer
17|VM entry with an executive VMCS that is not launched
18|VM entry with an executive-VMCS pointer that is not the VMXON pointer
19|VMCALL with a VMCS that is not clear
20|VMCALL with invalid VM-exit control fields
22|VMCALL with a wrong MSEG revision identifier
23|VMXOFF under dual-monitor treatment of SMIs and SMM
24|VMCALL with invalid SMM-monitor features
25|VM entry with invalid execution controls in the executive VMCS
26|VM entry with events blocked by MOV SS
28|invalid operand to INVEPT or INVVPID
"""


def number(text, words):
    """N of "word N" or of a bare N, in decimal or hex; None where it is none."""
    for word in words:
        if text.startswith(word):
            text = text[len(word):].lstrip(" -")
            break
    digits, base = (text[2:], 16) if text[:2] == "0x" else (text, 10)
    if not digits or text[:2] == "00" or digits.strip("0123456789abcdef"[:base]):
        return None
    return int(digits, base)


def rows(table):
    """The rows of a table that is text, as tuples; the first column is a number."""
    at = 0
    while at < len(table):
        end = table.find("\n", at)
        cells = table[at:end].split("|")
        yield (int(cells[0], 0),) + tuple(cells[1:])
        at = end + 1


def row(table, key):
    """What a table has behind its first column `key`, or None."""
    for one in rows(table):
        if one[0] == key:
            return one[1:]
    return None


def svm(code):
    """(name, kind) of an SVM exit code."""
    for first, last, name, kind in SVM_RANGES:
        if first <= code <= last:
            return name.format(code - first), kind
    return row(SVM, code)


def _exit(title, name, kind, source):
    what, does = NONE if kind == "none" else KINDS[kind]
    return "an exit", title, ("name     " + name, "kind     %s: %s" % (kind, what),
                              "here     " + does), source


def _look_vmx(text):
    reason = number(text, ("vmx", "vmcs", "exit reason", "reason"))
    if reason is None or text == "0":
        return
    reason &= 0xFFFF  # the upper bits say how it happened
    found = row(VMX, reason)
    if found is not None:
        yield _exit("VMX exit reason %d" % reason, found[0], found[1],
                    "Intel SDM vol. 3, appendix C")


def _look_svm(text):
    source = "AMD APM vol. 2, appendix C"
    name = (text[7:] if text.startswith("vmexit_") else text).upper()
    if text.replace("-", "_") not in KINDS:
        for code, title, kind in rows(SVM):
            if title == name:
                yield _exit("SVM exit code 0x%x" % code, title, kind, source)
    code = number(text, ("svm", "vmcb", "vmexit", "exitcode"))
    found = svm(code) if code is not None and text != "0" else None
    if found is not None:
        yield _exit("SVM exit code 0x%x" % code, found[0], found[1], source)


def _look_error(text):
    error = number(text, ("vm-instruction error", "vm instruction error", "error"))
    found = row(VM_ERRORS, error)
    if found is not None and not text.isdigit():
        here = "the guest crashes; its record names the field that breaks the manual's rule"
        yield ("a VM-instruction error", "error %d" % error, (found[0], "here     " + here),
               "Intel SDM vol. 3, 31.4")


def look(text):
    """(what it is, title, lines, source) of each exit and error that `text`, in small letters,
    may mean."""
    for one in (_look_vmx, _look_svm, _look_error):
        for found in one(text):
            yield found
