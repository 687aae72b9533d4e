// What each exit reason means in neutral terms, and the rare work before an entry.
//
// Only fields that the reason defines are read: the others keep values of earlier exits
// (SDM 27.2).
#include "cpu/insn.h"
#include "cpu/log.h"
#include "virt/guest.h"
#include "virt/vmx.h"
#include "virt/x86.h"

static inline void fill_plain(struct exit_record *e, uint32_t kind, uint64_t reason) {
    e->kind = kind;
    e->length = 0;
    e->raw = reason;
    e->qualification = 0;
    e->qualification2 = 0;
}

// The instruction length is defined for exits that an instruction caused (SDM 27.2.5). The
// hot kinds have no qualification, and the record's is left alone.
static inline void fill_instruction(struct exit_record *e, uint32_t kind, uint64_t reason) {
    e->kind = kind;
    e->length = vmx_read32(VMCS_EXIT_INSTRUCTION_LENGTH);
    e->raw = reason;
}

#define DEFINE_INSTRUCTION(name, kind) \
    static void name(struct exit_record *e, uint64_t reason, struct vcpu *v) { \
        (void)v; \
        fill_instruction(e, kind, reason); \
    }
#define DEFINE_EVENT(name, kind) \
    static void name(struct exit_record *e, uint64_t reason, struct vcpu *v) { \
        (void)v; \
        fill_plain(e, kind, reason); \
    }

DEFINE_INSTRUCTION(fill_cpuid, EXIT_CPUID)
DEFINE_INSTRUCTION(fill_rdmsr, EXIT_RDMSR)
DEFINE_INSTRUCTION(fill_wrmsr, EXIT_WRMSR)
DEFINE_INSTRUCTION(fill_hlt, EXIT_HLT)
DEFINE_INSTRUCTION(fill_xsetbv, EXIT_XSETBV)
DEFINE_INSTRUCTION(fill_pause, EXIT_PAUSE)
DEFINE_INSTRUCTION(fill_wbinvd, EXIT_WBINVD)
DEFINE_INSTRUCTION(fill_virt_insn, EXIT_VIRT_INSN)
DEFINE_INSTRUCTION(fill_other_insn, EXIT_OTHER_INSN)
DEFINE_EVENT(fill_interrupt, EXIT_INTERRUPT)
DEFINE_EVENT(fill_shutdown, EXIT_SHUTDOWN)

static void fill_hypercall(struct exit_record *e, uint64_t reason, struct vcpu *v) {
    fill_instruction(e, EXIT_HYPERCALL, reason);
    e->hypercall.cpl = (uint8_t)vmx_cpl(v);
}

static void fill_unknown(struct exit_record *e, uint64_t reason, struct vcpu *v) {
    (void)v;
    fill_plain(e, EXIT_UNKNOWN, reason);
    e->qualification = vmx_read(VMCS_EXIT_QUALIFICATION);
}

static void fill_window(struct exit_record *e, uint64_t reason, struct vcpu *v) {
    fill_plain(e, EXIT_WINDOW, reason);
    vmx_window(v, false);
}

static void fill_nmi_window(struct exit_record *e, uint64_t reason, struct vcpu *v) {
    fill_plain(e, EXIT_NONE, reason);
    vmx_nmi_window_opened(v);
}

// An IRET that faulted had already ended NMI blocking; the guest must run on with it, or
// the NMI handler would be entered twice (SDM 27.2.3).
static void block_nmi(void) {
    vmx_write(VMCS_GUEST_INTERRUPTIBILITY_STATE,
        vmx_read(VMCS_GUEST_INTERRUPTIBILITY_STATE) | BLOCKING_BY_NMI);
}

static bool was_vectoring(void) {
    return (vmx_read32(VMCS_IDT_VECTORING_INFO) & INTERRUPTION_VALID) != 0;
}

