// What each exit code means in neutral terms, and the rarer things around an entry.
#include "virt/svm.h"

#include "cpu/insn.h"
#include "virt/guest.h"
#include "virt/vcpu_state.h"
#include "virt/x86.h"

typedef void svm_fill_kind(struct vcpu *v, const struct vmcb *b, struct exit_record *e);

struct svm_exit {
    uint8_t kind;
    svm_fill_kind *fill; // NULL: the kind says it all
};

uint8_t svm_kinds[SVM_EXIT_CODES];
uint32_t svm_io_forms[SVM_IO_FORM_COUNT];

static void fill_info(struct vcpu *v, const struct vmcb *b, struct exit_record *e) {
    (void)v;
    e->qualification = b->exitinfo1;
    e->qualification2 = b->exitinfo2;
}

static void fill_hypercall(struct vcpu *v, const struct vmcb *b, struct exit_record *e) {
    (void)v;
    e->hypercall.cpl = b->cpl;
}

static void fill_msr(struct vcpu *v, const struct vmcb *b, struct exit_record *e) {
    (void)v;
    // 15.11: EXITINFO1 is 1 for WRMSR.
    e->kind = EXIT_RDMSR + (uint32_t)(b->exitinfo1 & 1);
}

static_assert(NPF_WRITE == ACCESS_WRITE && ACCESS_READ == ACCESS_WRITE >> 1 && NPF_USER << 1 == ACCESS_USER,
    "an access is made by shifts");

static __attribute__((noinline)) void fill_other_npf(struct exit_record *e, uint64_t info) {
    e->nested.data = false;
    e->nested.table_walk = info & NPF_TABLE_WALK;
    if (info & NPF_FETCH) {
        e->nested.access = (uint8_t)(ACCESS_FETCH | (info & NPF_USER) << 1);
    }
    if (info & NPF_RESERVED) {
        e->kind = EXIT_NESTED_MISCONFIG;
    }
}

void svm_fill_npf(struct vcpu *v, struct exit_record *e) {
    const struct vmcb *b = svm_vmcb(v);
    uint64_t info = b->exitinfo1;
    e->kind = EXIT_NESTED_FAULT;
    e->length = EXIT_LENGTH_LATER;
    e->qualification = info;
    e->qualification2 = e->nested.gpa = b->exitinfo2;
    e->nested.table_walk = false;
    e->nested.data = true;
    e->nested.access = (uint8_t)(ACCESS_READ + (info >> 1 & ACCESS_READ) + (info << 1 & ACCESS_USER));
    if (__builtin_expect((info & (NPF_TABLE_WALK | NPF_FETCH | NPF_RESERVED)) != 0
        || (b->exitintinfo & EVENTINJ_V) != 0, 0)) {
        fill_other_npf(e, info);
    }
}

static void fill_cr(struct vcpu *v, const struct vmcb *b, struct exit_record *e) {
    fill_info(v, b, e);
    e->cr.number = 0;
    e->cr.op = CR_WRITE;
    if (e->raw < VMEXIT_DR0_READ) {
        e->cr.number = (uint8_t)(e->raw & 0xF);
        e->cr.op = e->raw < VMEXIT_CR0_WRITE ? CR_READ : CR_WRITE;
    }
    // Without the bit it may be CLTS, LMSW or SMSW as well.
    e->cr.decoded = virt_caps.decode_assists && (b->exitinfo1 & CR_EXIT_MOV);
    e->cr.gpr = (uint8_t)(b->exitinfo1 & CR_EXIT_GPR_MASK);
}

static void fill_dr(struct vcpu *v, const struct vmcb *b, struct exit_record *e) {
    fill_info(v, b, e);
    e->dr.number = (uint8_t)(e->raw & 0xF);
    e->dr.write = e->raw >= VMEXIT_DR0_WRITE;
    e->dr.decoded = virt_caps.decode_assists;
    e->dr.gpr = (uint8_t)(b->exitinfo1 & CR_EXIT_GPR_MASK);
}

