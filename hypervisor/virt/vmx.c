// The VT-x back end: CPUs into and out of VMX operation, the life of a VMCS, and the table
// of operations behind the seam.
#include "virt/vmx.h"

#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/log.h"
#include "cpu/memory.h"
#include "cpu/percpu.h"
#include "cpu/smp.h"
#include "cpu/string.h"
#include "cpu/trap.h"
#include "virt/guest.h"
#include "virt/x86.h"

#define NO_CPU UINT32_MAX
#define DESCRIPTOR_TABLE_SELECTOR_MASK UINT64_C(0xFFF8) // RPL and TI must be 0 (SDM 26.2.3)

// One bit an MSR: reads of 0 to 1FFF, of C0000000 to C0001FFF, then writes likewise; a set
// bit exits (SDM 24.6.9). The same page serves every vCPU.
static uint8_t msr_bitmap[PAGE_SIZE] __attribute__((aligned(4096)));

// MSRs that the guest may touch itself: in the VMCS, or in the CPU and switched with the
// vCPU (carried_msrs).
static const uint32_t passed_msrs[] = {
    MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
    MSR_IA32_STAR, MSR_IA32_LSTAR, MSR_IA32_CSTAR, MSR_IA32_FMASK,
    MSR_IA32_FS_BASE, MSR_IA32_GS_BASE, MSR_IA32_KERNEL_GS_BASE,
};

static const uint32_t carried_msrs[] = {
    MSR_IA32_STAR, MSR_IA32_LSTAR, MSR_IA32_CSTAR, MSR_IA32_FMASK, MSR_IA32_KERNEL_GS_BASE,
};
#define CARRIED_MSRS (sizeof(carried_msrs) / sizeof(carried_msrs[0]))
_Static_assert(CARRIED_MSRS <= sizeof(((struct vcpu *)0)->fixed_msrs) / sizeof(uint64_t), "room for them");

static void build_msr_bitmap(void) {
    enum { HIGH_MSRS = 1024, WRITES = 2048, RANGE_MASK = 0x1FFF };
    const uint32_t high_base = 0xC0000000;
    memset(msr_bitmap, 0xFF, sizeof(msr_bitmap));
    for (size_t i = 0; i < sizeof(passed_msrs) / sizeof(passed_msrs[0]); i++) {
        uint32_t bit = passed_msrs[i] & RANGE_MASK;
        uint8_t *reads = msr_bitmap + (passed_msrs[i] >= high_base ? HIGH_MSRS : 0) + bit / 8;
        uint8_t keep = (uint8_t)~(1u << bit % 8);
        reads[0] &= keep;
        reads[WRITES] &= keep;
    }
}

#define DEFINE_VMCS_OP(name, mnemonic) \
    static bool name(uint64_t pa) { \
        uint8_t failed; \
        __asm__ volatile (mnemonic " %1; setbe %0" : "=qm" (failed) : "m" (pa) : "cc", "memory"); \
        return !failed; \
    }
DEFINE_VMCS_OP(vmxon, "vmxon")
DEFINE_VMCS_OP(vmclear, "vmclear")
DEFINE_VMCS_OP(vmptrld, "vmptrld")

static uint64_t vmptrst(void) {
    uint64_t pa = VMCS_NO_LINK;
    __asm__ volatile ("vmptrst %0" : "=m" (pa) : : "cc", "memory");
    return pa;
}

static int probe(struct virt_caps *caps, char *missing, size_t size) {
    build_msr_bitmap();
    return vmx_probe(caps, missing, size);
}

