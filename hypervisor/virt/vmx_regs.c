// Registers and segments behind the seam, with the guest/host masks, read shadows and the
// entry control that follow them. All of it on the current VMCS.
#include "cpu/err.h"
#include "cpu/insn.h"
#include "virt/vmx.h"
#include "virt/guest.h"
#include "virt/x86.h"

#define CR0_VALID (UINT64_C(0xFFFFFFFF))
#define CR3_NO_FLUSH (UINT64_C(1) << 63)
#define EFER_VALID (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)
#define DR6_VALID UINT64_C(0xFFFFFFFF)
#define DR7_VALID UINT64_C(0xFFFFFFFF)
#define LIMIT_UNSCALED_MAX UINT32_C(0xFFFFF)
#define LIMIT_PAGE_MASK UINT32_C(0xFFF)

static uint64_t get_cr0(void) {
    uint64_t owned = vmx_machine.cr0_owned;
    return (vmx_read(VMCS_GUEST_CR0) & ~owned) | (vmx_read(VMCS_CR0_READ_SHADOW) & owned);
}

static uint64_t get_cr4(void) {
    uint64_t owned = vmx_machine.cr4_owned;
    return (vmx_read(VMCS_GUEST_CR4) & ~owned) | (vmx_read(VMCS_CR4_READ_SHADOW) & owned);
}

bool vmx_pae_active(void) {
    return (vmx_read(VMCS_GUEST_CR0) & CR0_PG) && (vmx_read(VMCS_GUEST_CR4) & CR4_PAE) &&
        !(vmx_read(VMCS_GUEST_IA32_EFER) & EFER_LMA);
}

struct fetch_state vmx_fetch_state(struct vcpu *v) {
    uint32_t rights = vmx_read32(VMCS_GUEST_ES_ACCESS_RIGHTS + SEG_CS * VMCS_SEGMENT_STRIDE);
    // No guest has 5-level paging here (cr4_owned).
    if (__builtin_expect(fetch_is_plain(rights, vmx_read(VMCS_GUEST_IA32_EFER), 0), 1)) {
        return (struct fetch_state) { v->rip, vmx_read(VMCS_GUEST_CR3) };
    }
    return fetch_state_of(v->rip, vmx_read(VMCS_GUEST_ES_BASE + SEG_CS * VMCS_SEGMENT_STRIDE),
        rights, vmx_read(VMCS_GUEST_CR0),
        vmx_read(VMCS_GUEST_CR3), vmx_read(VMCS_GUEST_CR4), vmx_read(VMCS_GUEST_IA32_EFER));
}

// EFER.LMA is LME and paging, and the entry control repeats it. What the guest changes by
// itself the CPU keeps up (SDM 27.2: exits store LMA in the control); this is for changes
// from outside, in whatever order they come.
static void set_efer(uint64_t efer, uint64_t cr0) {
    bool long_mode = (efer & EFER_LME) && (cr0 & CR0_PG);
    efer = long_mode ? efer | EFER_LMA : efer & ~EFER_LMA;
    uint64_t controls = vmx_read(VMCS_ENTRY_CONTROLS);
    controls = long_mode ? controls | ENTRY_CTL_IA32E : controls & ~(uint64_t)ENTRY_CTL_IA32E;
    vmx_write(VMCS_GUEST_IA32_EFER, efer);
    vmx_write(VMCS_ENTRY_CONTROLS, controls);
}

static int set_cr0(struct vcpu *v, uint64_t value) {
    const struct vmx_machine *m = &vmx_machine;
    if ((value & ~CR0_VALID) || ((value & CR0_PG) && !(value & CR0_PE)) ||
        ((value & CR0_NW) && !(value & CR0_CD))) {
        return -EINVAL;
    }
    uint64_t shadow = (value | CR0_ET) & (m->cr0_fixed1 | CR0_CD | CR0_NW);
    vmx_write(VMCS_GUEST_CR0, (shadow & ~m->cr0_owned) | m->cr0_always);
    vmx_write(VMCS_CR0_READ_SHADOW, shadow);
    set_efer(vmx_read(VMCS_GUEST_IA32_EFER), value);
    vmx_postpone(v, VMX_FLUSH_VPID | VMX_LOAD_PDPTES);
    return 0;
}