static void fill_exception(struct vcpu *v, const struct vmcb *b, struct exit_record *e) {
    fill_info(v, b, e);
    e->exception.vector = (uint8_t)(e->raw - VMEXIT_EXCP0);
    e->exception.has_error = EXC_VECTORS_WITH_ERROR >> e->exception.vector & 1;
    e->exception.error = e->exception.has_error ? (uint32_t)b->exitinfo1 : 0;
    e->exception.address = e->exception.vector == EXC_PF ? b->exitinfo2 : 0;
}

// The guest ends its NMI handler.
static void fill_iret(struct vcpu *v, const struct vmcb *b, struct exit_record *e) {
    (void)b;
    (void)e;
    svm_iret(v);
}

static void fill_debug(struct vcpu *v, const struct vmcb *b, struct exit_record *e) {
    struct svm_control *c = svm_control(v);
    fill_exception(v, b, e);
    if (c->step_swallow) {
        c->step_swallow = false;
        e->kind = EXIT_NONE;
    }
}

// What comes from outside comes in a shadow, too. Where the next entry does not load that, it is
// kept here: an exit right behind that entry finds the guest where it was. And a window that is
// asked for already would open inside: between STI and HLT, and the guest would sleep over what
// its handler has just told it.
static void fill_interrupt(struct vcpu *v, const struct vmcb *b, struct exit_record *e) {
    struct svm_control *c = svm_control(v);
    fill_info(v, b, e);
    if (virt_caps.shadow_loaded) {
        return;
    }
    if (b->interrupt_shadow & INTERRUPT_SHADOW) {
        c->shadow_rip = b->rip;
    } else if (b->rip == c->shadow_rip) {
        c->vmcb.interrupt_shadow |= INTERRUPT_SHADOW;
    }
    if ((b->v_intr & V_IRQ) && (c->vmcb.interrupt_shadow & INTERRUPT_SHADOW)) {
        virt->window(v, false);
        virt->window(v, true);
    }
}

// The window is open: the dummy V_IRQ must go before it is taken.
static void fill_window(struct vcpu *v, const struct vmcb *b, struct exit_record *e) {
    (void)b;
    (void)e;
    virt->window(v, false);
}

#define FROM_TO(first, last) [(first) ... (last)]