static int cpu_enable(struct cpu *cpu) {
    const struct vmx_machine *m = &vmx_machine;
    uint64_t feature_control = rdmsr(MSR_IA32_FEATURE_CONTROL);
    const uint64_t wanted = FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX_OUTSIDE_SMX;
    // Firmware leaves it locked, a machine without firmware at 0, on each CPU by itself.
    if (!(feature_control & FEATURE_CONTROL_LOCK)) {
        wrmsr(MSR_IA32_FEATURE_CONTROL, feature_control | wanted);
    } else if ((feature_control & wanted) != wanted) {
        log_printf("vmx: CPU %u: VT-x is switched off and locked by the firmware (IA32_FEATURE_CONTROL 0x%lx)\n",
            cpu->index, feature_control);
        return -ENODEV;
    }
    if (cpu->virt_page == NULL) {
        cpu->virt_page = page_alloc(1);
        if (cpu->virt_page == NULL) {
            return -ENOMEM;
        }
    }
    *(uint32_t *)cpu->virt_page = m->revision;
    write_cr0((read_cr0() | m->cr0_fixed0) & m->cr0_fixed1);
    write_cr4((read_cr4() | m->cr4_fixed0 | CR4_VMXE) & m->cr4_fixed1);
    if (!vmxon((uint64_t)(uintptr_t)cpu->virt_page)) {
        write_cr4(read_cr4() & ~CR4_VMXE);
        log_printf("vmx: CPU %u: VMXON failed\n", cpu->index);
        return -EIO;
    }
    cpu->virt_on = true;
    return 0;
}

static void cpu_disable(struct cpu *cpu) {
    __asm__ volatile ("vmxoff" : : : "cc", "memory");
    write_cr4(read_cr4() & ~CR4_VMXE);
    page_free(cpu->virt_page, 1);
    cpu->virt_page = NULL;
    cpu->virt_on = false;
}

