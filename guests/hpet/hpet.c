// The HPET (IA-PC HPET specification 1.0a): a counter that halts, runs at its rate and can
// be set, and matches that come as edges and levels by the I/O APIC, once and periodically.
#include "apic.h"
#include "check.h"
#include "guest.h"
#include "traps.h"

#define HPET 0xFED00000ull
#define WHOLE(offset) (*(volatile uint64_t *)(HPET + (offset)))
#define HALF(offset) (*(volatile uint32_t *)(HPET + (offset)))

enum {
    CAPABILITIES = 0x00, CONFIG = 0x10, STATUS = 0x20, COUNTER = 0xF0, TIMER0 = 0x100, COMPARATOR = 8,
    ENABLE = 1, COUNT_64 = 0x2000,
    LEVEL = 2, INTERRUPT = 4, PERIODIC = 8, SET = 0x40, MODE_32 = 0x100, ROUTE_SHIFT = 9,
    ENTRY_LEVEL = 0x8000, ENTRY_MASKED = 0x10000,
    VEDGE = 0x51, VLEVEL = 0x61, VPERIOD = 0x71, VSHORT = 0x81, WAIT_MS = 20000, FS_PER_US = 1000000000,
};

static unsigned pin;
static uint64_t per_ms; // counts

// A count and the TSC before and behind it.
struct sample {
    uint64_t before, count, after;
};

static struct sample take(void) {
    struct sample s;
    s.before = rdtsc();
    s.count = WHOLE(COUNTER);
    s.after = rdtsc();
    return s;
}

static void check_counter(void) {
    uint64_t capabilities = WHOLE(CAPABILITIES), fs = capabilities >> 32;
    expect("it counts 64 bits", capabilities & COUNT_64, "%llx", (unsigned long long)capabilities);
    expect("at 10 MHz at least", fs != 0 && fs <= 100000000, "%llu fs", (unsigned long long)fs);
    expect("half a register", HALF(CAPABILITIES) == (uint32_t)capabilities && HALF(CAPABILITIES + 4) == fs, "%x %x",
        HALF(CAPABILITIES), HALF(CAPABILITIES + 4));
    per_ms = (uint64_t)FS_PER_US * 1000 / fs;

    WHOLE(CONFIG) &= ~(uint64_t)ENABLE;
    uint64_t at = WHOLE(COUNTER);
    delay_ms(2);
    expect("halted it stands", WHOLE(COUNTER) == at, "%llu more", (unsigned long long)(WHOLE(COUNTER) - at));
    WHOLE(COUNTER) = 1ull << 40;
    expect("and can be set", WHOLE(COUNTER) == 1ull << 40, "%llx", (unsigned long long)WHOLE(COUNTER));
    HALF(COUNTER + 4) = 2;
    expect("half of it, too", WHOLE(COUNTER) == 2ull << 32, "%llx", (unsigned long long)WHOLE(COUNTER));

    WHOLE(CONFIG) |= ENABLE;
    struct sample first = take();
    delay_ms(20);
    struct sample last = take();
    uint64_t ticks = (last.count - first.count) * (tsc_hz() / 1000) / per_ms;
    uint64_t least = last.before - first.after, most = last.after - first.before;
    expect("it keeps up with the TSC", ticks >= least - least / 50 && ticks <= most + most / 50,
        "%llu, not %llu to %llu", (unsigned long long)ticks, (unsigned long long)least, (unsigned long long)most);

    unsigned backwards = 0;
    uint64_t count = 0;
    for (unsigned i = 0; i < 300; i++) {
        uint64_t now = WHOLE(COUNTER);
        backwards += now < count;
        count = now;
        WHOLE(CONFIG) ^= ENABLE;
    }
    WHOLE(CONFIG) |= ENABLE;
    expect("it never goes back", backwards == 0 && WHOLE(COUNTER) > count, "%u times", backwards);
}

