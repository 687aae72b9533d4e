// AMD-V (SVM): what the CPU offers, one VMCB for each vCPU, and events.
// References are to AMD's APM volume 2 (24593, revision 3.42).
#include "virt/svm.h"

#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/memory.h"
#include "cpu/percpu.h"
#include "cpu/string.h"
#include "virt/guest.h"
#include "virt/x86.h"

enum {
    CPUID_EXTENDED = 0x80000000u,
    CPUID_FEATURES = 0x80000001u,
    CPUID_ADDRESS_SIZES = 0x80000008u,
    CPUID_SVM = 0x8000000Au,
};
#define CPUID_ECX_SVM (UINT32_C(1) << 2)
#define CPUID_EDX_NX (UINT32_C(1) << 20)
#define CPUID_EDX_PAGE1GB (UINT32_C(1) << 26)
#define CPUID_EDX_LM (UINT32_C(1) << 29)

#define IOPM_PAGES 3
#define MSRPM_PAGES 2
#define MSRPM_INTERCEPT_ALL 0xFF

// Nested page-table entries are those of long mode (15.25.3). Every nested access
// counts as a user access, so U is set everywhere.
#define NPT_P (UINT64_C(1) << 0)
#define NPT_W (UINT64_C(1) << 1)
#define NPT_U (UINT64_C(1) << 2)
#define NPT_PWT (UINT64_C(1) << 3)
#define NPT_PCD (UINT64_C(1) << 4)
#define NPT_A (UINT64_C(1) << 5)
#define NPT_D (UINT64_C(1) << 6)
#define NPT_PS (UINT64_C(1) << 7)
#define NPT_NX (UINT64_C(1) << 63)

static const struct nested_format npt_format = {
    .table = NPT_P | NPT_W | NPT_U,
    .leaf_rwx = NPT_P | NPT_W | NPT_U,
    .leaf_rx = NPT_P | NPT_U,
    .leaf_r = NPT_P | NPT_U | NPT_NX,
    .leaf_large = NPT_PS,
    .leaf_uncached = NPT_PCD | NPT_PWT,
    .memory_type = NPT_PCD | NPT_PWT,
    .present_mask = NPT_P,
    .writable = NPT_W,
    .executable = 0, // NX forbids, nothing allows
    .accessed = NPT_A,
    .dirty = NPT_D,
};

// Shared by all guests: no port and few MSRs reach the machine.
static uint8_t *io_map, *msr_map;

// ASIDs of one CPU are handed out among the vCPUs that run there (15.16); the
// bit is the ASID. 0 is the host's, 1 is shared by those that came too late.
#define ASIDS_TRACKED 64
#define ASID_SHARED 1
static uint64_t asids_used[CPU_MAX];

static bool svm_present(void) {
    return cpuid(CPUID_EXTENDED, 0).eax >= CPUID_SVM && (cpuid(CPUID_FEATURES, 0).ecx & CPUID_ECX_SVM);
}

static void name_missing(char *missing, size_t size, const char *name) {
    size_t used = strlen(missing);
    if (used && used + 1 < size) {
        missing[used++] = ',';
        missing[used] = 0;
    }
    (void)str_copy(missing + used, size - used, name);
}

// 15.11: two bits for each MSR, read and write, in three ranges of 2 KiB.
static void msr_pass(uint32_t index) {
    static const uint32_t ranges[] = {0, 0xC0000000u, 0xC0010000u};
    for (uint32_t r = 0; r < 3; r++) {
        uint32_t offset = index - ranges[r];
        if (offset < 0x2000) {
            msr_map[r * 0x800 + offset / 4] &= (uint8_t)~(3u << offset % 4 * 2);
        }
    }
}

// MSRs that VMLOAD and VMSAVE move, and TSC_AUX, which vcpu_load moves.
static void msr_map_init(void) {
    static const uint32_t passed[] = {
        0x174, 0x175, 0x176, // SYSENTER_CS, _ESP, _EIP
        0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084, // STAR, LSTAR, CSTAR, SFMASK
        0xC0000100, 0xC0000101, 0xC0000102, // FS_BASE, GS_BASE, KERNEL_GS_BASE
        X86_MSR_TSC_AUX,
    };
    memset(msr_map, MSRPM_INTERCEPT_ALL, MSRPM_PAGES * PAGE_SIZE);
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++) {
        msr_pass(passed[i]);
    }
}

