// NMIs and windows that wait for the guest's next instruction: its IRET, which ends an NMI
// handler, or the one in an interrupt shadow that the CPU does not load (15.21.5). That one
// instruction runs as a single step of the monitor's own.
#include "virt/decode.h"
#include "virt/guest.h"
#include "virt/svm.h"
#include "virt/x86.h"

enum {
    INSN_BYTES = 15,
    NMI_LATCHES = 2, // one on its way and one that waits (SDM 3A 6.7.1)
};

bool svm_in_shadow(const struct vcpu *v) {
    const struct vmcb *b = svm_vmcb(v);
    return (b->interrupt_shadow & INTERRUPT_SHADOW) && v->rip == b->rip;
}

// ---- One step ----

static bool is_prefix(uint8_t byte) {
    return byte == 0x66 || byte == 0x67 || byte == 0xF0 || byte == 0xF2 || byte == 0xF3 ||
        (byte & 0xE7) == 0x26 || (byte & 0xFE) == 0x64;
}

// It would show the guest our TF, or take TF from its stack: INT n, INT1, INT3, INTO, PUSHF,
// POPF, IRET, SYSCALL, SYSENTER.
static bool sees_flags(struct vcpu *v) {
    uint8_t bytes[INSN_BYTES];
    int count = vcpu_insn_bytes(v, bytes), i = 0;
    while (i < count && (is_prefix(bytes[i]) ||
        ((svm_vmcb(v)->cs.attributes & VMCB_ATTR_L) && (bytes[i] & 0xF0) == 0x40))) {
        i++;
    }
    if (i >= count) {
        return true; // it cannot be read
    }
    switch (bytes[i]) {
        case 0x9C: case 0x9D: case 0xCC: case 0xCD: case 0xCE: case 0xCF: case 0xF1:
            return true;
        case 0x0F:
            return i + 1 >= count || bytes[i + 1] == 0x05 || bytes[i + 1] == 0x34;
        default:
            return false;
    }
}

static void begin(struct vcpu *v) {
    struct svm_control *c = svm_control(v);
    struct vmcb *b = &c->vmcb;
    c->step = SVM_STEP_ARMED;
    c->step_rip = v->rip;
    c->step_dr6 = b->dr6;
    c->step_shadow = b->interrupt_shadow & INTERRUPT_SHADOW;
    c->step_flags = b->rflags & RFLAGS_TF;
    b->rflags |= RFLAGS_TF;
    b->v_intr &= ~V_IRQ; // the window would open before the step
}

static void end(struct vcpu *v, bool done, bool moved) {
    struct svm_control *c = svm_control(v);
    struct vmcb *b = &c->vmcb;
    if (!done && moved && !c->step_flags) {
        // Not the step's exit, and yet RIP has moved: the guest's handler of a fault runs,
        // and our TF lies on its stack.
        c->step = SVM_STEP_LEAKED;
        return;
    }
    c->step = SVM_STEP_NONE;
    if (!done && !moved && !virt_caps.shadow_loaded) {
        b->interrupt_shadow |= c->step_shadow; // an exit came before the step, and has lost it
    }
    if (!done || !c->nmi_iret) {
        b->rflags = (b->rflags & ~RFLAGS_TF) | c->step_flags; // an IRET has loaded them
    }
    if (v->window_open_wanted) {
        virt->window(v, true);
    }
}

void svm_step_after(struct vcpu *v) {
    struct svm_control *c = svm_control(v);
    struct vmcb *b = &c->vmcb;
    bool done = b->exitcode == VMEXIT_EXCP0 + EXC_DB && (b->dr6 & DR6_BS);
    if (c->step == SVM_STEP_LEAKED) {
        if (done) {
            c->step = SVM_STEP_NONE;
            c->step_swallow = true;
            b->rflags &= ~RFLAGS_TF;
            b->dr6 &= ~DR6_BS;
        }
        return;
    }
    end(v, done, b->rip != c->step_rip);
    if (done && c->nmi_iret) {
        c->nmi_iret = c->nmi_masked = false;
        c->attention &= ~(uint32_t)SVM_ATTENTION_IRET;
    }
    if (done && !c->step_flags) { // the guest has asked for none
        c->step_swallow = true;
        b->dr6 = c->step_dr6;
    }
}

void svm_step_undo(struct vcpu *v) {
    struct svm_control *c = svm_control(v);
    if (c->step == SVM_STEP_ARMED) {
        end(v, false, false);
    }
}

// ---- What waits ----

bool svm_nmi_masked(struct vcpu *v) {
    struct svm_control *c = svm_control(v);
    if ((c->attention & SVM_ATTENTION_IRET) && v->rip != c->iret_rip) { // it is done
        c->nmi_iret = c->nmi_masked = false;
        c->attention &= ~(uint32_t)SVM_ATTENTION_IRET;
    }
    return c->nmi_masked;
}

void svm_nmi_wait(struct vcpu *v) {
    struct svm_control *c = svm_control(v);
    uint8_t limit = c->nmi_masked ? NMI_LATCHES - 1 : NMI_LATCHES;
    if (c->nmi_waiting < limit) {
        c->nmi_waiting++;
    }
    c->attention |= SVM_ATTENTION_NMI;
}

// The intercept comes before the IRET.
void svm_iret(struct vcpu *v) {
    struct svm_control *c = svm_control(v);
    c->nmi_iret = true;
    c->iret_rip = v->rip;
    c->attention |= SVM_ATTENTION_IRET;
    c->vmcb.intercept_vector3 &= ~INTERCEPT_IRET;
}

static void offer_nmi(struct vcpu *v) {
    struct svm_control *c = svm_control(v);
    if (c->nmi_masked || svm_in_shadow(v)) {
        return;
    }
    if (c->vmcb.eventinj & EVENTINJ_V) {
        virt->window(v, true); // at the latest when that event's handler lets interrupts in
        return;
    }
    if (--c->nmi_waiting == 0) {
        c->attention &= ~(uint32_t)SVM_ATTENTION_NMI;
    }
    virt->inject(v, EVENT_VALID | EVENT_NMI << EVENT_TYPE_SHIFT | EXC_NMI, 0);
}

void svm_step_before(struct vcpu *v) {
    struct svm_control *c = svm_control(v);
    (void)svm_nmi_masked(v);
    if (svm_in_shadow(v) && sees_flags(v)) {
        c->vmcb.interrupt_shadow = 0;
    }
    if (c->attention & SVM_ATTENTION_NMI) {
        offer_nmi(v);
    }
    if ((c->attention & SVM_ATTENTION_WINDOW) && !svm_in_shadow(v)) {
        c->attention &= ~(uint32_t)SVM_ATTENTION_WINDOW;
        virt->window(v, true);
    }
    bool waits = (c->attention & SVM_ATTENTION_WINDOW) ||
        ((c->attention & SVM_ATTENTION_NMI) && (c->nmi_iret || svm_in_shadow(v)));
    if (waits && c->step == SVM_STEP_NONE && !(c->vmcb.eventinj & EVENTINJ_V)) {
        begin(v);
    }
}
