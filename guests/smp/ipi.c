// Fixed IPIs: to one CPU, to several in every way, to whoever has least to do.
#include "check.h"
#include "guest.h"
#include "smp.h"

enum { VALL = 0xA1, VLOWEST = 0xB1, VLOGICAL = 0xC1 };

HANDLER(on_ping, add(&me()->pings))
HANDLER(on_all, add(&me()->alls))
HANDLER(on_lowest, add(&me()->lowest))
HANDLER(on_logical, add(&me()->logicals))

void ipi_begin(void) {
    trap_hook(VPING, on_ping);
    trap_hook(VALL, on_all);
    trap_hook(VLOWEST, on_lowest);
    trap_hook(VLOGICAL, on_logical);
}

void ping(uint32_t id) {
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t before = cpus[id].pings;
        apic_command(id, VPING);
        if (!wait_for(&cpus[id].pings, before + 1) || cpus[id].pings != before + 1) {
            failures++;
            return;
        }
    }
}

void check_pings(void) {
    failures = 0;
    for_each(ping);
    expect("fixed IPIs to a sleeping CPU", failures == 0, "%u CPUs", failures);
}

// To the others, to all, and to all by destination.
void check_broadcasts(void) {
    struct cpu *self = me();
    uint32_t before = self->alls;
    apic_command(0, ICR_OTHERS | VALL);
    uint32_t got = 0;
    uint64_t stop = rdtsc() + 2 * tsc_hz();
    while (got < others && rdtsc() < stop) {
        got = 0;
        for (uint32_t id = 0; id < 256; id++) {
            got += cpus[id].alls != 0;
        }
    }
    __asm__ volatile ("sti; nop; nop; cli");
    expect("to all but oneself", got == others && self->alls == before, "%u, self %u", got, self->alls - before);
    apic_command(0, ICR_ALL | VALL);
    __asm__ volatile ("sti; nop; nop; cli");
    failures = 0;
    for (uint32_t id = 0; id < 256; id++) {
        if (cpus[id].starts != 0 && id != apic_id()) {
            failures += !wait_for(&cpus[id].alls, 2);
        }
    }
    expect("to all", failures == 0 && self->alls == before + 1, "%u, self %u", failures, self->alls - before);
    apic_command(use_x2 ? 0xFFFFFFFF : 0xFF, VALL);
    __asm__ volatile ("sti; nop; nop; cli");
    for (uint32_t id = 0; id < 256; id++) {
        if (cpus[id].starts != 0 && id != apic_id()) {
            failures += !wait_for(&cpus[id].alls, 3);
        }
    }
    expect("to everybody by destination", failures == 0 && self->alls == before + 2, "%u, self %u", failures,
        self->alls - before);
}

// A set of CPUs: all of them, or one of them that has least to do.
void check_logical(void) {
    uint32_t set = use_x2 ? 0xFFFE : 0xFE; // all but this one
    apic_command(set, ICR_LOGICAL | VLOGICAL);
    delay_ms(20);
    uint32_t all = 0;
    for (uint32_t id = 0; id < 256; id++) {
        all += cpus[id].logicals;
    }
    expect("logical destination", all == others && me()->logicals == 0, "%u of %u", all, others);
    for (unsigned i = 0; i < 10; i++) {
        uint32_t sum = 0;
        apic_command(set, ICR_LOGICAL | ICR_LOWEST | VLOWEST);
        uint64_t stop = rdtsc() + 2 * tsc_hz();
        while (sum < i + 1 && rdtsc() < stop) {
            sum = 0;
            for (uint32_t id = 0; id < 256; id++) {
                sum += cpus[id].lowest;
            }
        }
    }
    delay_ms(5);
    uint32_t one = 0;
    for (uint32_t id = 0; id < 256; id++) {
        one += cpus[id].lowest;
    }
    expect("lowest priority takes one each", one == 10, "%u of 10", one);
}
