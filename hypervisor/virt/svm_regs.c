// Registers and segments of a guest, between the VMCB and neutral terms.
#include "virt/svm.h"

#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/string.h"
#include "virt/guest.h"
#include "virt/x86.h"

#define EFER_SETTABLE (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_LMSLE | EFER_FFXSR | EFER_TCE)
#define SEG_ATTR_LOW UINT32_C(0xFF) // type, S, DPL, P
#define SEG_ATTR_HIGH UINT32_C(0xF000) // AVL, L, D/B, G
#define SEG_ATTR_HIGH_SHIFT 4 // the VMCB keeps them right above the low byte
#define SEG_ATTR_P UINT32_C(0x80)
#define SEG_ATTR_DPL (UINT32_C(3) << SEG_ATTR_DPL_SHIFT)

// EFER.LMA follows from LME and CR0.PG, in whatever order the two are set. SVME
// must be set in the VMCB (15.5.1) and is never shown to the guest.
static void settle_efer(struct vmcb *b) {
    bool lma = (b->efer & EFER_LME) && (b->cr0 & CR0_PG);
    b->efer = (b->efer & ~EFER_LMA) | (lma ? EFER_LMA : 0) | EFER_SVME;
}

bool svm_pat_valid(uint64_t pat) {
    for (int i = 0; i < 8; i++) {
        uint64_t type = pat >> (8 * i) & 0xFF;
        if (type > 7 || type == 2 || type == 3) { // 7.8.1: reserved
            return false;
        }
    }
    return true;
}

// The registers that a MOV takes #GP for (APM volume 2, 3.1; a guest's own MOVs are
// judged by the CPU). Each sees the others as they are now.
static bool cr0_valid(const struct vmcb *b, uint64_t value) {
    if (value >> 32 || ((value & CR0_PG) && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD))) {
        return false;
    }
    return !(value & CR0_PG) || !(b->efer & EFER_LME) || (b->cr4 & CR4_PAE);
}

static bool cr4_valid(const struct vmcb *b, uint64_t value, uint64_t hidden) {
    if ((value & ~CR4_DEFINED) != 0 || (value & hidden) != 0) {
        return false;
    }
    bool lma = b->efer & EFER_LMA;
    if (!lma) {
        return !(value & CR4_PCIDE);
    }
    bool sets_pcide = value & ~b->cr4 & CR4_PCIDE;
    return (value & CR4_PAE) && !((value ^ b->cr4) & CR4_LA57) && !(sets_pcide && (b->cr3 & CR3_PCID));
}

static bool efer_valid(const struct vmcb *b, uint64_t value) {
    return !(value & ~EFER_SETTABLE) && !((b->cr0 & CR0_PG) && ((value ^ b->efer) & EFER_LME));
}

static bool cr3_valid(const struct vmcb *b, uint64_t value) {
    // Bit 63 may be set by a MOV only, to say that nothing is to be flushed.
    return !(b->efer & EFER_LMA) || !(value >> virt_caps.phys_bits);
}

uint64_t svm_reg_get(struct vcpu *v, enum vreg reg) {
    const struct vmcb *b = svm_vmcb(v);
    switch (reg) {
        case REG_RFLAGS:
            return b->rflags;
        case REG_CR0:
            return b->cr0;
        case REG_CR2:
            return b->cr2;
        case REG_CR3:
            return b->cr3;
        case REG_CR4:
            return b->cr4;
        case REG_EFER:
            return b->efer & ~EFER_SVME;
        case REG_DR6:
            return b->dr6;
        case REG_DR7:
            return b->dr7;
        case REG_GDT_BASE:
            return b->gdtr.base;
        case REG_GDT_LIMIT:
            return b->gdtr.limit;
        case REG_IDT_BASE:
            return b->idtr.base;
        case REG_IDT_LIMIT:
            return b->idtr.limit;
        case REG_STAR:
            return b->star;
        case REG_LSTAR:
            return b->lstar;
        case REG_CSTAR:
            return b->cstar;
        case REG_FMASK:
            return b->sfmask;
        case REG_KERNEL_GS_BASE:
            return b->kernel_gs_base;
        case REG_SYSENTER_CS:
            return b->sysenter_cs;
        case REG_SYSENTER_ESP:
            return b->sysenter_esp;
        case REG_SYSENTER_EIP:
            return b->sysenter_eip;
        case REG_PAT:
            return b->g_pat;
        case REG_SHADOW:
            return v->rip == b->rip ? b->interrupt_shadow & INTERRUPT_SHADOW : 0;
        case REG_ACTIVITY:
            return v->state == VCPU_HALTED;
        case REG_COUNT:
            break;
    }
    return 0;
}