// The first line is for every code that no later one names.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
static const struct svm_exit svm_exits[SVM_EXIT_CODES] = {
    FROM_TO(0, SVM_EXIT_CODES - 1) = {EXIT_UNKNOWN, fill_info},
    FROM_TO(VMEXIT_CR0_READ, VMEXIT_CR0_READ + 15) = {EXIT_CR, fill_cr},
    FROM_TO(VMEXIT_CR0_WRITE, VMEXIT_CR0_WRITE + 15) = {EXIT_CR, fill_cr},
    FROM_TO(VMEXIT_DR0_READ, VMEXIT_DR0_READ + 15) = {EXIT_DR, fill_dr},
    FROM_TO(VMEXIT_DR0_WRITE, VMEXIT_DR0_WRITE + 15) = {EXIT_DR, fill_dr},
    FROM_TO(VMEXIT_EXCP0, VMEXIT_EXCP0 + 31) = {EXIT_EXCEPTION, fill_exception},
    [VMEXIT_EXCP0 + EXC_DB] = {EXIT_EXCEPTION, fill_debug},
    [VMEXIT_INTR] = {EXIT_INTERRUPT, fill_interrupt},
    [VMEXIT_NMI] = {EXIT_NMI, fill_interrupt},
    // Taken by the firmware or, for INIT, kept pending at the STGI (15.21.8).
    [VMEXIT_SMI] = {EXIT_NONE, NULL},
    [VMEXIT_INIT] = {EXIT_NONE, NULL},
    [VMEXIT_VINTR] = {EXIT_WINDOW, fill_window},
    [VMEXIT_CR0_SEL_WRITE] = {EXIT_CR, fill_cr},
    [VMEXIT_RDPMC] = {EXIT_OTHER_INSN, fill_info},
    [VMEXIT_CPUID] = {EXIT_CPUID, NULL},
    [VMEXIT_RSM] = {EXIT_OTHER_INSN, fill_info},
    [VMEXIT_IRET] = {EXIT_NONE, fill_iret},
    [VMEXIT_INVD] = {EXIT_WBINVD, fill_info},
    [VMEXIT_PAUSE] = {EXIT_PAUSE, NULL},
    [VMEXIT_HLT] = {EXIT_HLT, NULL},
    [VMEXIT_INVLPGA] = {EXIT_VIRT_INSN, fill_info},
    [VMEXIT_IOIO] = {EXIT_IO, NULL},
    [VMEXIT_MSR] = {EXIT_RDMSR, fill_msr},
    [VMEXIT_SHUTDOWN] = {EXIT_SHUTDOWN, fill_info},
    [VMEXIT_VMRUN] = {EXIT_VIRT_INSN, fill_info},
    [VMEXIT_VMMCALL] = {EXIT_HYPERCALL, NULL},
    FROM_TO(VMEXIT_VMLOAD, VMEXIT_SKINIT) = {EXIT_VIRT_INSN, fill_info},
    [VMEXIT_WBINVD] = {EXIT_WBINVD, fill_info},
    FROM_TO(VMEXIT_MONITOR, VMEXIT_MWAIT_CONDITIONAL) = {EXIT_OTHER_INSN, fill_info},
    [VMEXIT_XSETBV] = {EXIT_XSETBV, fill_info},
};
#pragma GCC diagnostic pop

// 15.7.1: nRIP is saved on instruction intercepts, not on events.
static bool is_instruction(uint32_t kind) {
    switch (kind) {
        case EXIT_CPUID:
        case EXIT_RDMSR:
        case EXIT_HYPERCALL:
        case EXIT_HLT:
        case EXIT_CR:
        case EXIT_DR:
        case EXIT_XSETBV:
        case EXIT_PAUSE:
        case EXIT_WBINVD:
        case EXIT_VIRT_INSN:
        case EXIT_OTHER_INSN:
            return true;
        default:
            return false;
    }
}

static_assert(offsetof(struct exit_record, io.in) == offsetof(struct exit_record, io.size) + 1 &&
    offsetof(struct exit_record, io.string) == offsetof(struct exit_record, io.size) + 2 &&
    offsetof(struct exit_record, io.rep) == offsetof(struct exit_record, io.size) + 3, "as in svm_io_forms");

static uint32_t io_form(uint32_t info) {
    uint32_t size = info >> IOIO_SIZE_SHIFT & IOIO_SIZE_MASK;
    uint32_t in = (info & IOIO_TYPE_IN) != 0, string = (info & IOIO_STR) != 0, rep = (info & IOIO_REP) != 0;
    return size | in << 8 | string << 16 | rep << 24;
}

void svm_exit_init(const struct virt_caps *caps) {
    for (uint32_t i = 0; i < SVM_IO_FORM_COUNT; i++) {
        svm_io_forms[i] = io_form(i);
    }
    for (size_t i = 0; i < SVM_EXIT_CODES; i++) {
        const struct svm_exit *x = &svm_exits[i];
        bool fill = x->fill || caps->nrip || !is_instruction(x->kind);
        if (i == VMEXIT_IOIO) {
            svm_kinds[i] = SVM_KIND_IO;
        } else if (i == VMEXIT_MSR && !caps->nrip) {
            svm_kinds[i] = SVM_KIND_SPECIAL;
        } else {
            svm_kinds[i] = x->kind | (fill ? SVM_KIND_SPECIAL | SVM_KIND_FILL : 0);
        }
    }
}