static int svm_probe(struct virt_caps *caps, char *missing, size_t size) {
    struct cpuid_regs ext = cpuid(CPUID_FEATURES, 0);
    struct cpuid_regs svm = cpuid(CPUID_SVM, 0);
    bool usable = true;

    if (rdmsr(MSR_VM_CR) & VM_CR_SVMDIS) {
        name_missing(missing, size, "SVM (switched off by the firmware, VM_CR.SVMDIS)");
        usable = false;
    }
    // The plain qemu64 model has nested paging and does not say so; whoever wants
    // that model adds +npt.
    if (!(svm.edx & SVM_FEATURE_NP)) {
        name_missing(missing, size, "NP (nested paging)");
        usable = false;
    }
    if (!(ext.edx & CPUID_EDX_NX)) {
        name_missing(missing, size, "NX (no-execute pages)");
        usable = false;
    }
    caps->nrip = svm.edx & SVM_FEATURE_NRIP_SAVE;
    caps->decode_assists = svm.edx & SVM_FEATURE_DECODE_ASSISTS;
    caps->flush_by_asid = svm.edx & SVM_FEATURE_FLUSH_BY_ASID;
    caps->large_1g = ext.edx & CPUID_EDX_PAGE1GB;
    caps->nested_ad = true;
    caps->unrestricted = true;
    caps->phys_bits = (uint8_t)cpuid(CPUID_ADDRESS_SIZES, 0).eax;
    caps->asids = svm.ebx;
    if (!usable) {
        return -ENODEV;
    }
    io_map = page_alloc(IOPM_PAGES);
    msr_map = page_alloc(MSRPM_PAGES);
    if (!io_map || !msr_map) {
        return -ENOMEM;
    }
    memset(io_map, 0xFF, IOPM_PAGES * PAGE_SIZE);
    msr_map_init();
    return 0;
}

static int svm_cpu_enable(struct cpu *cpu) {
    if (rdmsr(MSR_VM_CR) & VM_CR_SVMDIS) {
        return -EIO;
    }
    if (!cpu->virt_page) {
        cpu->virt_page = page_alloc(1);
    }
    if (!cpu->virt_host) {
        cpu->virt_host = page_alloc(1);
    }
    if (!cpu->virt_page || !cpu->virt_host) {
        return -ENOMEM;
    }
    // NXE: nested tables are read with the host's EFER (15.25.3).
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME | EFER_NXE);
    wrmsr(MSR_VM_HSAVE_PA, (uintptr_t)cpu->virt_page);
    // What VMLOAD brings back after each exit never changes: save it once.
    __asm__ volatile ("vmsave %%rax" : : "a" (cpu->virt_host) : "memory");
    return 0;
}

static void svm_cpu_disable(struct cpu *cpu) {
    wrmsr(MSR_VM_HSAVE_PA, 0);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_SVME);
    page_free(cpu->virt_page, 1);
    page_free(cpu->virt_host, 1);
    cpu->virt_page = cpu->virt_host = NULL;
}

static uint32_t asid_take(uint32_t cpu) {
    uint32_t limit = virt_caps.asids < ASIDS_TRACKED ? virt_caps.asids : ASIDS_TRACKED;
    for (uint32_t asid = ASID_SHARED + 1; asid < limit; asid++) {
        uint64_t bit = UINT64_C(1) << asid;
        if (!(__atomic_fetch_or(&asids_used[cpu], bit, __ATOMIC_ACQ_REL) & bit)) {
            return asid;
        }
    }
    return ASID_SHARED;
}

static void asid_give(uint32_t cpu, uint32_t asid) {
    if (asid > ASID_SHARED) {
        __atomic_fetch_and(&asids_used[cpu], ~(UINT64_C(1) << asid), __ATOMIC_ACQ_REL);
    }
}

static void svm_set_exceptions(struct vcpu *v, uint32_t vectors) {
    // A guest that makes #AC or #DB fault while it is delivered would keep the CPU
    // for ever inside one instruction (CVE-2015-5307, CVE-2015-8104).
    svm_vmcb(v)->intercept_exceptions = UINT32_C(1) << EXC_AC | UINT32_C(1) << EXC_DB | vectors;
}

static void set_intercepts(struct vmcb *b) {
    // Debug registers are moved by vcpu_debug_arm, so the guest never sees the
    // CPU's own.
    b->intercept_dr_read = b->intercept_dr_write = 0xFFFF;
    // Task switches and most moves to control registers run natively.
    b->intercept_cr_write = 1 << 4; // CPUID may hide what the CPU would let pass
    b->intercept_vector3 = INTERCEPT_INTR | INTERCEPT_NMI | INTERCEPT_SMI | INTERCEPT_INIT |
        INTERCEPT_RDPMC | INTERCEPT_CPUID | INTERCEPT_RSM | INTERCEPT_INVD | INTERCEPT_HLT |
        INTERCEPT_INVLPGA | INTERCEPT_IOIO_PROT | INTERCEPT_MSR_PROT | INTERCEPT_FERR_FREEZE |
        INTERCEPT_SHUTDOWN |
        // Judged by svm_reg_set: TCG lets a guest set what the next VMRUN then refuses.
        INTERCEPT_CR0_SEL_WRITE;
    b->intercept_vector4 = INTERCEPT_VMRUN | INTERCEPT_VMMCALL | INTERCEPT_VMLOAD | INTERCEPT_VMSAVE |
        INTERCEPT_STGI | INTERCEPT_CLGI | INTERCEPT_SKINIT | INTERCEPT_WBINVD | INTERCEPT_MONITOR |
        INTERCEPT_MWAIT | INTERCEPT_MWAIT_ARMED | INTERCEPT_XSETBV;
}

