// Local and I/O APIC.
#include "apic.h"
#include "guest.h"
#include "traps.h"

#define APIC_PAGE ((volatile uint32_t *)0xFEE00000)
#define IOAPIC_PAGE ((volatile uint32_t *)0xFEC00000)
enum { ICR_BUSY = 0x1000, IOAPIC_WINDOW = 0x10 / 4, WORDS_PER_REGISTER = 4 };

volatile uint32_t apic_hits[256];
volatile uint8_t apic_order[256];
volatile uint32_t apic_taken;

bool apic_has_x2(void) {
    return cpuid(1, 0).ecx >> CPUID_1_ECX_X2APIC & 1;
}

bool apic_in_x2(void) {
    return rdmsr(MSR_APIC_BASE) & BASE_X2;
}

uint32_t apic_read(uint32_t reg) {
    return apic_in_x2() ? (uint32_t)rdmsr(MSR_X2APIC + reg) : APIC_PAGE[reg * WORDS_PER_REGISTER];
}

void apic_write(uint32_t reg, uint32_t value) {
    if (apic_in_x2()) {
        wrmsr(MSR_X2APIC + reg, value);
    } else {
        APIC_PAGE[reg * WORDS_PER_REGISTER] = value;
    }
}

uint32_t apic_id(void) {
    return apic_in_x2() ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

void apic_command(uint32_t destination, uint32_t low) {
    if (apic_in_x2()) {
        wrmsr(MSR_X2APIC + APIC_ICR, (uint64_t)destination << 32 | low);
        return;
    }
    apic_write(APIC_ICR_HIGH, destination << 24);
    apic_write(APIC_ICR, low);
    while (apic_read(APIC_ICR) & ICR_BUSY) {
        cpu_pause();
    }
}

bool apic_bit(uint32_t reg, unsigned vector) {
    return apic_read(reg + vector / 32) >> vector % 32 & 1;
}

void apic_enable(void) {
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | BASE_ENABLE);
    apic_write(APIC_SVR, SVR_ENABLE | APIC_SPURIOUS);
    apic_write(APIC_TPR, 0);
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    apic_write(APIC_LVT_ERROR, LVT_MASKED);
    apic_write(APIC_DIVIDE, DIVIDE_BY_1);
}

bool apic_enter_x2(void) {
    if (!apic_has_x2()) {
        return false;
    }
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | BASE_ENABLE | BASE_X2);
    return true;
}

static bool take(struct trap_frame *frame) {
    uint8_t vector = (uint8_t)frame->vector;
    __atomic_fetch_add(&apic_hits[vector], 1, __ATOMIC_SEQ_CST);
    apic_order[__atomic_fetch_add(&apic_taken, 1, __ATOMIC_SEQ_CST) % 256] = vector;
    apic_write(APIC_EOI, 0);
    return true;
}

void apic_count(unsigned vector) {
    trap_hook(vector, take);
}

bool apic_wait(unsigned vector, uint32_t count, unsigned ms) {
    uint64_t stop = rdtsc() + (uint64_t)ms * (tsc_hz() / 1000);
    interrupts_on();
    while (apic_hits[vector] < count && rdtsc() < stop) {
        cpu_pause();
    }
    interrupts_off();
    return apic_hits[vector] >= count;
}

uint32_t ioapic_read(uint32_t reg) {
    IOAPIC_PAGE[0] = reg;
    return IOAPIC_PAGE[IOAPIC_WINDOW];
}

void ioapic_write(uint32_t reg, uint32_t value) {
    IOAPIC_PAGE[0] = reg;
    IOAPIC_PAGE[IOAPIC_WINDOW] = value;
}

void ioapic_route(unsigned pin, uint8_t destination, uint32_t low) {
    enum { REDIRECTION = 0x10 };
    ioapic_write(REDIRECTION + 2 * pin, LVT_MASKED);
    ioapic_write(REDIRECTION + 2 * pin + 1, (uint32_t)destination << 24);
    ioapic_write(REDIRECTION + 2 * pin, low);
}
