// Sleep with interrupts off, which only an NMI ends.
#include "check.h"
#include "guest.h"
#include "nmi.h"
#include "smp.h"

static volatile uint32_t relay_rounds, relay_boss;

extern const uint8_t deaf_look[], deaf_over[];

// One that comes between the look and the HLT is not slept over.
static bool on_nmi(struct trap_frame *frame) {
    if (frame->rip >= (uintptr_t)deaf_look && frame->rip < (uintptr_t)deaf_over) {
        frame->rip = (uintptr_t)deaf_over;
    }
    add(&me()->nmis);
    nmi_came(frame);
    return true;
}

void deaf_begin(void) {
    trap_hook(2, on_nmi);
}

// With interrupts off, until the count of NMIs is another: they alone may end the HLT.
static __attribute__((noinline)) void hlt_until(volatile uint32_t *count, uint32_t old) {
    __asm__ volatile (
        "deaf_look: cmpl %1, %0\n"
        "jne deaf_over\n"
        "hlt\n"
        "deaf_over:" : : "m" (*count), "r" (old) : "memory", "cc");
}

void deaf_sleep(void) {
    struct cpu *cpu = me();
    uint32_t from = cpu->nmis;
    add(&cpu->done);
    hlt_until(&cpu->nmis, from);
}

static void nmi_to(uint32_t id) {
    uint32_t done = cpus[id].done, before = cpus[id].nmis;
    cpus[id].command = SLEEP_DEAF;
    apic_command(id, VPING); // it looks at its command
    if (!wait_for(&cpus[id].done, done + 1)) {
        failures++;
    }
    delay_ms(2);
    uint32_t pings = cpus[id].pings;
    apic_command(id, VPING); // which does not wake it
    delay_ms(5);
    failures += cpus[id].pings != pings;
    apic_command(id, ICR_NMI);
    if (!wait_for(&cpus[id].nmis, before + 1)) {
        failures++;
    }
    failures += !wait_for(&cpus[id].pings, pings + 1);
}

void check_deaf_sleep(void) {
    failures = 0;
    for_each(nmi_to);
    expect("an NMI ends a deaf sleep", failures == 0, "%u failures", failures);
}

// NMIs to and fro; each sleeps deaf until the other's, so for a moment one is only about to
// wake while the other sleeps already: nobody may take that for the end.
static void relay(uint32_t to, bool first) {
    struct cpu *cpu = me();
    uint32_t from = cpu->nmis;
    if (!first) {
        add(&cpu->done);
    }
    for (uint32_t i = 0; i < relay_rounds; i++) {
        if (first) {
            apic_command(to, ICR_NMI);
        }
        while (cpu->nmis == from + i) {
            hlt_until(&cpu->nmis, from + i);
        }
        if (!first) {
            apic_command(to, ICR_NMI);
        }
    }
}

void deaf_relay(void) {
    relay(relay_boss, false);
}

static void relay_with(uint32_t id) {
    uint32_t done = cpus[id].done;
    relay_boss = apic_id();
    cpus[id].command = RELAY;
    apic_command(id, VPING);
    if (!wait_for(&cpus[id].done, done + 1)) {
        failures++;
        return;
    }
    interrupts_off();
    relay(id, true);
    interrupts_on();
    failures += !wait_for(&cpus[id].done, done + 2);
}

void check_relay(uint32_t rounds) {
    failures = 0;
    relay_rounds = rounds;
    for_each(relay_with);
    expect("NMIs between deaf sleepers", failures == 0, "%u failures", failures);
}
