// The paravirtual clock: its scale, and the page that a guest reads.
// sources: hypervisor/virt/pvclock.c
#include "check.h"
#include "dev/ratio.h"
#include "virt/guest.h"
#include "virt/pvclock.h"

enum { MEMORY = 8192 };

static _Alignas(64) uint8_t memory[MEMORY];
static struct guest g;
static struct vcpu v;
uint64_t tsc_hz;

void *guest_write_ptr(struct guest *guest, uint64_t gpa, size_t *available) {
    CHECK(guest == &g);
    *available = gpa < MEMORY ? MEMORY - gpa : 0;
    return gpa < MEMORY ? memory + gpa : NULL;
}

// What a guest computes (pvclock_scale_delta of Linux).
static uint64_t nanoseconds(uint64_t delta, uint32_t mul, int8_t shift) {
    delta = shift < 0 ? delta >> -shift : delta << shift;
    return (uint64_t)((ratio_product)delta * mul >> 32);
}

CASE(scale_is_exact_to_a_billionth) {
    static const uint64_t clocks[] = {1000000, 4000000, 19998000, 20000000, 500000000, 999999999, 1000000000,
        1000000001, 1999999999, 2000000000, 2000000001, 2595936000, 4000000000, 5000000000, UINT64_C(12345678901)};
    for (unsigned i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        uint32_t mul = 0;
        int8_t shift = 0;
        pvclock_scale(clocks[i], &mul, &shift);
        CHECK(mul >> 31); // all bits are used
        for (uint64_t seconds = 1; seconds < 4000000; seconds *= 13) {
            uint64_t ns = nanoseconds(clocks[i] * seconds, mul, shift), right = seconds * 1000000000;
            CHECK(ns <= right && right - ns <= seconds + 1);
        }
    }
}

CASE(exactly_one_gigahertz) {
    uint32_t mul;
    int8_t shift;
    pvclock_scale(1000000000, &mul, &shift);
    EQUAL(mul, 0x80000000);
    EQUAL(shift, 1);
    EQUAL(nanoseconds(123456789012, mul, shift), UINT64_C(123456789012));
}

static void start(void) {
    memset(memory, 0, sizeof memory);
    tsc_hz = 2000000000;
    g = (struct guest){.tsc_start = 5000, .unix_seconds = 1700000000};
    v = (struct vcpu){.guest = &g, .tsc_offset = 0 - UINT64_C(5000)};
}

static uint32_t u32(unsigned at) {
    uint32_t value;
    memcpy(&value, memory + at, 4);
    return value;
}

static uint64_t u64(unsigned at) {
    uint64_t value;
    memcpy(&value, memory + at, 8);
    return value;
}

CASE(page_of_a_vcpu) {
    start();
    CHECK(pvclock_write(&v, MSR_KVM_SYSTEM_TIME_NEW, 0x40 | 1));
    EQUAL(pvclock_read(&v, MSR_KVM_SYSTEM_TIME_NEW), 0x41);
    EQUAL(u32(0x40), 2); // even, and changed
    EQUAL(u64(0x48), 0);
    EQUAL(u64(0x50), 0);
    EQUAL(u32(0x58), 0x80000000);
    EQUAL(memory[0x5C], 0); // 2 GHz: half of mul, no shift
    EQUAL(memory[0x5D], 1);
}

CASE(a_tsc_that_was_set_keeps_the_time) {
    start();
    CHECK(pvclock_write(&v, MSR_KVM_SYSTEM_TIME_NEW, 0x40 | 1));
    v.tsc_offset += 1000000; // the guest moved its TSC
    pvclock_update(&v);
    EQUAL(u32(0x40), 4);
    EQUAL(u64(0x48), 1000000);
    uint64_t host = 5000 + 777;
    EQUAL(host + v.tsc_offset - u64(0x48), 777);
}

CASE(off_means_off) {
    start();
    CHECK(pvclock_write(&v, MSR_KVM_SYSTEM_TIME_NEW, 0x40 | 1));
    CHECK(pvclock_write(&v, MSR_KVM_SYSTEM_TIME_NEW, 0));
    pvclock_update(&v);
    EQUAL(u32(0x40), 2);
}

CASE(wall_clock) {
    start();
    memory[0x100] = 2;
    CHECK(pvclock_write(&v, MSR_KVM_WALL_CLOCK_NEW, 0x100));
    EQUAL(pvclock_read(&v, MSR_KVM_WALL_CLOCK_NEW), 0x100);
    EQUAL(u32(0x100), 4);
    EQUAL(u32(0x104), 1700000000);
    EQUAL(u32(0x108), 0);
}

CASE(places_outside_the_memory_are_refused) {
    start();
    CHECK(!pvclock_write(&v, MSR_KVM_SYSTEM_TIME_NEW, MEMORY | 1));
    CHECK(!pvclock_write(&v, MSR_KVM_SYSTEM_TIME_NEW, (MEMORY - 16) | 1)); // it would not fit
    CHECK(!pvclock_write(&v, MSR_KVM_SYSTEM_TIME_NEW, 0x40 | 3)); // misaligned
    CHECK(!pvclock_write(&v, MSR_KVM_WALL_CLOCK_NEW, MEMORY));
    CHECK(!pvclock_write(&v, MSR_KVM_WALL_CLOCK_NEW, MEMORY - 8));
    EQUAL(v.clock_msr, 0);
    EQUAL(g.wall_clock_msr, 0);
    for (unsigned i = 0; i < MEMORY; i++) {
        EQUAL(memory[i], 0);
    }
    CHECK(pvclock_write(&v, MSR_KVM_SYSTEM_TIME_NEW, (MEMORY - 32) | 1));
}