static void write_controls(struct vcpu *v) {
    const struct vmx_machine *m = &vmx_machine;
    vmx_write(VMCS_PIN_BASED_CONTROLS, m->pin);
    vmx_write(VMCS_PRIMARY_CONTROLS, m->primary);
    vmx_write(VMCS_SECONDARY_CONTROLS, m->secondary);
    vmx_write(VMCS_EXIT_CONTROLS, m->exit);
    vmx_write(VMCS_ENTRY_CONTROLS, m->entry);
    vmx_write(VMCS_PAGE_FAULT_ERROR_CODE_MASK, 0);
    vmx_write(VMCS_PAGE_FAULT_ERROR_CODE_MATCH, 0);
    vmx_write(VMCS_CR3_TARGET_COUNT, 0);
    vmx_write(VMCS_EXIT_MSR_STORE_COUNT, 0);
    vmx_write(VMCS_EXIT_MSR_LOAD_COUNT, 0);
    vmx_write(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
    vmx_write(VMCS_MSR_BITMAPS, (uint64_t)(uintptr_t)msr_bitmap);
    vmx_write(VMCS_EPT_POINTER, v->guest->nested_root | m->eptp_bits);
    vmx_write(VMCS_VPID, 1 + v->guest->id * GUEST_VCPUS + v->index); // 0 is the monitor's own
    vmx_write(VMCS_CR0_GUEST_HOST_MASK, m->cr0_owned);
    vmx_write(VMCS_CR4_GUEST_HOST_MASK, m->cr4_owned);
    vmx_write(VMCS_TSC_OFFSET, v->tsc_offset);
    if (m->secondary & CPU2_XSAVES) {
        vmx_write(VMCS_XSS_EXIT_BITMAP, 0);
    }
}

static uint64_t selector_of(const char which) {
    uint16_t s = 0;
    switch (which) {
        case 'c': __asm__ ("mov %%cs, %0" : "=r" (s)); break;
        case 's': __asm__ ("mov %%ss, %0" : "=r" (s)); break;
        case 'd': __asm__ ("mov %%ds, %0" : "=r" (s)); break;
        case 'e': __asm__ ("mov %%es, %0" : "=r" (s)); break;
        case 't': __asm__ ("str %0" : "=r" (s)); break;
    }
    return s & DESCRIPTOR_TABLE_SELECTOR_MASK;
}

// What the CPU comes back to; it differs from CPU to CPU.
static void write_host_state(struct cpu *cpu) {
    vmx_write(VMCS_HOST_CS_SELECTOR, selector_of('c'));
    vmx_write(VMCS_HOST_SS_SELECTOR, selector_of('s'));
    vmx_write(VMCS_HOST_DS_SELECTOR, selector_of('d'));
    vmx_write(VMCS_HOST_ES_SELECTOR, selector_of('e'));
    vmx_write(VMCS_HOST_FS_SELECTOR, 0);
    vmx_write(VMCS_HOST_GS_SELECTOR, 0);
    vmx_write(VMCS_HOST_TR_SELECTOR, selector_of('t'));
    vmx_write(VMCS_HOST_CR0, read_cr0());
    vmx_write(VMCS_HOST_CR3, read_cr3());
    vmx_write(VMCS_HOST_CR4, read_cr4());
    vmx_write(VMCS_HOST_FS_BASE, rdmsr(MSR_IA32_FS_BASE));
    vmx_write(VMCS_HOST_GS_BASE, rdmsr(MSR_IA32_GS_BASE));
    vmx_write(VMCS_HOST_TR_BASE, trap_tss_base(cpu));
    vmx_write(VMCS_HOST_GDTR_BASE, trap_gdt_base(cpu));
    vmx_write(VMCS_HOST_IDTR_BASE, trap_idt_base());
    vmx_write(VMCS_HOST_IA32_SYSENTER_CS, 0);
    vmx_write(VMCS_HOST_IA32_SYSENTER_ESP, 0);
    vmx_write(VMCS_HOST_IA32_SYSENTER_EIP, 0);
    vmx_write(VMCS_HOST_IA32_EFER, rdmsr(MSR_IA32_EFER));
    vmx_write(VMCS_HOST_IA32_PAT, rdmsr(MSR_IA32_PAT));
    vmx_write(VMCS_HOST_RIP, (uint64_t)(uintptr_t)vmx_host_entry);
}

// How long an entry may last where interrupts cannot be relied on to end it.
#define ENTRY_LIMIT_NS UINT64_C(1000000)

static int load(struct vcpu *v) {
    struct vmx_vcpu *x = vmx_of(v);
    struct cpu *cpu = this_cpu();
    if (!vmptrld(v->control_pa)) {
        return -EIO;
    }
    v->launched = false; // put() cleared it
    write_host_state(cpu);
    vmx_write(VMCS_TSC_OFFSET, v->tsc_offset); // may have been set while it was nowhere
    if (virt_caps.masked_interrupts_exit) {
        vmx_write(VMCS_PIN_BASED_CONTROLS, vmx_machine.pin &= ~PIN_PREEMPTION_TIMER);
    } else if (vmx_machine.pin & PIN_PREEMPTION_TIMER) {
        uint64_t limit = ns_to_tsc(ENTRY_LIMIT_NS) >> (rdmsr(MSR_IA32_VMX_MISC) & VMX_MISC_PREEMPTION_RATE);
        vmx_write(VMCS_VMX_PREEMPTION_TIMER_VALUE, limit < UINT32_MAX ? limit : UINT32_MAX);
    }
    // What CPUID shows may have changed, too.
    vmx_write(VMCS_CR4_GUEST_HOST_MASK, vmx_machine.cr4_owned | v->guest->cr4_hidden);
    write_cr2(x->cr2);
    write_dr6(x->dr6);
    uint32_t work = VMX_LOAD_DR;
    if (x->last_cpu != cpu->index) {
        // Translations from an earlier stay, or of the VPID's and root's last owner.
        x->last_cpu = cpu->index;
        work |= VMX_FLUSH_EPT | VMX_FLUSH_VPID;
    }
    vmx_postpone(v, work);
    return 0;
}

static int vcpu_init(struct vcpu *v) {
    if (v->control == NULL) {
        v->control = page_alloc(1);
        v->vendor = page_alloc(1);
        if (v->control == NULL || v->vendor == NULL) {
            page_free(v->control, v->control != NULL);
            page_free(v->vendor, v->vendor != NULL);
            v->control = NULL;
            v->vendor = NULL;
            return -ENOMEM;
        }
        v->control_pa = (uint64_t)(uintptr_t)v->control;
    }
    *(uint32_t *)v->control = vmx_machine.revision;
    v->launched = false;
    struct vmx_vcpu *x = vmx_of(v);
    x->last_cpu = NO_CPU; // flushes at the first load: the VPID may have had an owner

    // Another vCPU may be loaded on this CPU meanwhile.
    uint64_t current = vmptrst();
    if (!vmclear(v->control_pa) || !vmptrld(v->control_pa)) {
        return -EIO;
    }
    write_controls(v);
    vmx_reset_state(v);
    bool done = vmclear(v->control_pa);
    if (current == v->control_pa) {
        return done ? load(v) : -EIO; // a probe resets its vCPU while it is loaded
    }
    if (current != VMCS_NO_LINK) {
        done = vmptrld(current) && done;
    }
    return done ? 0 : -EIO;
}

static void vcpu_free(struct vcpu *v) {
    if (v->control != NULL) {
        page_free(v->control, 1);
        page_free(v->vendor, 1);
        v->control = NULL;
        v->vendor = NULL;
    }
}

static int put(struct vcpu *v) {
    struct vmx_vcpu *x = vmx_of(v);
    x->cr2 = read_cr2();
    x->dr6 = read_dr6();
    v->launched = false;
    return vmclear(v->control_pa) ? 0 : -EIO;
}

static bool once(struct vcpu *v, struct exit_record *e, struct fetch_state f) {
    (void)v;
    (void)e;
    (void)f;
    return false;
}

static void enter(struct vcpu *v, struct exit_record *e) {
    vmx_run(v, e, once);
}

static void set_exceptions(struct vcpu *v, uint32_t vectors) {
    (void)v;
    // #DB and #AC: see fill_exception. #MC belongs to the machine.
    vmx_write(VMCS_EXCEPTION_BITMAP,
        UINT32_C(1) << EXC_DB | UINT32_C(1) << EXC_AC | UINT32_C(1) << EXC_MC | vectors);
}

static void set_tsc_offset(struct vcpu *v, uint64_t offset) {
    v->tsc_offset = offset;
    vmx_write(VMCS_TSC_OFFSET, offset);
}

static int field_get(struct vcpu *v, uint32_t field, uint64_t *value) {
    (void)v;
    return vmx_try_read(field, value) ? 0 : -EINVAL;
}

static const struct nested_format ept_format = {
    .table = EPT_READ | EPT_WRITE | EPT_EXECUTE,
    .leaf_rwx = EPT_READ | EPT_WRITE | EPT_EXECUTE | EPT_TYPE_WB | EPT_IGNORE_PAT,
    .leaf_rx = EPT_READ | EPT_EXECUTE | EPT_TYPE_WB | EPT_IGNORE_PAT,
    .leaf_r = EPT_READ | EPT_TYPE_WB | EPT_IGNORE_PAT,
    .leaf_large = EPT_LARGE,
    .leaf_uncached = EPT_TYPE_UC | EPT_IGNORE_PAT,
    .memory_type = EPT_TYPE_MASK | EPT_IGNORE_PAT,
    .present_mask = EPT_READ | EPT_WRITE | EPT_EXECUTE,
    .writable = EPT_WRITE,
    .executable = EPT_EXECUTE,
    .accessed = EPT_ACCESSED,
    .dirty = EPT_DIRTY,
};

const struct vcpu_ops vmx_ops = {
    .name = "vmx",
    .nested = &ept_format,
    .carried_msrs = carried_msrs,
    .carried_count = CARRIED_MSRS,
    .present = vmx_present,
    .probe = probe,
    .cpu_enable = cpu_enable,
    .cpu_disable = cpu_disable,
    .vcpu_init = vcpu_init,
    .vcpu_free = vcpu_free,
    .vcpu_load = load,
    .vcpu_put = put,
    .enter = enter,
    .run = vmx_run,
    .reg_get = vmx_reg_get,
    .reg_set = vmx_reg_set,
    .seg_get = vmx_seg_get,
    .seg_set = vmx_seg_set,
    .fetch_state = vmx_fetch_state,
    .cpl = vmx_cpl,
    .can_interrupt = vmx_can_interrupt,
    .inject = vmx_inject,
    .uninject = vmx_uninject,
    .vectoring = vmx_vectoring,
    .window = vmx_window,
    .set_tsc_offset = set_tsc_offset,
    .set_exceptions = set_exceptions,
    .explain = vmx_explain,
    .field_get = field_get,
};
