// The high precision event timers (IA-PC HPET specification 1.0a): a counter of 64 bits and
// three comparators, each with a pin of the I/O APIC. Neither legacy replacement nor FSB
// messages, and no ACPI table names it: kernels keep to clocks that cost no exit, and who
// knows its place finds it.
#ifndef VIPERVISOR_DEV_HPET_H
#define VIPERVISOR_DEV_HPET_H

#include <stdbool.h>
#include <stdint.h>

#define HPET_ADDRESS UINT64_C(0xFED00000)
#define HPET_SIZE UINT64_C(0x400)
#define HPET_TIMERS 3
#define HPET_PERIOD_NS 10

struct hpet_timer {
    uint64_t config, comparator, period;
    uint64_t due; // count at which it matches; UINT64_MAX: never
};

struct hpet {
    uint64_t tsc_hz;
    uint64_t next_tsc; // when hpet_update is due; UINT64_MAX: never
    uint64_t config, status;
    uint64_t count, since; // the counter at TSC `since`; it stands there while it is halted
    struct hpet_timer timer[HPET_TIMERS];
    uint32_t pins, pulses; // of the I/O APIC: held, and to be held for a moment
};

void hpet_init(struct hpet *h, uint64_t tsc_hz);
// An access within its registers of 1, 2, 4 or 8 bytes; not at a multiple of its size it reads
// all ones and writes nothing.
uint64_t hpet_read(const struct hpet *h, uint64_t tsc, uint64_t offset, uint8_t size);
void hpet_write(struct hpet *h, uint64_t tsc, uint64_t offset, uint8_t size, uint64_t value);
void hpet_update(struct hpet *h, uint64_t tsc);

#endif
