// CPUID and MSR exits answered from the tables that Python compiled.
//
// Both tables are sorted; a bucket array makes the hot lookup a handful of
// instructions and falls back to a search on a collision.
#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/string.h"
#include "virt/guest.h"
#include "virt/irq.h"
#include "virt/pvclock.h"
#include "virt/x86.h"

enum {
    EBX = 1, ECX = 2, // in an answer of CPUID
    CPUID_ECX_PCID = 1 << 17, // of leaf 1
    CPUID_ECX_X2APIC = 1 << 21,
    CPUID_ECX_XSAVE = 1 << 26,
    CPUID_ECX_OSXSAVE = 1 << 27,
    CPUID_EDX_APIC = 1 << 9,
    CPUID7_EBX_FSGSBASE = 1 << 0,
    CPUID7_EBX_SMEP = 1 << 7,
    CPUID7_EBX_SMAP = 1 << 20,
    CPUID7_ECX_UMIP = 1 << 2,
    CPUID7_ECX_PKU = 1 << 3,
    CPUID7_ECX_CET_SS = 1 << 7,
    CPUID7_ECX_LA57 = 1 << 16,
    MSR_TSC = 0x10, MSR_APIC_BASE = 0x1B, MSR_TSC_ADJUST = 0x3B, MSR_SYSENTER_CS = 0x174, MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176, MSR_PAT = 0x277, MSR_EFER = 0xC0000080u, MSR_STAR = 0xC0000081u,
    MSR_LSTAR = 0xC0000082u, MSR_CSTAR = 0xC0000083u, MSR_FMASK = 0xC0000084u, MSR_FS_BASE = 0xC0000100u,
    MSR_GS_BASE = 0xC0000101u, MSR_KERNEL_GS_BASE = 0xC0000102u, MSR_TSC_AUX = 0xC0000103u,
    EFER_FFXSR = 1 << 14,
    CR0_PG_BIT = 31,
};

#define EFER_KNOWN (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)
#define CPUID7_ECX_PKS (UINT32_C(1) << 31)

static uint32_t cpuid_hash(uint32_t leaf) {
    return (leaf ^ leaf >> 25) % CPUID_BUCKETS;
}

static uint32_t msr_hash(uint32_t index) {
    // Found by search: no two of the registers that hv/msr.py has and guests use often
    // share a bucket.
    _Static_assert(MSR_BUCKETS == 1 << 7, "the upper 7 bits of 32");
    return index * UINT32_C(0x475DB271) >> 25;
}

_Static_assert(offsetof(struct guest, cpuid_none) + sizeof(struct cpuid_entry) <= UINT16_MAX,
    "offsets of entries fit 16 bits");

static uint16_t offset_in(const struct guest *g, const void *at) {
    return (uint16_t)((const char *)at - (const char *)g);
}

static const struct cpuid_entry *find_cpuid(const struct guest *g, uint32_t leaf, uint32_t subleaf);

static bool shown(const struct guest *g, uint32_t leaf, uint32_t reg, uint32_t feature) {
    const struct cpuid_entry *e = find_cpuid(g, leaf, 0);
    return e != NULL && (e->fixed[reg] & feature) != 0;
}

// The bits of CR4 that are there only with a feature (SDM 3A 2.5).
static uint64_t cr4_hidden(const struct guest *g) {
    static const struct { uint32_t cr4, leaf, reg, feature; } features[] = {
        {CR4_UMIP, 7, ECX, CPUID7_ECX_UMIP}, {CR4_LA57, 7, ECX, CPUID7_ECX_LA57},
        {CR4_FSGSBASE, 7, EBX, CPUID7_EBX_FSGSBASE}, {CR4_PCIDE, 1, ECX, CPUID_ECX_PCID},
        {CR4_OSXSAVE, 1, ECX, CPUID_ECX_XSAVE}, {CR4_SMEP, 7, EBX, CPUID7_EBX_SMEP},
        {CR4_SMAP, 7, EBX, CPUID7_EBX_SMAP}, {CR4_PKE, 7, ECX, CPUID7_ECX_PKU},
        {CR4_CET, 7, ECX, CPUID7_ECX_CET_SS}, {CR4_PKS, 7, ECX, CPUID7_ECX_PKS},
    };
    uint64_t hidden = 0;
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        bool there = shown(g, features[i].leaf, features[i].reg, features[i].feature);
        hidden |= there ? 0 : features[i].cr4;
    }
    return hidden;
}

