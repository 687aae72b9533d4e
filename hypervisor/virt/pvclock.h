// The paravirtual clock of KVM's interface, which stock kernels know: a page where
// the guest finds how its TSC becomes time. Layouts and registers: the Linux kernel's
// Documentation/virt/kvm/x86/msr.rst. CPUID 0x40000101 offers it.
#ifndef VIPERVISOR_VIRT_PVCLOCK_H
#define VIPERVISOR_VIRT_PVCLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

enum {
    MSR_KVM_WALL_CLOCK_NEW = 0x4B564D00,
    MSR_KVM_SYSTEM_TIME_NEW = 0x4B564D01,
};

// Nanoseconds of a TSC difference: ((d << shift) or (d >> -shift)) * mul >> 32.
// mul has its highest bit set: the exact 1 GHz takes shift 1, since 2^32 does not fit.
void pvclock_scale(uint64_t hz, uint32_t *mul, int8_t *shift);

// What a read of one of the two registers gives.
uint64_t pvclock_read(const struct vcpu *v, uint32_t msr);
// A write. False: the structure would not lie in the guest's memory.
bool pvclock_write(struct vcpu *v, uint32_t msr, uint64_t value);
// The vCPU's TSC was set: its page follows.
void pvclock_update(struct vcpu *v);

#endif
