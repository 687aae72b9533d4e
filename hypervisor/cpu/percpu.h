// What each physical CPU has of its own. GS points at it in root mode.
#ifndef VIPERVISOR_CPU_PERCPU_H
#define VIPERVISOR_CPU_PERCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPU_MAX 16
#define CPU_CONTROL 0 // Python lives here and nowhere else

struct vcpu;

enum cpu_state {
    CPU_ABSENT,
    CPU_STARTING,
    CPU_IDLE, // up, no vCPU assigned
    CPU_GUEST, // running (or waiting for) the vCPU in `vcpu`
    CPU_FAILED,
};

struct cpu {
    struct cpu *self; // offset 0: this_cpu() reads %gs:0
    uint32_t index; // 0 is the control CPU; MADT order
    uint32_t apic_id;
    volatile uint32_t state; // enum cpu_state
    bool virt_on; // VMXON / EFER.SVME done
    struct vcpu *volatile vcpu; // assigned by the control CPU while the CPU is idle
    volatile uint32_t asked, looked; // `looked` follows before each look at `vcpu`
    struct vcpu *loaded; // whose state is in this CPU's registers and VMCS pointer
    uint64_t timer_deadline; // TSC the APIC timer is armed for; 0: not armed
    uint64_t kicks; // kick IPIs taken
    uint64_t irqs; // physical interrupts taken
    uint64_t nmis;
    uint64_t stray_debug; // #DB in root mode from a guest's own breakpoints
    // Where a fault in a probing access resumes (trap.h), 0: a fault is a panic.
    uint64_t fixup_rip;
    void *virt_page; // VMXON region or host save area, 4 KiB
    void *virt_host; // vendor's own per-CPU page (svm: host VMSAVE area)
};

extern struct cpu cpus[CPU_MAX];
extern uint32_t cpu_count; // CPUs that answered

static inline struct cpu *this_cpu(void) {
    struct cpu *cpu;
    __asm__ ("mov %%gs:0, %0" : "=r" (cpu));
    return cpu;
}

#endif