int guest_set_cpuid(struct guest *g, const struct cpuid_entry *entries, uint32_t count) {
    if (g->state != GUEST_NEW) {
        return -EBUSY; // its exits are answered from them
    }
    if (count > CPUID_ENTRIES) {
        return -ENOSPC;
    }
    for (uint32_t i = 1; i < count; i++) {
        const struct cpuid_entry *a = &entries[i - 1], *b = &entries[i];
        if (b->leaf < a->leaf || (b->leaf == a->leaf && b->subleaf <= a->subleaf)) {
            return -EINVAL;
        }
    }
    memcpy(g->cpuid, entries, count * sizeof(*entries));
    memset(g->cpuid_bucket, 0, sizeof(g->cpuid_bucket));
    g->cpuid_count = count;
    for (uint32_t i = count; i-- > 0;) {
        struct cpuid_entry *e = &g->cpuid[i];
        // What the machine says does not change: merge it in now, once.
        struct cpuid_regs r = cpuid(e->leaf, e->subleaf);
        e->fixed[0] |= r.eax & e->mask[0];
        e->fixed[1] |= r.ebx & e->mask[1];
        e->fixed[2] |= r.ecx & e->mask[2];
        e->fixed[3] |= r.edx & e->mask[3];
        g->cpuid_bucket[cpuid_hash(e->leaf)] = (uint8_t)(i + 1);
    }
    g->cpuid_none = (struct cpuid_entry) { .leaf = UINT32_MAX, .subleaf = UINT32_MAX };
    for (uint32_t i = 0; i < CPUID_BUCKETS; i++) {
        g->cpuid_fast[i] = offset_in(g, &g->cpuid_none);
    }
    for (uint32_t i = count; i-- > 0;) {
        if ((g->cpuid[i].flags & ~CPUID_ANY_SUBLEAF) == 0) {
            g->cpuid_fast[cpuid_hash(g->cpuid[i].leaf)] = offset_in(g, &g->cpuid[i]);
        }
    }
    g->cr4_hidden = cr4_hidden(g);
    g->x2apic_hidden = !shown(g, 1, ECX, CPUID_ECX_X2APIC);
    return 0;
}