int svm_reg_set(struct vcpu *v, enum vreg reg, uint64_t value) {
    struct svm_control *c = svm_control(v);
    struct vmcb *b = &c->vmcb;
    c->attention |= SVM_ATTENTION_CHECK;
    switch (reg) {
        case REG_RFLAGS:
            b->rflags = value | RFLAGS_FIXED;
            return 0;
        case REG_CR0:
            if (!cr0_valid(b, value)) {
                return -EINVAL;
            }
            b->cr0 = value | CR0_ET;
            c->attention |= SVM_ATTENTION_FLUSH;
            settle_efer(b);
            return 0;
        case REG_CR2:
            b->cr2 = value;
            return 0;
        case REG_CR3:
            if (!cr3_valid(b, value)) {
                return -EINVAL;
            }
            b->cr3 = value;
            c->attention |= SVM_ATTENTION_FLUSH;
            return 0;
        case REG_CR4:
            if (!cr4_valid(b, value, v->guest->cr4_hidden)) {
                return -EINVAL;
            }
            b->cr4 = value;
            c->attention |= SVM_ATTENTION_FLUSH;
            return 0;
        case REG_EFER:
            if (!efer_valid(b, value)) {
                return -EINVAL;
            }
            b->efer = value;
            settle_efer(b);
            return 0;
        case REG_DR6:
            if (value >> 32) {
                return -EINVAL;
            }
            b->dr6 = value | DR6_FIXED;
            return 0;
        case REG_DR7:
            if (value >> 32) {
                return -EINVAL;
            }
            b->dr7 = value | DR7_FIXED;
            if (value & DR7_ENABLES) {
                c->attention |= SVM_ATTENTION_DEBUG;
            } else {
                c->attention &= ~(uint32_t)SVM_ATTENTION_DEBUG;
            }
            return 0;
        case REG_GDT_BASE:
            b->gdtr.base = value;
            return 0;
        case REG_GDT_LIMIT:
            b->gdtr.limit = (uint16_t)value;
            return 0;
        case REG_IDT_BASE:
            b->idtr.base = value;
            return 0;
        case REG_IDT_LIMIT:
            b->idtr.limit = (uint16_t)value;
            return 0;
        case REG_STAR:
            b->star = value;
            return 0;
        case REG_LSTAR:
            b->lstar = value;
            return 0;
        case REG_CSTAR:
            b->cstar = value;
            return 0;
        case REG_FMASK:
            b->sfmask = value;
            return 0;
        case REG_KERNEL_GS_BASE:
            b->kernel_gs_base = value;
            return 0;
        case REG_SYSENTER_CS:
            b->sysenter_cs = value;
            return 0;
        case REG_SYSENTER_ESP:
            b->sysenter_esp = value;
            return 0;
        case REG_SYSENTER_EIP:
            b->sysenter_eip = value;
            return 0;
        case REG_PAT:
            if (!svm_pat_valid(value)) {
                return -EINVAL;
            }
            v->pat = value;
            b->g_pat = value;
            return 0;
        case REG_SHADOW:
            b->rip = v->rip;
            b->interrupt_shadow = value & INTERRUPT_SHADOW;
            return 0;
        case REG_ACTIVITY:
            // There is no such field: a halted vCPU is one that is not entered.
            if (v->state == VCPU_RUNNABLE || v->state == VCPU_HALTED) {
                v->state = value ? VCPU_HALTED : VCPU_RUNNABLE;
            }
            return value > 1 ? -EINVAL : 0;
        case REG_COUNT:
            break;
    }
    return -EINVAL;
}

static struct vmcb_segment *segment(struct vmcb *b, enum vseg seg) {
    switch (seg) {
        case SEG_ES:
            return &b->es;
        case SEG_CS:
            return &b->cs;
        case SEG_SS:
            return &b->ss;
        case SEG_DS:
            return &b->ds;
        case SEG_FS:
            return &b->fs;
        case SEG_GS:
            return &b->gs;
        case SEG_LDTR:
            return &b->ldtr;
        case SEG_TR:
            return &b->tr;
        case SEG_COUNT:
            break;
    }
    return NULL;
}

