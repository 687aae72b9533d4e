// Descriptor tables, exceptions and interrupts of the monitor itself.
#ifndef VIPERVISOR_CPU_TRAP_H
#define VIPERVISOR_CPU_TRAP_H

#include <stdbool.h>
#include <stdint.h>

struct cpu;

enum { SELECTOR_CODE = 0x08, SELECTOR_DATA = 0x10, SELECTOR_TSS = 0x20 };

struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

void trap_init_early(void); // IDT on the boot GDT, so that a fault can report itself
int trap_init_cpu(struct cpu *cpu); // own GDT, TSS and IST stacks, GS base; -ENOMEM

// Host values that a back end puts into its host-state area.
uint64_t trap_gdt_base(const struct cpu *cpu);
uint64_t trap_tss_base(const struct cpu *cpu);
uint64_t trap_idt_base(void);

// The interrupted state while an interrupt handler runs on the control CPU; NULL
// otherwise. A handler may change rip and rsp (the port's Ctrl-C out of native code).
extern struct trap_frame *irq_frame;

// Asked first when the control CPU faults in C; true: frame was changed, go on.
extern bool (*trap_recover)(struct trap_frame *frame);

// Accesses that may fault: false instead of a panic.
bool probe_read(uint64_t address, unsigned size, uint64_t *value);
bool probe_write(uint64_t address, unsigned size, uint64_t value);
bool probe_rdmsr(uint32_t index, uint64_t *value);
bool probe_wrmsr(uint32_t index, uint64_t value);

#endif
