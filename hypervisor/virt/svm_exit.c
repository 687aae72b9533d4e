// One entry and one exit, and what each exit code means in neutral terms.
#include "virt/svm.h"

#include "cpu/insn.h"
#include "virt/guest.h"
#include "virt/vcpu_state.h"
#include "virt/x86.h"

typedef void svm_fill(struct vcpu *v, const struct vmcb *b, struct exit_record *e);

// length_mask: all ones when the CPU leaves the next instruction's RIP on this
// exit, else 0. The hottest kinds need nothing filled in.
struct svm_exit {
    uint8_t kind;
    uint32_t length_mask;
    svm_fill *fill;
};

static void fill_info(struct vcpu *v, const struct vmcb *b, struct exit_record *e) {
    (void)v;
    e->qualification = b->exitinfo1;
    e->qualification2 = b->exitinfo2;
}

static void fill_io(struct vcpu *v, const struct vmcb *b, struct exit_record *e) {
    uint64_t info = b->exitinfo1;
    e->qualification = info;
    e->io.port = (uint16_t)(info >> IOIO_PORT_SHIFT);
    e->io.size = (uint8_t)(info >> IOIO_SIZE_SHIFT & IOIO_SIZE_MASK);
    e->io.in = info & IOIO_TYPE_IN;
    e->io.string = info & IOIO_STR;
    e->io.rep = info & IOIO_REP;
    // EXITINFO2 is the next instruction's RIP on every CPU (15.10.2).
    e->length = (uint32_t)(b->exitinfo2 - v->rip);
}

static void fill_msr(struct vcpu *v, const struct vmcb *b, struct exit_record *e) {
    (void)v;
    // 15.11: EXITINFO1 is 1 for WRMSR.
    e->kind = EXIT_RDMSR + (uint32_t)(b->exitinfo1 & 1);
}