void svm_seg_get(struct vcpu *v, enum vseg seg, struct segment *s) {
    struct vmcb *b = svm_vmcb(v);
    const struct vmcb_segment *from = segment(b, seg);
    if (!from) {
        memset(s, 0, sizeof(*s));
        return;
    }
    s->selector = from->selector;
    s->base = from->base;
    s->limit = from->limit;
    s->attributes = (from->attributes & SEG_ATTR_LOW) |
        ((uint32_t)from->attributes << SEG_ATTR_HIGH_SHIFT & SEG_ATTR_HIGH);
    if (!(s->attributes & SEG_ATTR_P)) {
        s->attributes |= SEG_ATTR_UNUSABLE;
    }
    if (seg == SEG_SS) {
        // The CPL lies in a field of its own; SS.DPL need not follow it (15.5.1).
        s->attributes = (s->attributes & ~SEG_ATTR_DPL) | (uint32_t)b->cpl << SEG_ATTR_DPL_SHIFT;
    }
}

int svm_seg_set(struct vcpu *v, enum vseg seg, const struct segment *s) {
    struct vmcb *b = svm_vmcb(v);
    struct vmcb_segment *to = segment(b, seg);
    if (!to) {
        return -EINVAL;
    }
    svm_control(v)->attention |= SVM_ATTENTION_CHECK;
    uint32_t attributes = s->attributes;
    if (attributes & SEG_ATTR_UNUSABLE) {
        attributes &= ~SEG_ATTR_P;
    }
    to->selector = s->selector;
    to->base = s->base;
    to->limit = s->limit;
    to->attributes =
        (uint16_t)((attributes & SEG_ATTR_LOW) | (attributes & SEG_ATTR_HIGH) >> SEG_ATTR_HIGH_SHIFT);
    if (seg == SEG_SS) {
        b->cpl = (uint8_t)((attributes & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT);
    }
    return 0;
}

struct fetch_state svm_fetch_state(struct vcpu *v) {
    const struct vmcb *b = svm_vmcb(v);
    if (fetch_is_plain((uint32_t)b->cs.attributes << SEG_ATTR_HIGH_SHIFT, b->efer, b->cr4)) {
        return (struct fetch_state){ v->rip, b->cr3 };
    }
    barrier(); // the hot case above loads nothing that only this one needs
    return fetch_state_of(v->rip, b->cs.base, (uint32_t)b->cs.attributes << SEG_ATTR_HIGH_SHIFT, b->cr0,
        b->cr3, b->cr4, b->efer);
}

// `field` is the byte offset in the VMCB of a value up to 8 bytes long.
int svm_field_get(struct vcpu *v, uint32_t field, uint64_t *value) {
    if (field > sizeof(struct vmcb) - sizeof(*value)) {
        return -EINVAL;
    }
    memcpy(value, (const uint8_t *)v->control + field, sizeof(*value));
    return 0;
}

// Table 14-1, processor state after RESET#.
void svm_reset_state(struct vmcb *b) {
    const struct vmcb_segment data = {.attributes = 0x93, .limit = 0xFFFF};
    b->es = b->ss = b->ds = b->fs = b->gs = data;
    b->cs = (struct vmcb_segment){
        .selector = 0xF000, .attributes = 0x9B, .limit = 0xFFFF, .base = 0xFFFF0000};
    b->gdtr = b->idtr = (struct vmcb_segment){.limit = 0xFFFF};
    b->ldtr = (struct vmcb_segment){.attributes = 0x82, .limit = 0xFFFF};
    b->tr = (struct vmcb_segment){.attributes = 0x8B, .limit = 0xFFFF};
    b->cpl = 0;
    b->efer = EFER_SVME;
    b->cr0 = CR0_CD | CR0_NW | CR0_ET;
    b->cr2 = b->cr3 = b->cr4 = 0;
    b->dr6 = DR6_FIXED;
    b->dr7 = DR7_FIXED;
    b->rflags = RFLAGS_FIXED;
    b->g_pat = PAT_RESET;
    b->star = b->lstar = b->cstar = b->sfmask = b->kernel_gs_base = 0;
    b->sysenter_cs = b->sysenter_esp = b->sysenter_eip = 0;
    b->dbgctl = 0;
}
