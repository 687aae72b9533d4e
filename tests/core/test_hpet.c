// The HPET: counter, comparators, status and pins.
// sources: hypervisor/dev/hpet.c
#include "check.h"
#include "dev/hpet.h"

// 20 TSC ticks are a microsecond, a fifth of one is a count.
enum { TSC_HZ = 20000000, PER_US = 20, US = 100 };
enum { CAPABILITIES = 0, CONFIG = 0x10, STATUS = 0x20, COUNTER = 0xF0, TIMER0 = 0x100, TIMER1 = 0x120, COMPARATOR = 8 };
enum { LEVEL = 2, INTERRUPT = 4, PERIODIC = 8, SET = 0x40, MODE_32 = 0x100, PIN_17 = 17 << 9 };

static struct hpet h;
static uint64_t now;

static void start(void) {
    now = 1000;
    hpet_init(&h, TSC_HZ);
    EQUAL(h.next_tsc, UINT64_MAX);
}

static uint64_t get(uint64_t offset) {
    return hpet_read(&h, now, offset, 8);
}

static void set(uint64_t offset, uint64_t value) {
    hpet_write(&h, now, offset, 8, value);
}

// What is pulsed is taken once.
static uint32_t pulses(void) {
    hpet_update(&h, now);
    uint32_t taken = h.pulses;
    h.pulses = 0;
    return taken;
}

CASE(capabilities) {
    start();
    EQUAL(get(CAPABILITIES), UINT64_C(0x0098968080862201));
    EQUAL(hpet_read(&h, now, 4, 4), 10000000); // femtoseconds of a count
    EQUAL(hpet_read(&h, now, 1, 1), 0x22);
    set(CAPABILITIES, 0);
    EQUAL(get(CAPABILITIES) & 0xFF, 1);
    EQUAL(get(TIMER0) >> 32, 0x00FF0000);
    EQUAL(get(TIMER0 + 3 * 0x20), 0); // no such timer
    EQUAL(get(COUNTER - 8), 0);
}

CASE(what_is_not_aligned_reads_all_ones_and_writes_nothing) {
    start();
    set(TIMER0, PERIODIC | SET);
    EQUAL(hpet_read(&h, now, TIMER0 + 4, 8), UINT64_MAX);
    EQUAL(hpet_read(&h, now, TIMER0 + 1, 2), UINT64_MAX);
    hpet_write(&h, now, TIMER0 + COMPARATOR + 4, 8, 0);
    hpet_write(&h, now, TIMER0 + COMPARATOR + 2, 4, 0);
    EQUAL(get(TIMER0 + COMPARATOR), UINT64_MAX);
    EQUAL(get(TIMER0) & SET, SET);
}

CASE(the_counter_counts_while_it_is_enabled) {
    start();
    now += 100;
    EQUAL(get(COUNTER), 0);
    set(CONFIG, 1);
    now += 3 * PER_US;
    EQUAL(get(COUNTER), 3 * US);
    set(COUNTER, 5); // not while it counts
    EQUAL(get(COUNTER), 3 * US);
    set(CONFIG, 0);
    now += 3 * PER_US;
    EQUAL(get(COUNTER), 3 * US);
    hpet_write(&h, now, COUNTER + 4, 4, 7);
    EQUAL(get(COUNTER), UINT64_C(7) << 32 | 3 * US);
    set(CONFIG, UINT64_MAX);
    EQUAL(get(CONFIG), 1); // no legacy replacement
    now += PER_US;
    EQUAL(get(COUNTER), (UINT64_C(7) << 32 | 3 * US) + US);
}

CASE(a_match_is_an_edge_once) {
    start();
    set(TIMER0, INTERRUPT | PIN_17);
    set(TIMER0 + COMPARATOR, 4 * US);
    EQUAL(h.next_tsc, UINT64_MAX);
    set(CONFIG, 1);
    EQUAL(h.next_tsc, now + 4 * PER_US);
    now += 4 * PER_US - 1;
    EQUAL(pulses(), 0);
    now++;
    EQUAL(pulses(), 1 << 17);
    EQUAL(get(STATUS), 0);
    now += 1000 * PER_US;
    EQUAL(pulses(), 0);
    EQUAL(h.next_tsc, UINT64_MAX);
    set(TIMER0 + COMPARATOR, 1); // gone by: it would come after the next wrap
    now += 1000 * PER_US;
    EQUAL(pulses(), 0);
}

CASE(a_match_without_its_pin_is_none) {
    start();
    set(TIMER0, PIN_17);
    set(TIMER0 + COMPARATOR, US);
    set(TIMER1, INTERRUPT | 2 << 9); // not one of its pins
    set(TIMER1 + COMPARATOR, US);
    set(CONFIG, 1);
    now += 2 * PER_US;
    EQUAL(pulses(), 0);
    EQUAL(h.pins, 0);
}

CASE(a_level_stays_until_its_status_is_cleared) {
    start();
    set(TIMER1, INTERRUPT | LEVEL | PIN_17);
    set(TIMER1 + COMPARATOR, 2 * US);
    set(CONFIG, 1);
    now += 2 * PER_US;
    EQUAL(pulses(), 0);
    EQUAL(h.pins, 1 << 17);
    EQUAL(get(STATUS), 2);
    set(STATUS, 1);
    EQUAL(h.pins, 1 << 17);
    set(TIMER1, LEVEL | PIN_17);
    EQUAL(h.pins, 0);
    set(TIMER1, INTERRUPT | LEVEL | PIN_17);
    EQUAL(h.pins, 1 << 17);
    hpet_write(&h, now, STATUS, 4, 2);
    EQUAL(h.pins, 0);
    EQUAL(get(STATUS), 0);
}

CASE(periods_keep_their_grid) {
    start();
    set(CONFIG, 1);
    set(TIMER0, INTERRUPT | PERIODIC | SET | PIN_17);
    set(TIMER0 + COMPARATOR, 5 * US); // the first match
    EQUAL(get(TIMER0) & SET, 0);
    set(TIMER0 + COMPARATOR, 3 * US); // and its period
    now += 5 * PER_US;
    EQUAL(pulses(), 1 << 17);
    EQUAL(get(TIMER0 + COMPARATOR), 8 * US);
    now += 3 * PER_US + 1;
    EQUAL(pulses(), 1 << 17);
    EQUAL(pulses(), 0);
    now += 7 * PER_US; // two went by: one interrupt
    EQUAL(pulses(), 1 << 17);
    EQUAL(get(TIMER0 + COMPARATOR), 17 * US);
}

CASE(thirty_two_bits_wrap) {
    start();
    set(COUNTER, UINT64_C(0x5FFFFFF00));
    set(TIMER0, INTERRUPT | MODE_32 | PIN_17);
    set(TIMER0 + COMPARATOR, UINT64_C(0xAA00000000) | (2 * US - 0x100));
    EQUAL(get(TIMER0 + COMPARATOR), (uint32_t)(2 * US - 0x100));
    set(CONFIG, 1);
    now += 2 * PER_US - 1;
    EQUAL(pulses(), 0);
    now++;
    EQUAL(pulses(), 1 << 17);
    EQUAL(h.next_tsc, now + ((UINT64_C(1) << 32) * PER_US + US - 1) / US); // and again after a wrap
}