static void fill_exception(struct exit_record *e, uint64_t reason, struct vcpu *v) {
    (void)v;
    uint32_t info = vmx_read32(VMCS_EXIT_INTERRUPTION_INFO);
    uint32_t vector = info & INTERRUPTION_VECTOR;

    if ((info >> INTERRUPTION_TYPE_SHIFT & INTERRUPTION_TYPE_MASK) == INTERRUPTION_NMI) {
        fill_plain(e, EXIT_NMI, reason);
        vmx_unblock_nmi();
        return;
    }
    if ((info & INTERRUPTION_NMI_UNBLOCKING) && vector != EXC_DF && !was_vectoring()) {
        block_nmi();
    }
    // Intercepted only because their delivery can loop in the CPU without end; the guest
    // gets them as it would have.
    if (vector == EXC_DB || vector == EXC_AC) {
        vmx_reflect(info);
        fill_plain(e, EXIT_NONE, reason);
        return;
    }
    fill_plain(e, EXIT_EXCEPTION, reason);
    e->qualification = vmx_read(VMCS_EXIT_QUALIFICATION);
    e->qualification2 = info;
    e->exception.vector = (uint8_t)vector;
    e->exception.has_error = (info & INTERRUPTION_HAS_ERROR) != 0;
    e->exception.error = e->exception.has_error ? vmx_read32(VMCS_EXIT_INTERRUPTION_ERROR_CODE) : 0;
    e->exception.address = vector == EXC_PF ? e->qualification : 0;
}

// SDM 25.4.2: the selector and the new TSS descriptor's type, presence and limit have been checked.
static void fill_task_switch(struct exit_record *e, uint64_t reason, struct vcpu *v) {
    uint32_t vectoring = vmx_read32(VMCS_IDT_VECTORING_INFO);
    uint32_t type = vectoring >> INTERRUPTION_TYPE_SHIFT & INTERRUPTION_TYPE_MASK;
    (void)v;
    fill_plain(e, EXIT_TASK_SWITCH, reason);
    e->qualification = vmx_read(VMCS_EXIT_QUALIFICATION);
    e->task.selector = (uint16_t)e->qualification;
    e->task.source = (uint8_t)(e->qualification >> QUAL_TASK_SOURCE_SHIFT & QUAL_TASK_SOURCE);
    e->task.fault = e->task.has_error = false;
    e->task.error = 0;
    bool event = e->task.source == TASK_GATE && (vectoring & INTERRUPTION_VALID) != 0;
    if (!event || type >= INTERRUPTION_SOFTWARE_INTERRUPT) {
        e->length = vmx_read32(VMCS_EXIT_INSTRUCTION_LENGTH);
    } else if (type == INTERRUPTION_NMI) {
        block_nmi();
    } else if (type == INTERRUPTION_HARDWARE_EXCEPTION) {
        e->task.fault = true;
        e->task.has_error = (vectoring & INTERRUPTION_HAS_ERROR) != 0;
        e->task.error = e->task.has_error ? vmx_read32(VMCS_IDT_VECTORING_ERROR_CODE) : 0;
    }
    if (e->task.source == TASK_IRET) { // the handler of an NMI ends
        vmx_write(VMCS_GUEST_INTERRUPTIBILITY_STATE,
            vmx_read(VMCS_GUEST_INTERRUPTIBILITY_STATE) & ~(uint64_t)BLOCKING_BY_NMI);
    }
}

// The low bits of the qualification of a port access (SDM table 27-5) as io.size, in, string
// and rep of the record: its size is one less, and then come three flags.
#define IO_FORM(i) (((i) & QUAL_IO_SIZE) + 1) | ((i) >> 3 & 1) << 8 | ((i) >> 4 & 1) << 16 | ((i) >> 5 & 1) << 24
#define IO_FORMS_4(i) IO_FORM(i), IO_FORM((i) + 1), IO_FORM((i) + 2), IO_FORM((i) + 3)
#define IO_FORMS_16(i) IO_FORMS_4(i), IO_FORMS_4((i) + 4), IO_FORMS_4((i) + 8), IO_FORMS_4((i) + 12)
#define IO_FORM_COUNT 64
static const uint32_t io_forms[IO_FORM_COUNT] = {
    IO_FORMS_16(0u), IO_FORMS_16(16u), IO_FORMS_16(32u), IO_FORMS_16(48u),
};
_Static_assert(QUAL_IO_IN == 1 << 3 && QUAL_IO_STRING == 1 << 4 && QUAL_IO_REP == 1 << 5, "as in io_forms");
_Static_assert(offsetof(struct exit_record, io.in) == offsetof(struct exit_record, io.size) + 1 &&
    offsetof(struct exit_record, io.string) == offsetof(struct exit_record, io.size) + 2 &&
    offsetof(struct exit_record, io.rep) == offsetof(struct exit_record, io.size) + 3, "as in io_forms");