static int svm_vcpu_init(struct vcpu *v) {
    struct svm_control *c = v->control;
    svm_exit_init(&virt_caps); // here, because the probe may have withdrawn nRIP
    if (!c) {
        c = page_alloc(SVM_CONTROL_PAGES);
        if (!c) {
            return -ENOMEM;
        }
        v->control = c;
        v->control_pa = (uintptr_t)c;
        c->asid_cpu = v->cpu;
        c->vmcb.guest_asid = asid_take(v->cpu);
    }
    uint32_t asid = c->vmcb.guest_asid;
    uint64_t host_save_pa = c->host_save_pa;
    uint32_t asid_cpu = c->asid_cpu;
    memset(c, 0, sizeof(*c));
    c->host_save_pa = host_save_pa;
    c->asid_cpu = asid_cpu;
    // The ASID may have been another's.
    c->attention = SVM_ATTENTION_FLUSH | SVM_ATTENTION_CHECK | (asid == ASID_SHARED ? SVM_ATTENTION_SHARED : 0);

    struct vmcb *b = &c->vmcb;
    set_intercepts(b);
    b->iopm_base_pa = (uintptr_t)io_map;
    b->msrpm_base_pa = (uintptr_t)msr_map;
    b->guest_asid = asid;
    b->np_enable = NP_ENABLE;
    b->n_cr3 = v->guest->nested_root;
    b->v_intr = V_INTR_MASKING;
    b->tsc_offset = v->tsc_offset;
    svm_reset_state(b);
    v->pat = b->g_pat;
    return 0;
}

static unsigned svm_cpl(struct vcpu *v) {
    return svm_vmcb(v)->cpl;
}

static void svm_vcpu_free(struct vcpu *v) {
    struct svm_control *c = v->control;
    if (c) {
        asid_give(c->asid_cpu, c->vmcb.guest_asid);
        page_free(c, SVM_CONTROL_PAGES);
        v->control = NULL;
        v->control_pa = 0;
    }
}

static int svm_vcpu_load(struct vcpu *v) {
    struct svm_control *c = svm_control(v);
    c->host_save_pa = (uintptr_t)this_cpu()->virt_host;
    // Nested tables are edited only while the vCPU is parked, which means put.
    if (v->nested_seen != v->guest->nested_generation) {
        v->nested_seen = v->guest->nested_generation;
        c->attention |= SVM_ATTENTION_FLUSH;
    }
    return 0;
}

static int svm_vcpu_put(struct vcpu *v) {
    (void)v; // the VMCB in memory is complete after every exit
    return 0;
}

static bool svm_can_interrupt(struct vcpu *v) {
    const struct vmcb *b = svm_vmcb(v);
    bool step_due = (b->rflags & RFLAGS_TF) && v->rip != b->rip; // goes first
    return (b->rflags & RFLAGS_IF) && !svm_in_shadow(v) && !step_due && !(b->eventinj & EVENTINJ_V);
}

static void svm_inject(struct vcpu *v, uint32_t event, uint32_t error) {
    struct svm_control *c = svm_control(v);
    struct vmcb *b = &c->vmcb;
    uint32_t type = event >> EVENT_TYPE_SHIFT & EVENTINJ_TYPE_MASK;

    if (type == EVENT_NMI) {
        // There is no virtual NMI mask everywhere: the IRET intercept tells when
        // the guest's handler is done (15.21.7).
        bool step_due = (b->rflags & RFLAGS_TF) && v->rip != b->rip; // goes first
        if (svm_nmi_masked(v) || step_due || (b->eventinj & EVENTINJ_V) || svm_in_shadow(v)) {
            svm_nmi_wait(v);
            return;
        }
        c->nmi_masked = true;
        b->intercept_vector3 |= INTERCEPT_IRET;
    } else if (type == EVENT_SOFTWARE) {
        b->nrip = v->rip; // pushed instead of RIP where nRIP exists (15.20)
    }
    if (type == EVENT_EXCEPTION && (event & EVENTINJ_VECTOR_MASK) == EXC_DB) {
        b->dr7 &= ~DR7_GD; // as delivery does (13.1.1.3), which an injection leaves out
    }
    b->eventinj = event | (uint64_t)error << EVENTINJ_ERROR_SHIFT;
    b->interrupt_shadow = 0; // delivery ends it
}