static __attribute__((noinline)) struct msr_entry *search_msr(struct guest *g, uint32_t index) {
    uint32_t low = 0, high = g->msr_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        struct msr_entry *e = &g->msrs[middle];
        if (index - e->index < e->count) {
            return e;
        }
        if (e->index < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

static inline struct msr_entry *find_msr(struct guest *g, uint32_t index) {
    uint32_t i = g->msr_bucket[msr_hash(index)];
    if (__builtin_expect(i != 0 && g->msrs[i - 1].index == index, 1)) {
        return &g->msrs[i - 1];
    }
    return search_msr(g, index);
}

int guest_set_msrs(struct guest *g, const struct msr_entry *entries, uint32_t count) {
    if (g->state != GUEST_NEW) {
        return -EBUSY;
    }
    if (count > MSR_ENTRIES) {
        return -ENOSPC;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (entries[i].count == 0 || entries[i].index + (entries[i].count - 1) < entries[i].index
            || (i > 0 && entries[i].index < entries[i - 1].index + entries[i - 1].count)) {
            return -EINVAL;
        }
    }
    memcpy(g->msrs, entries, count * sizeof(*entries));
    memset(g->msr_bucket, 0, sizeof(g->msr_bucket));
    g->msr_count = count;
    for (uint32_t i = count; i-- > 0;) {
        g->msr_bucket[msr_hash(g->msrs[i].index)] = (uint8_t)(i + 1);
    }
    memset(g->msr_fast, 0, sizeof(g->msr_fast));
    for (uint32_t i = count; i-- > 0;) {
        if (g->msrs[i].read == MSR_FIXED || g->msrs[i].read == MSR_STORED) {
            g->msr_fast[msr_hash(g->msrs[i].index)] = offset_in(g, &g->msrs[i]);
        }
    }
    g->msr_x2apic_core = true;
    for (uint32_t i = 0; i < IRQ_MSR_X2APIC_COUNT; i++) {
        const struct msr_entry *e = find_msr(g, IRQ_MSR_X2APIC + i);
        g->msr_x2apic_core = g->msr_x2apic_core && e != NULL && e->write == MSR_CORE;
    }
    return 0;
}

static const struct cpuid_entry *find_cpuid(const struct guest *g, uint32_t leaf, uint32_t subleaf) {
    uint32_t i = g->cpuid_bucket[cpuid_hash(leaf)];
    if (i == 0) {
        return NULL;
    }
    const struct cpuid_entry *e = &g->cpuid[i - 1];
    if (__builtin_expect(e->leaf == leaf && (e->subleaf == subleaf || (e->flags & CPUID_ANY_SUBLEAF) != 0), 1)) {
        return e;
    }
    const struct cpuid_entry *end = &g->cpuid[g->cpuid_count];
    for (; e < end && e->leaf <= leaf; e++) {
        if (e->leaf == leaf && (e->subleaf == subleaf || (e->flags & CPUID_ANY_SUBLEAF) != 0)) {
            return e;
        }
    }
    return NULL;
}

// The XSAVE area that the features in xcr0 need (CPUID 0xD, standard format).
static uint32_t xsave_size(uint64_t xcr0) {
    uint32_t size = 576; // legacy region and header
    for (uint32_t i = 2; i < 63; i++) {
        if ((xcr0 >> i & 1) != 0) {
            struct cpuid_regs r = cpuid(0xD, i);
            size = r.ebx + r.eax > size ? r.ebx + r.eax : size;
        }
    }
    return size;
}

static __attribute__((noinline)) bool cpuid_dynamic(struct vcpu *v, const struct cpuid_entry *e) {
    if ((e->flags & CPUID_OSXSAVE) != 0) {
        v->gpr[GPR_RCX] &= ~(uint64_t)CPUID_ECX_OSXSAVE;
        if ((virt->reg_get(v, REG_CR4) & CR4_OSXSAVE) != 0) {
            v->gpr[GPR_RCX] |= CPUID_ECX_OSXSAVE;
        }
    }
    if ((e->flags & CPUID_XSAVE_SIZE) != 0) {
        v->gpr[GPR_RBX] = xsave_size(xgetbv(0));
    }
    if ((e->flags & CPUID_APIC_ID) != 0) {
        if (e->leaf == 1) {
            v->gpr[GPR_RBX] = (v->gpr[GPR_RBX] & 0x00FFFFFF) | (uint32_t)v->index << 24;
            if (!lapic_enabled(&v->lapic)) {
                v->gpr[GPR_RDX] &= ~(uint64_t)CPUID_EDX_APIC;
            }
        } else {
            v->gpr[GPR_RDX] = v->index;
        }
    }
    return true;
}

static __attribute__((noinline)) bool cpuid_other(struct vcpu *v) {
    const struct cpuid_entry *e = find_cpuid(v->guest, (uint32_t)v->gpr[GPR_RAX], (uint32_t)v->gpr[GPR_RCX]);
    if (e == NULL) { // a leaf we do not show reads zero
        e = &v->guest->cpuid_none;
    }
    v->gpr[GPR_RAX] = e->fixed[0];
    v->gpr[GPR_RBX] = e->fixed[1];
    v->gpr[GPR_RCX] = e->fixed[2];
    v->gpr[GPR_RDX] = e->fixed[3];
    return (e->flags & ~CPUID_ANY_SUBLEAF) == 0 || cpuid_dynamic(v, e);
}

bool policy_cpuid(struct vcpu *v, struct exit_record *x) {
    (void)x;
    const struct guest *g = v->guest;
    uint32_t leaf = (uint32_t)v->gpr[GPR_RAX];
    const struct cpuid_entry *e = (const void *)((const char *)g + g->cpuid_fast[cpuid_hash(leaf)]);
    if (__builtin_expect(e->leaf != leaf || e->subleaf != (uint32_t)v->gpr[GPR_RCX], 0)) {
        return cpuid_other(v);
    }
    v->gpr[GPR_RAX] = e->fixed[0];
    v->gpr[GPR_RBX] = e->fixed[1];
    v->gpr[GPR_RCX] = e->fixed[2];
    v->gpr[GPR_RDX] = e->fixed[3];
    return true;
}

// ---- MSRs ----

static __attribute__((noinline)) void fault(struct vcpu *v, struct exit_record *x) {
    x->length = 0; // the instruction did not complete: RIP stays
    vcpu_inject_exception(v, EXC_GP, true, 0);
}

// MSRs whose value is CPU state behind the seam.
static int core_register(uint32_t index) {
    switch (index) {
        case MSR_SYSENTER_CS: return REG_SYSENTER_CS;
        case MSR_SYSENTER_ESP: return REG_SYSENTER_ESP;
        case MSR_SYSENTER_EIP: return REG_SYSENTER_EIP;
        case MSR_PAT: return REG_PAT;
        case MSR_EFER: return REG_EFER;
        case MSR_STAR: return REG_STAR;
        case MSR_LSTAR: return REG_LSTAR;
        case MSR_CSTAR: return REG_CSTAR;
        case MSR_FMASK: return REG_FMASK;
        case MSR_KERNEL_GS_BASE: return REG_KERNEL_GS_BASE;
        default: return -1;
    }
}

static bool core_read(struct vcpu *v, uint32_t index, uint64_t *value) {
    struct segment s;
    if (irq_is_msr(index)) {
        return irq_rdmsr(v, index, value);
    }
    switch (index) {
        case MSR_TSC:
            *value = rdtsc() + v->tsc_offset;
            return true;
        case MSR_FS_BASE:
        case MSR_GS_BASE:
            virt->seg_get(v, index == MSR_FS_BASE ? SEG_FS : SEG_GS, &s);
            *value = s.base;
            return true;
        case MSR_TSC_AUX:
            *value = v->tsc_aux;
            return true;
        case MSR_TSC_ADJUST:
            *value = v->tsc_adjust;
            return true;
        case MSR_KVM_WALL_CLOCK_NEW:
        case MSR_KVM_SYSTEM_TIME_NEW:
            *value = pvclock_read(v, index);
            return true;
        default: {
            int reg = core_register(index);
            if (reg < 0) {
                return false;
            }
            *value = virt->reg_get(v, (enum vreg)reg);
            return true;
        }
    }
}

static bool canonical(uint64_t address) {
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

static bool pat_valid(uint64_t value) {
    for (int i = 0; i < 8; i++) {
        uint64_t type = value >> (8 * i) & 0xFF;
        if (type > 7 || type == 2 || type == 3) { // SDM 3A 11.12.2
            return false;
        }
    }
    return true;
}

static bool efer_write(struct vcpu *v, uint64_t value) {
    uint64_t old = virt->reg_get(v, REG_EFER);
    if ((value & ~(EFER_KNOWN | EFER_FFXSR)) != 0) {
        return false;
    }
    bool paging = (virt->reg_get(v, REG_CR0) >> CR0_PG_BIT & 1) != 0;
    if (paging && ((old ^ value) & EFER_LME) != 0) {
        return false; // APM 2 14.6.1: LME changes only while paging is off
    }
    value = (value & ~EFER_LMA) | (old & EFER_LMA); // read-only to software
    return virt->reg_set(v, REG_EFER, value) == 0;
}

// Setting the TSC and setting IA32_TSC_ADJUST are the same thing (SDM 3B 17.17.3).
static void set_tsc_offset(struct vcpu *v, uint64_t offset) {
    v->tsc_adjust += offset - v->tsc_offset;
    lapic_tsc_moved(&v->lapic, offset - v->tsc_offset);
    v->tsc_offset = offset;
    virt->set_tsc_offset(v, offset);
    pvclock_update(v);
}

static bool core_write(struct vcpu *v, uint32_t index, uint64_t value) {
    struct segment s;
    if (irq_is_msr(index)) {
        return irq_wrmsr(v, index, value);
    }
    switch (index) {
        case MSR_TSC:
            set_tsc_offset(v, value - rdtsc());
            return true;
        case MSR_TSC_ADJUST:
            set_tsc_offset(v, v->tsc_offset + (value - v->tsc_adjust));
            return true;
        case MSR_KVM_WALL_CLOCK_NEW:
        case MSR_KVM_SYSTEM_TIME_NEW:
            return pvclock_write(v, index, value);
        case MSR_EFER:
            return efer_write(v, value);
        case MSR_PAT:
            return pat_valid(value) && virt->reg_set(v, REG_PAT, value) == 0;
        case MSR_FS_BASE:
        case MSR_GS_BASE:
            if (!canonical(value)) {
                return false;
            }
            virt->seg_get(v, index == MSR_FS_BASE ? SEG_FS : SEG_GS, &s);
            s.base = value;
            return virt->seg_set(v, index == MSR_FS_BASE ? SEG_FS : SEG_GS, &s) == 0;
        case MSR_TSC_AUX:
            if (value >> 32 != 0) {
                return false;
            }
            v->tsc_aux = value;
            wrmsr(MSR_TSC_AUX, value);
            return true;
        default: {
            int reg = core_register(index);
            bool address = index == MSR_LSTAR || index == MSR_CSTAR || index == MSR_KERNEL_GS_BASE
                || index == MSR_SYSENTER_ESP || index == MSR_SYSENTER_EIP;
            if (reg < 0 || (address && !canonical(value))) {
                return false;
            }
            return virt->reg_set(v, (enum vreg)reg, value) == 0;
        }
    }
}

static __attribute__((noinline)) bool rdmsr_other(struct vcpu *v, struct exit_record *x,
    const struct msr_entry *e) {
    uint64_t value = 0;
    switch (e != NULL ? e->read : (uint32_t)MSR_FAULT) {
        case MSR_FIXED:
        case MSR_STORED:
            value = e->value;
            break;
        case MSR_IGNORE:
            break;
        case MSR_CORE:
        case MSR_NATIVE:
            if (core_read(v, (uint32_t)v->gpr[GPR_RCX], &value)) {
                break;
            }
            // fall through
        default:
            fault(v, x);
            return true;
    }
    v->gpr[GPR_RAX] = (uint32_t)value;
    v->gpr[GPR_RDX] = value >> 32;
    return true;
}

bool policy_rdmsr(struct vcpu *v, struct exit_record *x) {
    struct guest *g = v->guest;
    uint32_t index = (uint32_t)v->gpr[GPR_RCX];
    uint32_t at = g->msr_fast[msr_hash(index)];
    const struct msr_entry *e = (const void *)((const char *)g + at);
    if (__builtin_expect(at == 0 || e->index != index, 0)) {
        return rdmsr_other(v, x, find_msr(g, index));
    }
    v->gpr[GPR_RAX] = (uint32_t)e->value;
    v->gpr[GPR_RDX] = e->value >> 32;
    return true;
}

static __attribute__((noinline)) bool wrmsr_other(struct vcpu *v, struct exit_record *x, uint64_t value) {
    struct msr_entry *e = find_msr(v->guest, (uint32_t)v->gpr[GPR_RCX]);
    switch (e != NULL ? e->write : (uint32_t)MSR_FAULT) {
        case MSR_STORED:
            if (((value ^ e->value) & ~e->write_mask) != 0) {
                break;
            }
            e->value = value;
            return true;
        case MSR_IGNORE:
        case MSR_FIXED:
            return true;
        case MSR_CORE:
        case MSR_NATIVE:
            if (core_write(v, (uint32_t)v->gpr[GPR_RCX], value)) {
                return true;
            }
            break;
        default:
            break;
    }
    fault(v, x);
    return true;
}

bool policy_wrmsr(struct vcpu *v, struct exit_record *x) {
    uint32_t reg = (uint32_t)v->gpr[GPR_RCX] - IRQ_MSR_X2APIC;
    uint64_t value = (uint32_t)v->gpr[GPR_RAX] | v->gpr[GPR_RDX] << 32;
    if (reg >= IRQ_MSR_X2APIC_COUNT || !v->guest->msr_x2apic_core) {
        return wrmsr_other(v, x, value);
    }
    if (!irq_write_x2(v, reg, value)) {
        fault(v, x);
    }
    return true;
}