static void fill_io(struct exit_record *e, uint64_t reason, struct vcpu *v) {
    (void)v;
    uint64_t q = vmx_read(VMCS_EXIT_QUALIFICATION);
    e->kind = EXIT_IO;
    e->length = vmx_read32(VMCS_EXIT_INSTRUCTION_LENGTH);
    e->raw = reason;
    e->qualification = q;
    e->io.port = (uint16_t)(q >> QUAL_IO_PORT_SHIFT);
    __builtin_memcpy(&e->io.size, &io_forms[q % IO_FORM_COUNT], sizeof(io_forms[0]));
}

static void fill_cr(struct exit_record *e, uint64_t reason, struct vcpu *v) {
    (void)v;
    uint64_t q = vmx_read(VMCS_EXIT_QUALIFICATION);
    fill_instruction(e, EXIT_CR, reason);
    e->qualification = q;
    e->cr.number = (uint8_t)(q & QUAL_CR_NUMBER);
    e->cr.op = (uint8_t)(q >> QUAL_CR_TYPE_SHIFT & QUAL_CR_TYPE); // enum cr_op is in this order
    e->cr.gpr = (uint8_t)(q >> QUAL_CR_GPR_SHIFT & QUAL_CR_GPR);
    e->cr.decoded = true;
    e->cr.lmsw_source = (uint16_t)(q >> QUAL_CR_LMSW_SHIFT);
}
_Static_assert(CR_WRITE == 0 && CR_READ == 1 && CR_CLTS == 2 && CR_LMSW == 3, "the qualification's access types");

static void fill_dr(struct exit_record *e, uint64_t reason, struct vcpu *v) {
    uint64_t q = vmx_read(VMCS_EXIT_QUALIFICATION);
    fill_instruction(e, EXIT_DR, reason);
    e->qualification = q;
    e->dr.number = (uint8_t)(q & QUAL_DR_NUMBER);
    e->dr.write = (q & QUAL_DR_READ) == 0;
    e->dr.gpr = (uint8_t)(q >> QUAL_DR_GPR_SHIFT & QUAL_DR_GPR);
    e->dr.decoded = true;
    vmx_postpone(v, VMX_LOAD_DR); // whatever the core does about it
}

_Static_assert(QUAL_EPT_READ == ACCESS_READ && QUAL_EPT_WRITE == ACCESS_WRITE && QUAL_EPT_FETCH == ACCESS_FETCH,
    "the qualification's low bits");
#define QUAL_EPT_PLAIN (QUAL_EPT_LINEAR_VALID | QUAL_EPT_FINAL)
#define QUAL_EPT_PLAIN_MASK (QUAL_EPT_PLAIN | QUAL_EPT_FETCH | QUAL_EPT_NMI_UNBLOCKING)

static void fill_ept_violation(struct exit_record *e, uint64_t reason, struct vcpu *v) {
    (void)v;
    uint64_t q = vmx_read(VMCS_EXIT_QUALIFICATION);
    uint64_t gpa = vmx_read(VMCS_GUEST_PHYSICAL_ADDRESS);
    bool vectoring = was_vectoring();
    e->kind = EXIT_NESTED_FAULT;
    e->length = EXIT_LENGTH_LATER; // the field is not defined for this reason (SDM 27.2.5)
    e->raw = reason;
    e->qualification = q;
    e->qualification2 = gpa;
    e->nested.gpa = gpa;
    e->nested.access = (uint8_t)(q & (QUAL_EPT_READ | QUAL_EPT_WRITE | QUAL_EPT_FETCH));
    e->nested.table_walk = false;
    e->nested.data = true;
    if (__builtin_expect((q & QUAL_EPT_PLAIN_MASK) != QUAL_EPT_PLAIN || vectoring, 0)) {
        e->nested.table_walk = (q & QUAL_EPT_LINEAR_VALID) && !(q & QUAL_EPT_FINAL);
        e->nested.data = false;
        if ((q & QUAL_EPT_NMI_UNBLOCKING) && !vectoring) {
            block_nmi();
        }
    }
}

static void fill_ept_misconfiguration(struct exit_record *e, uint64_t reason, struct vcpu *v) {
    (void)v;
    fill_plain(e, EXIT_NESTED_MISCONFIG, reason);
    e->nested.gpa = vmx_read(VMCS_GUEST_PHYSICAL_ADDRESS);
    e->qualification2 = e->nested.gpa;
    e->nested.table_walk = false;
    e->nested.data = false;
    e->nested.access = 0;
}