void svm_fill(struct vcpu *v, struct exit_record *e) {
    const struct vmcb *b = svm_vmcb(v);
    uint32_t code = (uint32_t)e->raw;

    e->length = 0;
    if (code < SVM_EXIT_CODES) {
        const struct svm_exit *x = &svm_exits[code];
        e->kind = x->kind;
        if (virt_caps.nrip && is_instruction(x->kind)) {
            e->length = (uint32_t)(b->nrip - v->rip);
            // Only a CPU that loads the shadow cares: the instruction will have ended it.
            svm_control(v)->attention |= b->interrupt_shadow ? SVM_ATTENTION_SHADOW : 0;
        }
        if (x->fill) {
            x->fill(v, b, e);
        } else {
            fill_hypercall(v, b, e);
        }
    } else {
        e->kind = code == VMEXIT_INVALID ? EXIT_ENTRY_FAILED : EXIT_UNKNOWN;
        fill_info(v, b, e);
    }
}

static void finish_instruction(struct vcpu *v, struct vmcb *b) {
    // VMCB.RIP still is where the guest left off. When RIP has moved, an instruction
    // was completed for the guest: the shadow it ran in is over, RF is done, and a single
    // step that the guest asked for is due (13.1.4).
    if (v->rip == b->rip) {
        return;
    }
    b->interrupt_shadow = 0;
    b->rip = v->rip; // once
    if (!(b->eventinj & EVENTINJ_V)) {
        b->rflags &= ~RFLAGS_RF;
    }
    if ((b->rflags & RFLAGS_TF) && !(b->eventinj & EVENTINJ_V)) {
        b->dr6 |= DR6_BS;
        b->dr7 &= ~DR7_GD;
        b->eventinj = EVENTINJ_V | EVENT_EXCEPTION << EVENTINJ_TYPE_SHIFT | EXC_DB;
    }
}

void svm_before_entry(struct vcpu *v) {
    struct svm_control *c = svm_control(v);
    struct vmcb *b = &c->vmcb;

    finish_instruction(v, b);
    if (c->attention & (SVM_ATTENTION_FLUSH | SVM_ATTENTION_SHARED)) {
        b->tlb_control = virt_caps.flush_by_asid ? TLB_CONTROL_FLUSH_ASID : TLB_CONTROL_FLUSH_ALL;
    }
    if (c->attention & SVM_ATTENTION_STEP) {
        svm_step_before(v);
    }
    if (c->attention & SVM_ATTENTION_CHECK) {
        svm_check(v);
    }
    if (c->attention & SVM_ATTENTION_DEBUG) {
        vcpu_debug_arm(v, b->dr7);
    }
}

// A request came first: the flush is still to be done.
void svm_not_entered(struct vcpu *v) {
    svm_step_undo(v);
    if (svm_control(v)->attention & SVM_ATTENTION_DEBUG) {
        vcpu_debug_disarm();
    }
}

void svm_after_exit(struct vcpu *v) {
    struct svm_control *c = svm_control(v);
    if (c->attention & SVM_ATTENTION_DEBUG) {
        vcpu_debug_disarm();
    }
    if (c->step != SVM_STEP_NONE) {
        svm_step_after(v);
    }
    if (c->broken[0] && (uint32_t)c->vmcb.exitcode == VMEXIT_INVALID) {
        // The emulators leave the monitor's own in the VMCB.
        v->rip = c->checked_rip;
        v->gpr[GPR_RSP] = c->checked_rsp;
        v->gpr[GPR_RAX] = c->checked_rax;
    }
    c->attention &= ~(uint32_t)(SVM_ATTENTION_FLUSH | SVM_ATTENTION_CHECK);
    c->vmcb.tlb_control = TLB_CONTROL_NONE;
}

static bool once(struct vcpu *v, struct exit_record *e, struct fetch_state f) {
    (void)v;
    (void)e;
    (void)f;
    return false;
}

void svm_enter(struct vcpu *v, struct exit_record *e) {
    svm_run(v, e, once);
}