static int set_cr4(struct vcpu *v, uint64_t value) {
    const struct vmx_machine *m = &vmx_machine;
    if (value & (~((~m->cr4_owned | CR4_MCE) & m->cr4_fixed1) | v->guest->cr4_hidden)) {
        return -EINVAL; // VMXE and what this CPU or the guest's world does not have
    }
    bool long_mode = (vmx_read(VMCS_GUEST_IA32_EFER) & EFER_LMA) != 0;
    if (long_mode ? !(value & CR4_PAE) : (value & CR4_PCIDE) != 0) {
        return -EINVAL; // SDM volume 2, MOV to CR4
    }
    vmx_write(VMCS_GUEST_CR4, (value & ~m->cr4_owned) | m->cr4_always);
    vmx_write(VMCS_CR4_READ_SHADOW, value);
    vmx_postpone(v, VMX_FLUSH_VPID | VMX_LOAD_PDPTES);
    return 0;
}

static int set_cr3(struct vcpu *v, uint64_t value) {
    value &= ~CR3_NO_FLUSH;
    if (value >> virt_caps.phys_bits) {
        return -EINVAL;
    }
    vmx_write(VMCS_GUEST_CR3, value);
    vmx_postpone(v, VMX_FLUSH_VPID | VMX_LOAD_PDPTES);
    return 0;
}

static void set_rflags(uint64_t value) {
    vmx_write(VMCS_GUEST_RFLAGS, (value & ~RFLAGS_RESERVED) | RFLAGS_FIXED);
    if (!(value & RFLAGS_IF)) { // blocking by STI goes with IF = 1 only (SDM 26.3.1.5)
        vmx_write(VMCS_GUEST_INTERRUPTIBILITY_STATE,
            vmx_read(VMCS_GUEST_INTERRUPTIBILITY_STATE) & ~(uint64_t)BLOCKING_BY_STI);
    }
}

