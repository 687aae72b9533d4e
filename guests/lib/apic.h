// The local APIC by its page or by MSRs, and the I/O APIC.
#ifndef GUEST_APIC_H
#define GUEST_APIC_H

#include <stdbool.h>
#include <stdint.h>

// Registers: offset in the page / 16, or MSR - 0x800 (Intel SDM vol. 3, 10.4.1, 10.12.1).
enum {
    APIC_ID = 0x02, APIC_VERSION = 0x03, APIC_TPR = 0x08, APIC_PPR = 0x0A, APIC_EOI = 0x0B,
    APIC_LDR = 0x0D, APIC_DFR = 0x0E, APIC_SVR = 0x0F, APIC_ISR = 0x10, APIC_TMR = 0x18, APIC_IRR = 0x20,
    APIC_ESR = 0x28, APIC_ICR = 0x30, APIC_ICR_HIGH = 0x31, APIC_LVT_TIMER = 0x32,
    APIC_LVT_LINT0 = 0x35, APIC_LVT_LINT1 = 0x36, APIC_LVT_ERROR = 0x37, APIC_INITIAL = 0x38,
    APIC_CURRENT = 0x39, APIC_DIVIDE = 0x3E, APIC_SELF_IPI = 0x3F,

    SVR_ENABLE = 0x100, LVT_MASKED = 0x10000, LVT_EXTINT = 0x700, LVT_NMI = 0x400,
    TIMER_PERIODIC = 0x20000, TIMER_DEADLINE = 0x40000, DIVIDE_BY_1 = 0xB,
    ICR_LOWEST = 0x100, ICR_NMI = 0x400, ICR_INIT = 0x4500, ICR_STARTUP = 0x4600, ICR_LOGICAL = 0x800,
    ICR_SELF = 0x40000, ICR_ALL = 0x80000, ICR_OTHERS = 0xC0000,
    MSR_APIC_BASE = 0x1B, MSR_TSC_DEADLINE = 0x6E0, MSR_X2APIC = 0x800,
    BASE_ENABLE = 0x800, BASE_X2 = 0x400,
    CPUID_1_EDX_APIC = 9, CPUID_1_ECX_X2APIC = 21, CPUID_1_ECX_DEADLINE = 24,
};

#define APIC_SPURIOUS 0xFF

void apic_enable(void); // this CPU's, in the mode it is in
bool apic_has_x2(void);
bool apic_enter_x2(void); // this CPU; false: it has none
bool apic_in_x2(void);
uint32_t apic_id(void);
uint32_t apic_read(uint32_t reg);
void apic_write(uint32_t reg, uint32_t value);
void apic_command(uint32_t destination, uint32_t low); // the ICR
bool apic_bit(uint32_t reg, unsigned vector); // of ISR, TMR or IRR

// Counts a vector and ends it; the last ones are kept in order.
void apic_count(unsigned vector);
extern volatile uint32_t apic_hits[256];
extern volatile uint8_t apic_order[256];
extern volatile uint32_t apic_taken; // how many are in apic_order (modulo 256)
// Waits with interrupts on until apic_hits[vector] is at least `count`; false: not in time.
bool apic_wait(unsigned vector, uint32_t count, unsigned ms);

uint32_t ioapic_read(uint32_t reg);
void ioapic_write(uint32_t reg, uint32_t value);
void ioapic_route(unsigned pin, uint8_t destination, uint32_t low);

#endif