static void fill_npf(struct vcpu *v, const struct vmcb *b, struct exit_record *e) {
    (void)v;
    uint64_t info = b->exitinfo1;
    uint32_t access = info & NPF_FETCH ? ACCESS_FETCH : info & NPF_WRITE ? ACCESS_WRITE : ACCESS_READ;
    e->qualification = info;
    e->qualification2 = b->exitinfo2;
    e->nested.gpa = b->exitinfo2;
    e->nested.gva_valid = false;
    e->nested.table_walk = info & NPF_TABLE_WALK;
    e->nested.access = (uint8_t)(access | (info & NPF_USER ? ACCESS_USER : 0));
    if (info & NPF_RESERVED) {
        e->kind = EXIT_NESTED_MISCONFIG;
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

// The guest ends its NMI handler. The intercept comes before the IRET runs; an
// NMI that waits is then injected one instruction early, which costs some stack
// and nothing else.
static void fill_iret(struct vcpu *v, const struct vmcb *b, struct exit_record *e) {
    (void)b;
    (void)e;
    svm_control(v)->nmi_masked = false;
    svm_vmcb(v)->intercept_vector3 &= ~INTERCEPT_IRET;
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
static struct svm_exit svm_exits[SVM_NOT_ENTERED + 1] = {
    FROM_TO(0, SVM_NOT_ENTERED - 1) = {EXIT_UNKNOWN, 0, fill_info},
    FROM_TO(VMEXIT_CR0_READ, VMEXIT_CR0_READ + 15) = {EXIT_CR, 0, fill_cr},
    FROM_TO(VMEXIT_CR0_WRITE, VMEXIT_CR0_WRITE + 15) = {EXIT_CR, 0, fill_cr},
    FROM_TO(VMEXIT_DR0_READ, VMEXIT_DR0_READ + 15) = {EXIT_DR, 0, fill_dr},
    FROM_TO(VMEXIT_DR0_WRITE, VMEXIT_DR0_WRITE + 15) = {EXIT_DR, 0, fill_dr},
    FROM_TO(VMEXIT_EXCP0, VMEXIT_EXCP0 + 31) = {EXIT_EXCEPTION, 0, fill_exception},
    [VMEXIT_INTR] = {EXIT_INTERRUPT, 0, NULL},
    [VMEXIT_NMI] = {EXIT_NMI, 0, fill_info},
    // Taken by the firmware or, for INIT, kept pending at the STGI (15.21.8).
    [VMEXIT_SMI] = {EXIT_NONE, 0, NULL},
    [VMEXIT_INIT] = {EXIT_NONE, 0, NULL},
    [VMEXIT_VINTR] = {EXIT_WINDOW, 0, fill_window},
    [VMEXIT_CR0_SEL_WRITE] = {EXIT_CR, 0, fill_cr},
    [VMEXIT_RDPMC] = {EXIT_OTHER_INSN, 0, fill_info},
    [VMEXIT_CPUID] = {EXIT_CPUID, 0, NULL},
    [VMEXIT_RSM] = {EXIT_OTHER_INSN, 0, fill_info},
    [VMEXIT_IRET] = {EXIT_NONE, 0, fill_iret},
    [VMEXIT_INVD] = {EXIT_WBINVD, 0, fill_info},
    [VMEXIT_PAUSE] = {EXIT_PAUSE, 0, NULL},
    [VMEXIT_HLT] = {EXIT_HLT, 0, NULL},
    [VMEXIT_INVLPGA] = {EXIT_VIRT_INSN, 0, fill_info},
    [VMEXIT_IOIO] = {EXIT_IO, 0, fill_io},
    [VMEXIT_MSR] = {EXIT_RDMSR, 0, fill_msr},
    [VMEXIT_SHUTDOWN] = {EXIT_SHUTDOWN, 0, fill_info},
    [VMEXIT_VMRUN] = {EXIT_VIRT_INSN, 0, fill_info},
    [VMEXIT_VMMCALL] = {EXIT_HYPERCALL, 0, NULL},
    FROM_TO(VMEXIT_VMLOAD, VMEXIT_SKINIT) = {EXIT_VIRT_INSN, 0, fill_info},
    [VMEXIT_WBINVD] = {EXIT_WBINVD, 0, fill_info},
    FROM_TO(VMEXIT_MONITOR, VMEXIT_MWAIT_CONDITIONAL) = {EXIT_OTHER_INSN, 0, fill_info},
    [VMEXIT_XSETBV] = {EXIT_XSETBV, 0, fill_info},
    [SVM_NOT_ENTERED] = {EXIT_NONE, 0, NULL},
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

void svm_exit_init(const struct virt_caps *caps) {
    for (size_t i = 0; i < sizeof(svm_exits) / sizeof(svm_exits[0]); i++) {
        svm_exits[i].length_mask = caps->nrip && is_instruction(svm_exits[i].kind) ? UINT32_MAX : 0;
    }
}

static __attribute__((always_inline)) inline void enter_once(struct vcpu *v, struct exit_record *e) {
    struct vmcb *b = svm_vmcb(v);
    uint32_t code = svm_switch(v);

    e->raw = code;
    if (__builtin_expect(code > SVM_NOT_ENTERED, 0)) {
        e->length = 0;
        if (code == VMEXIT_NPF) {
            e->kind = EXIT_NESTED_FAULT;
            fill_npf(v, b, e);
        } else {
            e->kind = code == VMEXIT_INVALID ? EXIT_ENTRY_FAILED : EXIT_UNKNOWN;
            fill_info(v, b, e);
        }
        return;
    }
    const struct svm_exit *x = &svm_exits[code];
    e->kind = x->kind;
    e->length = (uint32_t)(b->nrip - v->rip) & x->length_mask;
    if (x->fill) {
        x->fill(v, b, e);
    }
}

// Moving RIP past an instruction is its end: the interrupt shadow it ran in is
// over, and a single step that the guest asked for is due (APM volume 2, 13.1.4).
static void end_instruction(struct vcpu *v, struct vmcb *b) {
    v->skipped = false;
    b->interrupt_shadow = 0;
    if ((b->rflags & RFLAGS_TF) && !(b->eventinj & EVENTINJ_V)) {
        b->dr6 |= DR6_BS;
        b->eventinj = EVENTINJ_V | EVENT_EXCEPTION << EVENTINJ_TYPE_SHIFT | EXC_DB;
    }
}

static __attribute__((noinline)) void enter_with_attention(struct vcpu *v, struct exit_record *e) {
    struct svm_control *c = svm_control(v);
    struct vmcb *b = &c->vmcb;

    if (v->nested_seen != v->guest->nested_generation || (c->attention & SVM_ATTENTION_FLUSH)) {
        v->nested_seen = v->guest->nested_generation;
        b->tlb_control = virt_caps.flush_by_asid ? TLB_CONTROL_FLUSH_ASID : TLB_CONTROL_FLUSH_ALL;
    }
    if ((c->attention & SVM_ATTENTION_NMI) && !c->nmi_masked && !(b->eventinj & EVENTINJ_V)) {
        c->attention &= ~(uint32_t)SVM_ATTENTION_NMI;
        virt->inject(v, EVENT_VALID | EVENT_NMI << EVENT_TYPE_SHIFT | EXC_NMI, 0);
    }
    bool debug = c->attention & SVM_ATTENTION_DEBUG;
    if (debug) {
        vcpu_debug_arm(v, b->dr7);
    }
    enter_once(v, e);
    if (debug) {
        vcpu_debug_disarm();
    }
    if (e->raw == SVM_NOT_ENTERED && b->tlb_control != TLB_CONTROL_NONE) {
        v->nested_seen = UINT64_MAX; // still to be done
    }
    b->tlb_control = TLB_CONTROL_NONE;
}

void svm_enter(struct vcpu *v, struct exit_record *e) {
    struct svm_control *c = svm_control(v);

    if (v->skipped) {
        end_instruction(v, &c->vmcb);
    }
    if (__builtin_expect(c->attention || v->nested_seen != v->guest->nested_generation, 0)) {
        enter_with_attention(v, e);
    } else {
        enter_once(v, e);
    }
}