static void set_shadow(struct vcpu *v, bool on) {
    uint64_t state = vmx_read(VMCS_GUEST_INTERRUPTIBILITY_STATE) & ~(uint64_t)(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
    if (on) {
        v->skipped = false;
        state |= vmx_read(VMCS_GUEST_RFLAGS) & RFLAGS_IF ? BLOCKING_BY_STI : BLOCKING_BY_MOV_SS;
    }
    vmx_write(VMCS_GUEST_INTERRUPTIBILITY_STATE, state);
}

uint64_t vmx_reg_get(struct vcpu *v, enum vreg reg) {
    switch (reg) {
        case REG_RFLAGS: return vmx_read(VMCS_GUEST_RFLAGS);
        case REG_CR0: return get_cr0();
        case REG_CR2: return read_cr2(); // not in the VMCS: lives in the CPU
        case REG_CR3: return vmx_read(VMCS_GUEST_CR3);
        case REG_CR4: return get_cr4();
        case REG_EFER: return vmx_read(VMCS_GUEST_IA32_EFER);
        case REG_DR6: return read_dr6();
        case REG_DR7: return vmx_read(VMCS_GUEST_DR7);
        case REG_GDT_BASE: return vmx_read(VMCS_GUEST_GDTR_BASE);
        case REG_GDT_LIMIT: return vmx_read(VMCS_GUEST_GDTR_LIMIT);
        case REG_IDT_BASE: return vmx_read(VMCS_GUEST_IDTR_BASE);
        case REG_IDT_LIMIT: return vmx_read(VMCS_GUEST_IDTR_LIMIT);
        case REG_STAR: return rdmsr(MSR_IA32_STAR);
        case REG_LSTAR: return rdmsr(MSR_IA32_LSTAR);
        case REG_CSTAR: return rdmsr(MSR_IA32_CSTAR);
        case REG_FMASK: return rdmsr(MSR_IA32_FMASK);
        case REG_KERNEL_GS_BASE: return rdmsr(MSR_IA32_KERNEL_GS_BASE);
        case REG_SYSENTER_CS: return vmx_read(VMCS_GUEST_IA32_SYSENTER_CS);
        case REG_SYSENTER_ESP: return vmx_read(VMCS_GUEST_IA32_SYSENTER_ESP);
        case REG_SYSENTER_EIP: return vmx_read(VMCS_GUEST_IA32_SYSENTER_EIP);
        case REG_PAT: return v->pat;
        case REG_SHADOW:
            return !v->skipped && (vmx_read(VMCS_GUEST_INTERRUPTIBILITY_STATE) &
                (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS)) != 0;
        case REG_ACTIVITY: return v->state == VCPU_HALTED;
        case REG_COUNT: break;
    }
    return 0;
}

// Bits 63 to 47 of an address are one sign on a CPU with 48-bit linear addresses.
static bool canonical(uint64_t address) {
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

static int set_address_msr(uint32_t msr, uint64_t value) {
    if (!canonical(value)) {
        return -EINVAL;
    }
    wrmsr(msr, value);
    return 0;
}

static int set_address_field(uint32_t field, uint64_t value) {
    if (!canonical(value)) {
        return -EINVAL;
    }
    vmx_write(field, value);
    return 0;
}

static int set_limit(uint32_t field, uint64_t value) {
    if (value > UINT16_MAX) {
        return -EINVAL; // SDM 26.3.1.3
    }
    vmx_write(field, value);
    return 0;
}

static bool pat_valid(uint64_t value) {
    for (int i = 0; i < 8; i++, value >>= 8) {
        uint64_t type = value & 0xFF;
        if (type > 7 || type == 2 || type == 3) {
            return false;
        }
    }
    return true;
}

int vmx_reg_set(struct vcpu *v, enum vreg reg, uint64_t value) {
    switch (reg) {
        case REG_RFLAGS: set_rflags(value); return 0;
        case REG_CR0: return set_cr0(v, value);
        case REG_CR2: write_cr2(value); return 0;
        case REG_CR3: return set_cr3(v, value);
        case REG_CR4: return set_cr4(v, value);
        case REG_EFER:
            if (value & ~EFER_VALID) {
                return -EINVAL;
            }
            set_efer(value, vmx_read(VMCS_GUEST_CR0));
            vmx_postpone(v, VMX_FLUSH_VPID | VMX_LOAD_PDPTES);
            return 0;
        case REG_DR6:
            if (value & ~DR6_VALID) {
                return -EINVAL;
            }
            write_dr6(value);
            return 0;
        case REG_DR7:
            if (value & ~DR7_VALID) {
                return -EINVAL;
            }
            vmx_write(VMCS_GUEST_DR7, value | DR7_FIXED);
            vmx_postpone(v, VMX_LOAD_DR);
            return 0;
        case REG_GDT_BASE: return set_address_field(VMCS_GUEST_GDTR_BASE, value);
        case REG_GDT_LIMIT: return set_limit(VMCS_GUEST_GDTR_LIMIT, value);
        case REG_IDT_BASE: return set_address_field(VMCS_GUEST_IDTR_BASE, value);
        case REG_IDT_LIMIT: return set_limit(VMCS_GUEST_IDTR_LIMIT, value);
        case REG_STAR: wrmsr(MSR_IA32_STAR, value); return 0;
        case REG_LSTAR: return set_address_msr(MSR_IA32_LSTAR, value);
        case REG_CSTAR: return set_address_msr(MSR_IA32_CSTAR, value);
        case REG_FMASK: wrmsr(MSR_IA32_FMASK, value & UINT32_MAX); return 0;
        case REG_KERNEL_GS_BASE: return set_address_msr(MSR_IA32_KERNEL_GS_BASE, value);
        case REG_SYSENTER_CS: vmx_write(VMCS_GUEST_IA32_SYSENTER_CS, value & UINT32_MAX); return 0;
        case REG_SYSENTER_ESP: return set_address_field(VMCS_GUEST_IA32_SYSENTER_ESP, value);
        case REG_SYSENTER_EIP: return set_address_field(VMCS_GUEST_IA32_SYSENTER_EIP, value);
        case REG_PAT:
            if (!pat_valid(value)) {
                return -EINVAL;
            }
            v->pat = value;
            vmx_write(VMCS_GUEST_IA32_PAT, value);
            return 0;
        case REG_SHADOW: set_shadow(v, value != 0); return 0;
        case REG_ACTIVITY:
            // The field stays "active": a halted vCPU is one that is not entered.
            if (value > 1) {
                return -EINVAL;
            }
            if (v->state == VCPU_RUNNABLE || v->state == VCPU_HALTED) {
                v->state = value ? VCPU_HALTED : VCPU_RUNNABLE;
            }
            return 0;
        case REG_COUNT: break;
    }
    return -EINVAL;
}

// enum vseg is in the order of the VMCS' own segment fields.
_Static_assert(VMCS_GUEST_ES_SELECTOR + SEG_TR * VMCS_SEGMENT_STRIDE == VMCS_GUEST_TR_SELECTOR, "segment order");

static uint32_t segment_field(uint32_t es_field, enum vseg seg) {
    return es_field + (uint32_t)seg * VMCS_SEGMENT_STRIDE;
}

void vmx_seg_get(struct vcpu *v, enum vseg seg, struct segment *s) {
    (void)v;
    s->selector = (uint16_t)vmx_read(segment_field(VMCS_GUEST_ES_SELECTOR, seg));
    s->base = vmx_read(segment_field(VMCS_GUEST_ES_BASE, seg));
    s->limit = vmx_read32(segment_field(VMCS_GUEST_ES_LIMIT, seg));
    s->attributes = vmx_read32(segment_field(VMCS_GUEST_ES_ACCESS_RIGHTS, seg));
}

unsigned vmx_cpl(struct vcpu *v) {
    (void)v;
    return vmx_read32(VMCS_GUEST_ES_ACCESS_RIGHTS + SEG_SS * VMCS_SEGMENT_STRIDE) >> SEG_ATTR_DPL_SHIFT & 3;
}

// What a descriptor load would have done is done here: accessed and busy bits, unusable for
// a null or absent segment, G as the limit needs it (SDM 26.3.1.2).
static int access_rights(enum vseg seg, const struct segment *s, uint32_t *rights) {
    uint32_t ar = s->attributes & ~AR_RESERVED;
    bool needed = seg == SEG_CS || seg == SEG_TR;
    if ((ar & SEG_ATTR_UNUSABLE) || !(ar & AR_P)) {
        if (needed) {
            return -EINVAL;
        }
        // SS.DPL is the CPL even then.
        *rights = SEG_ATTR_UNUSABLE | (seg == SEG_SS ? ar & UINT32_C(3) << SEG_ATTR_DPL_SHIFT : 0);
        return 0;
    }
    if (seg == SEG_TR) {
        ar |= AR_TYPE_BUSY;
    } else if (seg != SEG_LDTR) {
        ar |= AR_TYPE_ACCESSED;
    }
    if (s->limit > LIMIT_UNSCALED_MAX) {
        if ((s->limit & LIMIT_PAGE_MASK) != LIMIT_PAGE_MASK) {
            return -EINVAL; // no descriptor can say so
        }
        ar |= SEG_ATTR_G;
    } else if ((s->limit & LIMIT_PAGE_MASK) != LIMIT_PAGE_MASK) {
        ar &= ~SEG_ATTR_G;
    }
    *rights = ar;
    return 0;
}

int vmx_seg_set(struct vcpu *v, enum vseg seg, const struct segment *s) {
    (void)v;
    uint32_t rights;
    int error = access_rights(seg, s, &rights);
    if (error) {
        return error;
    }
    bool wide = seg == SEG_FS || seg == SEG_GS || seg == SEG_TR || seg == SEG_LDTR;
    if (wide ? !canonical(s->base) : s->base > UINT32_MAX) {
        return -EINVAL;
    }
    vmx_write(segment_field(VMCS_GUEST_ES_SELECTOR, seg), s->selector);
    vmx_write(segment_field(VMCS_GUEST_ES_BASE, seg), s->base);
    vmx_write(segment_field(VMCS_GUEST_ES_LIMIT, seg), s->limit);
    vmx_write(segment_field(VMCS_GUEST_ES_ACCESS_RIGHTS, seg), rights);
    return 0;
}

// The state after power-on or reset.
void vmx_reset_state(struct vcpu *v) {
    enum {
        RESET_RIP = 0xFFF0, RESET_CS = 0xF000, RESET_LIMIT = 0xFFFF,
        AR_CODE = 0x9B, AR_DATA = 0x93, AR_LDT = 0x82, AR_TSS = 0x8B,
    };
    const uint64_t reset_cs_base = 0xFFFF0000;
    for (int i = 0; i < GPR_COUNT; i++) {
        v->gpr[i] = 0;
    }
    v->gpr[GPR_RDX] = cpuid(1, 0).eax;
    v->rip = RESET_RIP;
    v->skipped = v->skipped_late = false;
    v->window_open_wanted = false;
    vmx_write(VMCS_GUEST_IA32_EFER, 0);
    vmx_write(VMCS_GUEST_CR3, 0);
    (void)set_cr0(v, CR0_CD | CR0_NW | CR0_ET);
    (void)set_cr4(v, 0);
    for (int i = SEG_ES; i < SEG_COUNT; i++) {
        struct segment s = { .limit = RESET_LIMIT, .attributes = AR_DATA };
        if (i == SEG_CS) {
            s.selector = RESET_CS;
            s.base = reset_cs_base;
            s.attributes = AR_CODE;
        } else if (i == SEG_LDTR) {
            s.attributes = AR_LDT;
        } else if (i == SEG_TR) {
            s.attributes = AR_TSS;
        }
        (void)vmx_seg_set(v, (enum vseg)i, &s);
    }
    vmx_write(VMCS_GUEST_GDTR_BASE, 0);
    vmx_write(VMCS_GUEST_GDTR_LIMIT, RESET_LIMIT);
    vmx_write(VMCS_GUEST_IDTR_BASE, 0);
    vmx_write(VMCS_GUEST_IDTR_LIMIT, RESET_LIMIT);
    vmx_write(VMCS_GUEST_RFLAGS, RFLAGS_FIXED);
    vmx_write(VMCS_GUEST_RIP, v->rip);
    vmx_write(VMCS_GUEST_RSP, 0);
    vmx_write(VMCS_GUEST_DR7, DR7_FIXED);
    vmx_write(VMCS_GUEST_IA32_DEBUGCTL, 0);
    vmx_write(VMCS_GUEST_IA32_SYSENTER_CS, 0);
    vmx_write(VMCS_GUEST_IA32_SYSENTER_ESP, 0);
    vmx_write(VMCS_GUEST_IA32_SYSENTER_EIP, 0);
    vmx_write(VMCS_GUEST_IA32_PAT, PAT_RESET);
    v->pat = PAT_RESET;
    vmx_write(VMCS_GUEST_INTERRUPTIBILITY_STATE, 0);
    vmx_write(VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_ACTIVE);
    vmx_write(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
    vmx_write(VMCS_GUEST_SMBASE, 0);
    vmx_write(VMCS_LINK_POINTER, VMCS_NO_LINK);
    vmx_write(VMCS_ENTRY_INTERRUPTION_INFO, 0);
    for (uint32_t i = 0; i < 4; i++) {
        vmx_write(VMCS_GUEST_PDPTE0 + i * VMCS_SEGMENT_STRIDE, 0);
        v->dr[i] = 0;
    }
    struct vmx_vcpu *x = vmx_of(v);
    x->cr2 = 0;
    x->dr6 = DR6_FIXED;
    x->nmi_waiting = 0;
    x->failure = VMX_FAILURE_NONE;
}
