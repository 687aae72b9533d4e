// Fixed IPIs: to one CPU, to several in every way, to whoever has least to do.
#include <stddef.h>

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

// What all CPUs together have counted there.
static uint32_t total(size_t counter) {
    uint32_t sum = 0;
    for (uint32_t id = 0; id < 256; id++) {
        sum += *(volatile uint32_t *)((uint8_t *)&cpus[id] + counter);
    }
    return sum;
}

// Until they have counted so far, or have had their time.
static void wait_for_total(size_t counter, uint32_t count) {
    uint64_t stop = rdtsc() + (uint64_t)WAIT_MS * (tsc_hz() / 1000);
    while (total(counter) < count && rdtsc() < stop) {
        cpu_pause();
    }
}

static uint32_t alls_due;

static void await_alls(uint32_t id) {
    failures += !wait_for(&cpus[id].alls, alls_due);
}

// By ICR and destination: the others have so many of them then, this CPU some more than before.
static void broadcast(const char *name, uint32_t to, uint32_t how, uint32_t due, uint32_t own) {
    apic_command(to, how | VALL);
    __asm__ volatile ("sti; nop; nop; cli");
    failures = 0;
    alls_due = due;
    for_each(await_alls);
    expect(name, failures == 0 && me()->alls == own, "%u, self %u", failures, me()->alls);
}

void check_broadcasts(void) {
    uint32_t before = me()->alls;
    broadcast("to all but oneself", 0, ICR_OTHERS, 1, before);
    broadcast("to all", 0, ICR_ALL, 2, before + 1);
    broadcast("to everybody by destination", use_x2 ? 0xFFFFFFFF : 0xFF, 0, 3, before + 2);
}

// A set of CPUs: all of them, or one of them that has least to do.
void check_logical(void) {
    enum { TIMES = 10 };
    const size_t logicals = offsetof(struct cpu, logicals), lowest = offsetof(struct cpu, lowest);
    uint32_t set = use_x2 ? 0xFFFE : 0xFE; // all but this one
    apic_command(set, ICR_LOGICAL | VLOGICAL);
    wait_for_total(logicals, others);
    for (uint32_t i = 0; i < TIMES; i++) {
        apic_command(set, ICR_LOGICAL | ICR_LOWEST | VLOWEST);
        wait_for_total(lowest, i + 1);
    }
    delay_ms(5); // for those that are too many
    expect("logical destination", total(logicals) == others && me()->logicals == 0, "%u of %u", total(logicals),
        others);
    expect("lowest priority takes one each", total(lowest) == TIMES, "%u of %u", total(lowest), (unsigned)TIMES);
}