// While the counter stands: nothing goes by meanwhile.
static void arm(uint64_t how, uint64_t in, uint64_t period) {
    WHOLE(CONFIG) &= ~(uint64_t)ENABLE;
    WHOLE(TIMER0) = how | (uint64_t)pin << ROUTE_SHIFT;
    if (how & MODE_32) {
        HALF(TIMER0 + COMPARATOR) = HALF(COUNTER) + (uint32_t)in;
    } else {
        WHOLE(TIMER0 + COMPARATOR) = WHOLE(COUNTER) + in;
    }
    if (period != 0) {
        WHOLE(TIMER0 + COMPARATOR) = period;
    }
    WHOLE(CONFIG) |= ENABLE;
}

static void check_edge(void) {
    apic_count(VEDGE);
    ioapic_route(pin, (uint8_t)apic_id(), VEDGE);
    arm(INTERRUPT, 3 * per_ms, 0);
    uint64_t due = WHOLE(TIMER0 + COMPARATOR);
    bool came = apic_wait(VEDGE, 1, WAIT_MS);
    uint64_t now = WHOLE(COUNTER);
    expect("a match is an interrupt", came && now >= due, "%u, %lld counts early", apic_hits[VEDGE],
        (long long)(due - now));
    delay_ms(5);
    __asm__ volatile ("sti; nop; nop; cli");
    expect("and no more than one", apic_hits[VEDGE] == 1, "%u", apic_hits[VEDGE]);

    apic_count(VSHORT);
    ioapic_route(pin, (uint8_t)apic_id(), VSHORT);
    arm(INTERRUPT | MODE_32, per_ms, 0);
    expect("a match of 32 bits", apic_wait(VSHORT, 1, WAIT_MS), "none");
    WHOLE(TIMER0) = 0;
}

static void check_periodic(void) {
    enum { PERIODS = 5 };
    apic_count(VPERIOD);
    ioapic_route(pin, (uint8_t)apic_id(), VPERIOD);
    uint64_t start = WHOLE(COUNTER); // it stands while the timer is armed
    arm(INTERRUPT | PERIODIC | SET, per_ms, 8 * per_ms);
    bool came = apic_wait(VPERIOD, PERIODS, WAIT_MS);
    uint64_t took = WHOLE(COUNTER) - start, least = (1 + (PERIODS - 1) * 8) * per_ms;
    WHOLE(TIMER0) = 0;
    expect("matches come again and again", came && took >= least, "%u in %llu counts, at least %llu",
        apic_hits[VPERIOD], (unsigned long long)took, (unsigned long long)least);
    __asm__ volatile ("sti; nop; nop; cli");
    uint32_t hits = apic_hits[VPERIOD];
    delay_ms(5);
    __asm__ volatile ("sti; nop; nop; cli");
    expect("until the timer is off", apic_hits[VPERIOD] == hits, "%u more", apic_hits[VPERIOD] - hits);
}

static volatile uint32_t levels, statuses;

// The second time its cause is taken away.
static bool on_level(struct trap_frame *frame) {
    (void)frame;
    levels++;
    statuses += WHOLE(STATUS) & 1;
    if (levels == 2) {
        WHOLE(STATUS) = 1;
    }
    if (levels == 9) { // nothing else ends this one
        ioapic_write(0x10 + 2 * pin, ENTRY_MASKED);
    }
    apic_write(APIC_EOI, 0);
    return true;
}

static void check_level(void) {
    trap_hook(VLEVEL, on_level);
    ioapic_route(pin, (uint8_t)apic_id(), ENTRY_LEVEL | VLEVEL);
    arm(INTERRUPT | LEVEL, per_ms, 0);
    uint64_t end = rdtsc() + WAIT_MS * (tsc_hz() / 1000);
    while (levels < 2 && rdtsc() < end) {
        __asm__ volatile ("sti; nop; nop; cli");
    }
    delay_ms(2);
    __asm__ volatile ("sti; nop; nop; cli");
    expect("a level stays until its status is cleared", levels == 2 && statuses == 2, "%u, %u with a status", levels,
        statuses);
    WHOLE(TIMER0) = 0;
}

int guest_main(void) {
    tsc_hz();
    irq_init();
    apic_enable();
    outb(0x43, 0x30); // the PIT is still: QEMU's HPET has its pin
    check_counter();
    pin = (unsigned)__builtin_ctz((uint32_t)(WHOLE(TIMER0) >> 32));
    check_edge();
    check_periodic();
    check_level();
    return check_end();
}