vmx_fill_fn *const vmx_fill[REASON_COUNT] = {
    // Reasons whose control is never set, or whose number is not assigned.
    [REASON_INIT ... REASON_OTHER_SMI] = fill_unknown,
    [REASON_ENTRY_GUEST_STATE ... 35] = fill_unknown,
    [REASON_MONITOR_TRAP_FLAG ... 38] = fill_unknown,
    [REASON_ENTRY_MACHINE_CHECK ... REASON_VIRTUALIZED_EOI] = fill_unknown,
    [REASON_PREEMPTION_TIMER] = fill_interrupt,
    [REASON_APIC_WRITE] = fill_unknown,
    [REASON_PML_FULL] = fill_unknown,
    [REASON_SPP] = fill_unknown,
    [70 ... REASON_COUNT - 1] = fill_unknown,

    [REASON_EXCEPTION_OR_NMI] = fill_exception,
    [REASON_EXTERNAL_INTERRUPT] = fill_interrupt,
    [REASON_TRIPLE_FAULT] = fill_shutdown,
    [REASON_INTERRUPT_WINDOW] = fill_window,
    [REASON_NMI_WINDOW] = fill_nmi_window,
    [REASON_TASK_SWITCH] = fill_task_switch,
    [REASON_CPUID] = fill_cpuid,
    [REASON_GETSEC] = fill_virt_insn,
    [REASON_HLT] = fill_hlt,
    [REASON_INVD] = fill_wbinvd,
    [REASON_INVLPG] = fill_other_insn,
    [REASON_RDPMC] = fill_other_insn,
    [REASON_RDTSC] = fill_other_insn,
    [REASON_RSM] = fill_other_insn,
    [REASON_VMCALL] = fill_hypercall,
    [REASON_VMCLEAR ... REASON_VMXON] = fill_virt_insn,
    [REASON_CR_ACCESS] = fill_cr,
    [REASON_MOV_DR] = fill_dr,
    [REASON_IO] = fill_io,
    [REASON_RDMSR] = fill_rdmsr,
    [REASON_WRMSR] = fill_wrmsr,
    [REASON_MWAIT] = fill_other_insn,
    [REASON_MONITOR] = fill_other_insn,
    [REASON_PAUSE] = fill_pause,
    [REASON_GDTR_IDTR] = fill_other_insn,
    [REASON_LDTR_TR] = fill_other_insn,
    [REASON_EPT_VIOLATION] = fill_ept_violation,
    [REASON_EPT_MISCONFIGURATION] = fill_ept_misconfiguration,
    [REASON_INVEPT] = fill_virt_insn,
    [REASON_RDTSCP] = fill_other_insn,
    [REASON_INVVPID] = fill_virt_insn,
    [REASON_WBINVD] = fill_wbinvd,
    [REASON_XSETBV] = fill_xsetbv,
    [REASON_RDRAND] = fill_other_insn,
    [REASON_INVPCID] = fill_other_insn,
    [REASON_VMFUNC] = fill_virt_insn,
    [REASON_ENCLS] = fill_other_insn,
    [REASON_RDSEED] = fill_other_insn,
    [REASON_XSAVES] = fill_other_insn,
    [REASON_XRSTORS] = fill_other_insn,
    [REASON_PCONFIG] = fill_other_insn,
    [REASON_UMWAIT] = fill_other_insn,
    [REASON_TPAUSE] = fill_other_insn,
    [REASON_LOADIWKEY] = fill_other_insn,
};

static void note_failure(struct vcpu *v, uint32_t failure, uint32_t code, uint64_t qualification) {
    struct vmx_vcpu *x = vmx_of(v);
    x->failure = failure;
    x->failure_code = code;
    x->failure_qualification = qualification;
    v->launched = false; // vcpu_put clears the VMCS, so a mended vCPU is launched anew
}

// Reasons beyond the table, the refused entry among them: bit 31 (SDM 26.8).
void vmx_fill_other(struct exit_record *e, uint64_t reason, struct vcpu *v) {
    fill_plain(e, EXIT_UNKNOWN, reason);
    e->qualification = vmx_read(VMCS_EXIT_QUALIFICATION);
    if (reason & REASON_ENTRY_FAILURE) {
        e->kind = EXIT_ENTRY_FAILED;
        note_failure(v, VMX_FAILURE_ENTRY, (uint32_t)reason & REASON_BASIC_MASK, e->qualification);
    }
}

