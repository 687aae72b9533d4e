// Local APIC, interrupts between CPUs, and time.
#ifndef VIPERVISOR_CPU_SMP_H
#define VIPERVISOR_CPU_SMP_H

#include <stdbool.h>
#include <stdint.h>

struct cpu;
struct trap_frame;

// Physical vectors. Everything below 0x20 is an exception.
enum {
    VECTOR_ISA = 0x20, // 0x20 + ISA IRQ, control CPU only
    VECTOR_TIMER = 0x40, // the CPU's own APIC timer
    VECTOR_KICK = 0x41, // wake up and look at your vCPU
    VECTOR_SPURIOUS = 0xFF,
};

void apic_init_cpu(void); // on each CPU
void cpu_features_init(void); // on each CPU
// The 8259 off: firmware leaves it live, with IRQ 0 at vector 8. Before apic_init_cpu,
// which masks LINT0: a line that falls while LINT0 is masked stays pending in QEMU.
void pic_mask_all(void);
void irq_init(void); // I/O APIC masked
void time_init(void);
uint32_t apic_id(void);
void apic_eoi(void);
void apic_send(uint32_t apic_id, uint8_t vector);
void apic_send_raw(uint32_t apic_id, uint32_t command); // ICR low word
void cpu_kick(struct cpu *cpu); // VECTOR_KICK

// One-shot interrupt at host TSC `deadline` (at once when past); 0 turns it off.
void timer_arm(uint64_t deadline);

extern uint64_t tsc_hz; // measured once against the PIT
uint64_t ns_to_tsc(uint64_t ns);
uint64_t tsc_to_ns(uint64_t tsc);
void delay_us(uint32_t us);

// Runs on the control CPU in interrupt context, EOI done after it.
void irq_set_handler(uint8_t vector, void (*handler)(void));
// Routes ISA interrupt `irq` to the control CPU (I/O APIC, or 8259 without one).
int isa_irq_enable(uint8_t irq, void (*handler)(void));

void smp_start(void); // INIT-SIPI-SIPI to every CPU of the MADT

#endif