static void svm_uninject(struct vcpu *v) {
    svm_vmcb(v)->eventinj = 0;
}

static uint32_t svm_vectoring(struct vcpu *v, uint32_t *error) {
    struct svm_control *c = svm_control(v);
    uint64_t info = c->vmcb.exitintinfo;
    uint32_t event = (uint32_t)info;
    uint32_t type = event >> EVENT_TYPE_SHIFT & EVENTINJ_TYPE_MASK;
    uint32_t vector = event & EVENTINJ_VECTOR_MASK;

    // Without the valid bit the rest is left over from earlier.
    if (!(info & EVENTINJ_V)) {
        return 0;
    }
    // RIP still stands on INT n, INT3 and INTO: they happen again by themselves.
    if (type == EVENT_SOFTWARE || (type == EVENT_EXCEPTION && (vector == EXC_BP || vector == EXC_OF))) {
        return 0;
    }
    if (type == EVENT_NMI) {
        c->nmi_masked = false; // it was not delivered
    }
    *error = (uint32_t)(info >> EVENTINJ_ERROR_SHIFT);
    return event & (uint32_t)(EVENTINJ_V | EVENTINJ_EV | EVENTINJ_TYPE_MASK << EVENTINJ_TYPE_SHIFT |
        EVENTINJ_VECTOR_MASK);
}

// V_IRQ serves as a window only: it makes the CPU exit, through the VINTR
// intercept, when the guest could take an interrupt, and is never delivered.
// (A V_IRQ that delivers reports a wrong EXITINTINFO in QEMU, and one set while
// IF=1 stays undelivered in Bochs.)
static void svm_window(struct vcpu *v, bool on) {
    struct vmcb *b = svm_vmcb(v);
    v->window_open_wanted = on;
    if (on && !virt_caps.shadow_loaded && svm_in_shadow(v)) {
        svm_control(v)->attention |= SVM_ATTENTION_WINDOW; // it would open before the shadow's end
    } else if (on) {
        b->v_intr |= V_IRQ | V_INTR_PRIO_MAX | V_IGN_TPR;
        b->intercept_vector3 |= INTERCEPT_VINTR;
    } else {
        b->v_intr &= ~(V_IRQ | V_INTR_PRIO_MAX | V_IGN_TPR);
        b->intercept_vector3 &= ~INTERCEPT_VINTR;
    }
}

static uint8_t svm_cr8_get(struct vcpu *v) {
    return svm_vmcb(v)->v_intr & V_TPR_MASK;
}

static void svm_cr8_set(struct vcpu *v, uint8_t value) {
    struct vmcb *b = svm_vmcb(v);
    b->v_intr = (b->v_intr & ~V_TPR_MASK) | value;
}

static void svm_cr8_watch(struct vcpu *v, bool on) {
    const uint16_t cr8 = 1 << 8;
    struct vmcb *b = svm_vmcb(v);
    b->intercept_cr_write = on ? b->intercept_cr_write | cr8 : b->intercept_cr_write & (uint16_t)~cr8;
}

static void svm_set_tsc_offset(struct vcpu *v, uint64_t offset) {
    v->tsc_offset = offset;
    svm_vmcb(v)->tsc_offset = offset;
}

const struct vcpu_ops svm_ops = {
    .name = "svm",
    .nested = &npt_format,
    .present = svm_present,
    .probe = svm_probe,
    .cpu_enable = svm_cpu_enable,
    .cpu_disable = svm_cpu_disable,
    .vcpu_init = svm_vcpu_init,
    .vcpu_free = svm_vcpu_free,
    .vcpu_load = svm_vcpu_load,
    .vcpu_put = svm_vcpu_put,
    .enter = svm_enter,
    .run = svm_run,
    .reg_get = svm_reg_get,
    .reg_set = svm_reg_set,
    .seg_get = svm_seg_get,
    .seg_set = svm_seg_set,
    .fetch_state = svm_fetch_state,
    .cpl = svm_cpl,
    .can_interrupt = svm_can_interrupt,
    .inject = svm_inject,
    .uninject = svm_uninject,
    .vectoring = svm_vectoring,
    .window = svm_window,
    .cr8_get = svm_cr8_get,
    .cr8_set = svm_cr8_set,
    .cr8_watch = svm_cr8_watch,
    .set_tsc_offset = svm_set_tsc_offset,
    .set_exceptions = svm_set_exceptions,
    .explain = svm_explain,
    .field_get = svm_field_get,
};
