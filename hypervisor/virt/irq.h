// Interrupts of a guest: between its APICs, from its devices, into its vCPUs.
#ifndef VIPERVISOR_VIRT_IRQ_H
#define VIPERVISOR_VIRT_IRQ_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/guest.h"

// Device ranges of the APICs (mmio.h).
int irq_map(struct guest *g);

// x2APIC registers, IA32_APIC_BASE and IA32_TSC_DEADLINE. False: #GP.
bool irq_is_msr(uint32_t index);
bool irq_rdmsr(struct vcpu *v, uint32_t index, uint64_t *value);
bool irq_wrmsr(struct vcpu *v, uint32_t index, uint64_t value);

// A register in the page of the xAPIC, 32 bits at a multiple of 16; only where the page is
// there (irq_has_page).
uint32_t irq_register_read(struct vcpu *v, uint32_t reg);
void irq_register_write(struct vcpu *v, uint32_t reg, uint32_t value);
static inline bool irq_has_page(const struct vcpu *v) {
    return (v->lapic.base & ~APIC_BASE_BSP) == (APIC_BASE_ADDRESS | APIC_BASE_EN);
}
// An x2APIC MSR, less 0x800.
bool irq_write_x2(struct vcpu *v, uint32_t reg, uint64_t value);
#define IRQ_MSR_X2APIC 0x800
#define IRQ_MSR_X2APIC_COUNT 0x40

// Sends what the I/O APIC has to send; `from` runs on this CPU and holds the guest's lock.
void irq_flush_slow(struct guest *g, struct vcpu *from);
static inline void irq_flush(struct guest *g, struct vcpu *from) {
    if (__builtin_expect(g->platform.ioapic.due != 0, 0)) {
        irq_flush_slow(g, from);
    }
}

// What a device was asked to do by `v`, which runs on this CPU and holds the lock, goes on:
// vCPU 0 looks after the devices' timers and the 8259.
static inline __attribute__((always_inline)) void irq_after_access(struct guest *g, struct vcpu *v) {
    irq_flush(g, v);
    struct vcpu *first = g->vcpus[0];
    uint32_t wanted = g->platform.deadline < first->timer_next - g->tsc_start ? REQ_TIMER : 0;
    if (platform_irq_pending(&g->platform) && !v->window_open_wanted) {
        wanted |= REQ_IRQ;
    }
    if (wanted != 0) {
        vcpu_request(first, wanted);
    }
}

// On the vCPU's own CPU:
bool irq_pending(struct vcpu *v); // the CPU could take one, were IF set
uint8_t irq_take(struct vcpu *v); // acknowledges it; after irq_pending
// Nothing more waits in any way. False says nothing.
static inline bool irq_all_quiet(const struct vcpu *v) {
    return v->lapic.irr_words == 0 && v->lapic.posted_words == 0 && !v->cr8_watched
        && !(v->index == 0 && platform_irq_pending(&v->guest->platform));
}
void irq_timer_update(struct vcpu *v); // v's own APIC timer
// Asks to be told when CR8 falls, where it would not exit and holds an interrupt back.
void irq_watch_cr8(struct vcpu *v);
void irq_cr8_written(struct vcpu *v, uint8_t cr8); // by an instruction that exited
// 10.4.7.3: what INIT does to the APIC.
void irq_reset(struct vcpu *v);

#endif
