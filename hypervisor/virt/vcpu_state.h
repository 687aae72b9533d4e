// The part of a vCPU's state that the world switch leaves in the CPU, moved when
// another vCPU or Python takes it (vcpu_load, vcpu_put).
#ifndef VIPERVISOR_VIRT_VCPU_STATE_H
#define VIPERVISOR_VIRT_VCPU_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "virt/vcpu.h"

struct cpu;

// Vectors of the exceptions that push an error code: #DF #TS #NP #SS #GP #PF #AC
// #CP #VC #SX (APM volume 2, table 8-1).
#define EXC_VECTORS_WITH_ERROR UINT32_C(0x60227D00)

void fpu_probe(void); // once: sizes and the machine's largest XCR0
int fpu_cpu_enable(struct cpu *cpu); // on each CPU
size_t fpu_area_size(void);
uint64_t fpu_xcr0_max(void); // 0 without XSAVE
void fpu_reset(void *area); // as after power-on

void state_load(struct vcpu *v, struct cpu *cpu);
void state_put(struct vcpu *v, struct cpu *cpu);

// Breakpoints of the guest while it runs. TCG does not honour the DR7 that an
// entry loads, and leaves an enabled one on in root mode: so the host's own MOV
// DR does it just before the entry and undoes it just after, and linear addresses
// of the monitor's code are left out.
void vcpu_debug_arm(const struct vcpu *v, uint64_t dr7);
void vcpu_debug_disarm(void);

#endif
