"""The neutral kinds of exits, for the prompt and for `hv explain`: kind -> (what it means, what
Vipervisor does)."""

KINDS = {
    "cpuid": ("the guest executed CPUID", "answered from the table that Python compiled"),
    "rdmsr": ("the guest read a model-specific register that is not its own",
              "answered from the guest's table; unknown ones fault (#GP)"),
    "wrmsr": ("the guest wrote a model-specific register that is not its own",
              "taken by the guest's table; unknown ones fault (#GP)"),
    "io": ("the guest executed IN, OUT, INS or OUTS",
           "served by the guest's device there; else reads ones and drops writes, counted"),
    "nested_fault": ("the guest touched guest-physical memory that its nested tables do not map",
                     "decoded and served by a device there; else reads ones, drops writes; code "
                     "or page tables there crash the guest"),
    "mmio": ("the guest touched device memory that Python serves",
             "decoded; the device or the handler answers"),
    "hypercall": ("the guest executed VMCALL or VMMCALL",
                  "the hypercall of that number, Python's from 0x1000 on; #UD above CPL 0"),
    "hlt": ("the guest executed HLT",
            "it sleeps until an interrupt; with interrupts off for good it is powered off"),
    "window": ("the guest can take an interrupt now", "the waiting interrupt is injected"),
    "nmi_window": ("the guest can take an NMI now", "the waiting NMI is injected"),
    "interrupt": ("a physical interrupt came while the guest ran",
                  "served by the monitor; the guest goes on"),
    "nmi": ("a physical NMI came while the guest ran", "it is the monitor's kick; looked at"),
    "shutdown": ("a triple fault: an exception while a double fault was being delivered",
                 "the guest crashes; its crash record says where"),
    "cr": ("the guest accessed a control register",
           "checked as the CPU would check it, then done; #GP where the CPU would say so"),
    "dr": ("the guest accessed a debug register", "kept for the guest and armed at entry"),
    "xsetbv": ("the guest executed XSETBV", "checked against what the guest was shown, then done"),
    "exception": ("an exception that could loop in the CPU without end", "given on to the guest"),
    "pause": ("the guest spins with PAUSE", "another vCPU may run; the guest goes on"),
    "wbinvd": ("the guest executed WBINVD or INVD", "skipped: its caches are kept coherent"),
    "virt_insn": ("the guest executed a VMX or SVM instruction",
                  "#UD: a guest is shown no virtualisation"),
    "other_insn": ("a rarer instruction that is intercepted",
                   "what a CPU without the feature would do"),
    "task_switch": ("a 32-bit guest switched tasks by a TSS or a task gate",
                    "carried out as the CPU would without VT-x"),
    "nested_misconfig": ("the nested page tables are wrong", "a fault of the monitor: the guest "
                         "crashes with its record"),
    "entry_failed": ("the CPU refused to enter the guest", "the guest crashes; the record names "
                     "the field, its value and the manual's rule"),
    "unknown": ("a reason that nobody here knows", "the guest crashes with the raw reason"),
}
# What the machine does to a guest; all other exits are of the guest's own making.
OUTSIDE = ("interrupt", "nmi")