void vmx_fill_failed(struct exit_record *e, uint64_t valid, struct vcpu *v) {
    uint32_t number = valid ? vmx_read32(VMCS_INSTRUCTION_ERROR) : 0;
    fill_plain(e, EXIT_ENTRY_FAILED, number);
    note_failure(v, VMX_FAILURE_INSTRUCTION, number, 0);
}

void vmx_access_failed(uint32_t field) {
    uint64_t number = 0;
    (void)vmx_try_read(VMCS_INSTRUCTION_ERROR, &number);
    panic("vmx: access to VMCS field 0x%x failed: %s", (unsigned)field, vmx_instruction_error((uint32_t)number));
}

struct invalidation {
    uint64_t id;
    uint64_t address;
};

static void invept(uint64_t eptp) {
    struct invalidation what = { eptp, 0 };
    uint8_t failed;
    __asm__ volatile ("invept %1, %2; setbe %0" : "=qm" (failed)
        : "m" (what), "r" ((uint64_t)INVEPT_SINGLE_CONTEXT) : "cc", "memory");
    if (failed) {
        panic("vmx: INVEPT failed");
    }
}

static void invvpid(uint64_t vpid) {
    struct invalidation what = { vpid, 0 };
    uint8_t failed;
    __asm__ volatile ("invvpid %1, %2; setbe %0" : "=qm" (failed)
        : "m" (what), "r" ((uint64_t)INVVPID_SINGLE_CONTEXT) : "cc", "memory");
    if (failed) {
        panic("vmx: INVVPID failed");
    }
}

// PAE paging under EPT: the CPU takes the four PDPTEs from the VMCS at entry, so whoever
// changed CR0, CR3 or CR4 from outside must load them (SDM 26.3.2.4).
static void load_pdptes(struct vcpu *v) {
    enum { COUNT = 4 };
    uint64_t pdpte[COUNT] = { 0 };
    const uint64_t table_mask = UINT64_C(0xFFFFFFE0);
    // A table outside the guest's memory reads as not present: the guest gets its #PF.
    (void)guest_read(v->guest, vmx_read(VMCS_GUEST_CR3) & table_mask, pdpte, sizeof(pdpte));
    for (uint32_t i = 0; i < COUNT; i++) {
        vmx_write(VMCS_GUEST_PDPTE0 + i * VMCS_SEGMENT_STRIDE, pdpte[i]);
    }
}

static void end_shadow(void) {
    vmx_write(VMCS_GUEST_INTERRUPTIBILITY_STATE,
        vmx_read(VMCS_GUEST_INTERRUPTIBILITY_STATE) & ~(uint64_t)(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS));
}

// Called with interrupts on when v->nested_seen is not the guest's generation.
void vmx_before_entry(struct vcpu *v) {
    struct vmx_vcpu *x = vmx_of(v);
    uint64_t generation = v->guest->nested_generation;

    if (x->generation != generation || (x->pending & VMX_FLUSH_EPT)) {
        invept(vmx_read(VMCS_EPT_POINTER));
        x->generation = generation;
    }
    if (x->pending & VMX_FLUSH_VPID) {
        invvpid(vmx_read(VMCS_VPID));
    }
    if ((x->pending & VMX_LOAD_PDPTES) && vmx_pae_active()) {
        load_pdptes(v);
    }
    if (x->pending & VMX_LOAD_DR) {
        write_dr0(v->dr[0]);
        write_dr1(v->dr[1]);
        write_dr2(v->dr[2]);
        write_dr3(v->dr[3]);
    }
    x->pending = 0;
    v->nested_seen = generation;
    if (vmx_read(VMCS_GUEST_DR7) & DR7_ENABLES) {
        // A breakpoint that MOV SS has met is pending, and due behind the instruction in its
        // shadow, whoever carried that out. So this looks at every entry.
        if (v->skipped) {
            end_shadow();
        }
        v->nested_seen = VMX_NOT_SEEN;
    }
}

// What completing an instruction does that the CPU left to whoever skipped it: RF goes, the
// shadow ends, and a guest that single-steps itself is due its #DB (SDM 3B 17.3.1.4), unless
// the instruction's own work injects something.
void vmx_skipped(struct vcpu *v) {
    uint64_t rflags = vmx_read(VMCS_GUEST_RFLAGS);
    v->skipped_late = false;
    if (rflags & RFLAGS_RF) {
        vmx_write(VMCS_GUEST_RFLAGS, rflags & ~RFLAGS_RF);
    }
    if (rflags & RFLAGS_TF) {
        end_shadow();
        vmx_write(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
            vmx_read(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS) | DR6_BS);
    }
}
