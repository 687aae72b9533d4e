// The clock: time of day, formats, setting, alarm, periodic and update interrupts.
// sources: hypervisor/dev/rtc.c
#define _DEFAULT_SOURCE
#include <time.h>

#include "check.h"
#include "dev/rtc.h"

enum { HZ = 1000000, A = 0x0A, B = 0x0B, C = 0x0C, D = 0x0D, H24 = 2, BINARY = 4, SET = 0x80 };
enum { PIE = 0x40, AIE = 0x20, UIE = 0x10 };

static struct rtc r;

static uint8_t rd(uint64_t t, uint8_t index) {
    rtc_write(&r, t, RTC_INDEX, index);
    return rtc_read(&r, t, RTC_DATA);
}

static void wr(uint64_t t, uint8_t index, uint8_t value) {
    rtc_write(&r, t, RTC_INDEX, index);
    rtc_write(&r, t, RTC_DATA, value);
}

static uint64_t unix_time(int year, int month, int day, int hour, int minute, int second) {
    struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
    tm.tm_hour = hour;
    tm.tm_min = minute;
    tm.tm_sec = second;
    return (uint64_t)timegm(&tm);
}

static void start(uint64_t seconds) {
    rtc_init(&r, HZ, seconds, 256u << 20);
}

// The time that the guest reads, from BCD and 24 hours.
static uint64_t guest_time(uint64_t t) {
    static const uint8_t index[7] = {0x32, 9, 8, 7, 4, 2, 0};
    int v[7];
    for (unsigned i = 0; i < 7; i++) {
        uint8_t byte = rd(t, index[i]);
        CHECK((byte & 15) < 10 && byte >> 4 < 10);
        v[i] = (byte >> 4) * 10 + (byte & 15);
    }
    return unix_time(v[0] * 100 + v[1], v[2], v[3], v[4], v[5], v[6]);
}

static void advance(uint64_t *t, uint64_t to) {
    while (rtc_next(&r) <= to) {
        *t = rtc_next(&r);
        rtc_update(&r, *t);
    }
    *t = to;
    rtc_update(&r, *t);
}

CASE(shows_the_calendar) {
    uint64_t seed = 1;
    for (unsigned i = 0; i < 5000; i++) {
        uint64_t at = ((uint64_t)check_random(&seed, 1u << 31) << 3) + check_random(&seed, 8); // to 2514
        start(at);
        EQUAL(guest_time(0), at);
        struct tm tm;
        time_t when = (time_t)at;
        gmtime_r(&when, &tm);
        EQUAL(rd(0, 6), tm.tm_wday + 1);
        EQUAL(rd(0, 7), tm.tm_mday / 10 << 4 | tm.tm_mday % 10); // not the 32nd of January
        EQUAL(rd(0, 8), (tm.tm_mon + 1) / 10 << 4 | (tm.tm_mon + 1) % 10);
    }
}

CASE(rolls_over_by_itself) {
    static const int ends[][6] = {{1999, 12, 31, 23, 59, 59}, {2000, 2, 28, 23, 59, 59}, {2000, 2, 29, 23, 59, 59},
        {2100, 2, 28, 23, 59, 59}, {2024, 4, 30, 23, 59, 59}, {2023, 2, 28, 23, 59, 59}, {2038, 1, 19, 3, 14, 7},
        {2026, 6, 1, 12, 59, 59}};
    for (unsigned i = 0; i < sizeof ends / sizeof *ends; i++) {
        const int *e = ends[i];
        uint64_t at = unix_time(e[0], e[1], e[2], e[3], e[4], e[5]);
        start(at);
        EQUAL(guest_time(HZ - 1), at);
        EQUAL(guest_time(HZ), at + 1);
        EQUAL(guest_time(3 * HZ), at + 3);
    }
}

CASE(twelve_hours_and_binary) {
    static const uint8_t twelve[24] = {0x12, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x10, 0x11, 0x92,
        0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x90, 0x91};
    for (int hour = 0; hour < 24; hour++) {
        start(unix_time(2026, 11, 22, hour, 45, 58));
        wr(0, B, 0);
        EQUAL(rd(0, 4), twelve[hour]);
        EQUAL(rd(0, 2), 0x45);
        wr(0, B, BINARY | H24);
        EQUAL(rd(0, 4), hour);
        EQUAL(rd(0, 2), 45);
        EQUAL(rd(0, 0), 58);
        EQUAL(rd(0, 9), 26);
        EQUAL(rd(0, 0x32), 20);
        wr(0, B, BINARY);
        EQUAL(rd(0, 4), (hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? 0x80 : 0));
        wr(0, 4, 0x8C); // 12 pm
        wr(0, B, H24);
        EQUAL(rd(0, 4), 0x12);
    }
}

CASE(uip_precedes_the_update) {
    start(1000);
    CHECK(!(rd(0, A) & 0x80));
    CHECK(!(rd(HZ - 245, A) & 0x80));
    CHECK(rd(HZ - 244, A) & 0x80);
    CHECK(rd(HZ - 1, A) & 0x80);
    CHECK(!(rd(HZ, A) & 0x80));
    wr(HZ, B, SET | H24);
    CHECK(!(rd(2 * HZ - 1, A) & 0x80));
    wr(HZ, A, 0xA6); // UIP itself is read only
    CHECK(!(rd(HZ, A) & 0x80));
}

CASE(setting_the_time_as_linux_does) {
    start(unix_time(2026, 1, 1, 0, 0, 0));
    uint64_t t = 5 * HZ + 300000;
    uint8_t b = rd(t, B), a = rd(t, A);
    wr(t, B, b | SET);
    wr(t, A, a | 0x70);
    static const uint8_t index[] = {0x32, 9, 8, 7, 4, 2, 0};
    static const uint8_t value[] = {0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x30};
    for (unsigned i = 0; i < 7; i++) {
        wr(t, index[i], value[i]);
        EQUAL(rd(t + 10 * HZ, index[i]), value[i]); // stands still
    }
    t += 20 * HZ;
    wr(t, B, b);
    t += HZ / 3; // the divider is still held
    wr(t, A, a);
    EQUAL(guest_time(t), unix_time(1999, 12, 31, 23, 59, 30));
    EQUAL(guest_time(t + HZ / 2 - 1), unix_time(1999, 12, 31, 23, 59, 30)); // half a second
    EQUAL(guest_time(t + HZ / 2), unix_time(1999, 12, 31, 23, 59, 31));
    EQUAL(guest_time(t + HZ / 2 + 29 * HZ), unix_time(2000, 1, 1, 0, 0, 0));
}

CASE(set_alone_keeps_the_fraction) {
    start(unix_time(2026, 1, 1, 0, 0, 0));
    wr(300000, B, SET | H24);
    wr(5 * HZ, 0, 0x10);
    wr(7 * HZ + 100000, B, H24);
    EQUAL(guest_time(7 * HZ + 100000), unix_time(2026, 1, 1, 0, 0, 10));
    EQUAL(guest_time(8 * HZ - 1), unix_time(2026, 1, 1, 0, 0, 10));
    EQUAL(guest_time(8 * HZ), unix_time(2026, 1, 1, 0, 0, 11));
}

CASE(set_freezes_what_it_finds) {
    start(unix_time(2026, 1, 1, 0, 0, 0));
    wr(2 * HZ + 500000, B, SET | H24);
    EQUAL(guest_time(7 * HZ), unix_time(2026, 1, 1, 0, 0, 2));
    wr(7 * HZ + 200000, B, H24);
    EQUAL(guest_time(7 * HZ + 200000), unix_time(2026, 1, 1, 0, 0, 2));
    EQUAL(guest_time(8 * HZ), unix_time(2026, 1, 1, 0, 0, 3));
}

CASE(control_registers_are_apart) {
    start(0);
    wr(0, A, 0x2A);
    EQUAL(rd(0, A), 0x2A);
    EQUAL(rd(0, B), H24);
    wr(0, B, H24 | BINARY);
    EQUAL(rd(0, A), 0x2A);
    wr(0, 0x14, 0x55);
    EQUAL(rd(0, B), H24 | BINARY);
    EQUAL(rd(0, 0x14), 0x55);
}

CASE(writing_one_byte_while_running) {
    start(unix_time(2026, 3, 15, 10, 20, 30));
    wr(2 * HZ + 5, 4, 0x17);
    EQUAL(guest_time(2 * HZ + 5), unix_time(2026, 3, 15, 17, 20, 32));
    EQUAL(guest_time(3 * HZ), unix_time(2026, 3, 15, 17, 20, 33));
    EQUAL(rd(3 * HZ, 6), 1);                 // a Sunday
    for (uint8_t day = 1; day <= 7; day++) { // a weekday of its own runs on
        wr(3 * HZ, 6, day);
        EQUAL(rd(3 * HZ, 6), day);
        EQUAL(rd(3 * HZ + (uint64_t)24 * 3600 * HZ, 6), day % 7 + 1);
    }
    wr(3 * HZ, 0x32, 0x12); // a century that no calendar here has
    EQUAL(rd(3 * HZ, 0x32), 0x16);
    EQUAL(rd(3 * HZ, 9), 0x00);
}

CASE(update_interrupt) {
    start(0);
    wr(0, B, H24 | UIE);
    EQUAL(rtc_next(&r), HZ);
    rtc_update(&r, HZ - 1);
    CHECK(!r.line);
    rtc_update(&r, HZ);
    CHECK(r.line);
    EQUAL(rtc_next(&r), RTC_NEVER); // nothing to do until C is read
    EQUAL(rd(HZ, C) & 0xBF, 0x90);
    CHECK(!r.line);
    EQUAL(rd(HZ, C), 0);
    EQUAL(rtc_next(&r), 2 * HZ);
    rtc_update(&r, 5 * HZ);
    EQUAL(rd(5 * HZ, C) & 0xBF, 0x90); // late ones are one
    EQUAL(rtc_next(&r), 6 * HZ);
    wr(5 * HZ, B, SET | H24 | UIE);
    EQUAL(rd(5 * HZ, B), SET | H24); // SET clears UIE
    EQUAL(rtc_next(&r), RTC_NEVER);
}

CASE(flags_without_enable_make_no_interrupt) {
    start(0);
    EQUAL(rtc_next(&r), RTC_NEVER);
    EQUAL(rd(HZ, C) & 0x90, 0x10);
    CHECK(!r.line);
    rd(3 * HZ, C);
    rtc_update(&r, 4 * HZ);
    wr(4 * HZ + 1, B, H24 | UIE); // enabling with the flag set interrupts at once
    CHECK(r.line);
}

CASE(periodic_interrupt_rates) {
    for (unsigned rate = 1; rate < 16; rate++) {
        double hz = rate <= 2 ? 32768.0 / (1 << (rate + 6)) : 32768.0 / (1 << (rate - 1));
        uint64_t t = 0, ticks = 0;
        start(0);
        wr(0, A, (uint8_t)(0x20 | rate));
        wr(0, B, H24 | PIE);
        while (rtc_next(&r) <= 4 * HZ) {
            t = rtc_next(&r);
            rtc_update(&r, t);
            CHECK(r.line);
            EQUAL(rd(t, C) & 0xC0, 0xC0);
            ticks++;
        }
        EQUAL(ticks, (uint64_t)(4 * hz));
    }
    wr(0, A, 0x20);
    EQUAL(rtc_next(&r), RTC_NEVER);
}

CASE(periodic_goes_on_while_the_time_is_set) {
    start(0);
    wr(0, B, SET | H24 | PIE);
    CHECK(rtc_next(&r) < HZ / 1000);
    wr(0, A, 0x76); // but not while the divider is held
    EQUAL(rtc_next(&r), RTC_NEVER);
}

CASE(alarm_at_a_time) {
    uint64_t t = 0, noon = unix_time(2026, 5, 5, 12, 0, 0);
    start(noon);
    wr(0, 5, 0x11);
    wr(0, 3, 0x59);
    wr(0, 1, 0x58);
    wr(0, B, H24 | AIE);
    uint64_t due = (uint64_t)(24 * 3600 - 2) * HZ;
    EQUAL(rtc_next(&r), due);
    advance(&t, due - 1);
    CHECK(!r.line);
    advance(&t, due);
    CHECK(r.line);
    EQUAL(rd(t, C) & 0xA0, 0xA0);
    EQUAL(rtc_next(&r), due + (uint64_t)24 * 3600 * HZ); // the next day again
}

CASE(alarm_wildcards) {
    uint64_t t = 0, begin = unix_time(2026, 5, 5, 12, 30, 15);
    start(begin);
    wr(0, 5, 0xC0);
    wr(0, 3, 0xFF);
    wr(0, 1, 0x10);
    wr(0, B, H24 | AIE);
    EQUAL(rtc_next(&r), 55u * HZ); // 12:31:10
    advance(&t, 55u * HZ);
    rd(t, C);
    EQUAL(rtc_next(&r), 115u * HZ);
    wr(t, 1, 0xC5); // each second
    EQUAL(rtc_next(&r), 56u * HZ);
    wr(t, 3, 0x29);
    EQUAL(rtc_next(&r), (uint64_t)(58 * 60 + 45) * HZ); // 13:29:00
    wr(t, 5, 0x33);                                     // no such hour
    EQUAL(rtc_next(&r), RTC_NEVER);
}

CASE(alarm_in_twelve_hours_and_binary) {
    start(unix_time(2026, 5, 5, 22, 0, 0));
    wr(0, B, BINARY | AIE);
    wr(0, 5, 0x80 | 11); // 11 pm
    wr(0, 3, 5);
    wr(0, 1, 59);
    EQUAL(rtc_next(&r), (uint64_t)(3600 + 5 * 60 + 59) * HZ);
}

CASE(alarm_follows_the_time_set) {
    start(unix_time(2026, 5, 5, 12, 0, 0));
    wr(0, 5, 0x12);
    wr(0, 3, 0x30);
    wr(0, 1, 0x00);
    wr(0, B, H24 | AIE);
    wr(0, 2, 0x29);
    EQUAL(rtc_next(&r), 60u * HZ);
    wr(0, B, H24 | AIE | SET);
    EQUAL(rtc_next(&r), RTC_NEVER); // time stands still
}

CASE(alarm_passed_over_is_not_lost) {
    start(unix_time(2026, 5, 5, 12, 0, 0));
    wr(0, 5, 0xC0);
    wr(0, 3, 0xC0);
    wr(0, 1, 0x05);
    rd(0, C);
    EQUAL(rd(100u * HZ, C) & 0x30, 0x30); // nobody looked for 100 s
    EQUAL(rd(104u * HZ, C) & 0x30, 0x10);
    EQUAL(rd(105u * HZ, C) & 0x30, 0x10);
    EQUAL(rd(125u * HZ, C) & 0x30, 0x30);
}

CASE(read_only_registers) {
    start(0);
    wr(0, D, 0);
    EQUAL(rd(0, D), 0x80);
    wr(0, C, 0xFF);
    EQUAL(rd(0, C), 0);
    EQUAL(rtc_read(&r, 0, RTC_INDEX), 0xFF);
    wr(0, 0x80 | 0x0F, 0x5A); // bit 7 of the index is the NMI mask
    EQUAL(rd(0, 0x0F), 0x5A);
}

static uint64_t cmos(unsigned index, unsigned bytes) {
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)rd(0, (uint8_t)(index + i)) << 8 * i;
    }
    return value;
}

CASE(memory_size) {
    static const struct {
        uint64_t memory, extended, above_16m, above_4g;
    } sizes[] = {
        {8u << 20, 7168, 0, 0},
        {256u << 20, 65535, 240 << 4, 0},
        {UINT64_C(3) << 30, 65535, (3072 - 16) << 4, 0},
        {UINT64_C(6) << 30, 65535, (3072 - 16) << 4, 3072 << 4},
        {512 << 10, 0, 0, 0},
    };
    for (unsigned i = 0; i < 5; i++) {
        rtc_init(&r, HZ, 0, sizes[i].memory);
        EQUAL(cmos(0x15, 2), 640);
        EQUAL(cmos(0x17, 2), sizes[i].extended);
        EQUAL(cmos(0x30, 2), sizes[i].extended);
        EQUAL(cmos(0x34, 2), sizes[i].above_16m);
        EQUAL(cmos(0x5B, 3), sizes[i].above_4g);
        unsigned sum = 0;
        for (uint8_t j = 0x10; j < 0x2E; j++) {
            sum += rd(0, j);
        }
        EQUAL(rd(0, 0x2E) << 8 | rd(0, 0x2F), sum);
    }
}

CASE(real_clock_rates_do_not_drift) {
    uint64_t hz = 2596000123, day = 86400 * hz;
    rtc_init(&r, hz, 0, 0);
    EQUAL(guest_time(day - 1), 86399);
    EQUAL(guest_time(day), 86400);
    wr(day, A, 0x26);
    wr(day, B, H24 | PIE);
    uint64_t ticks = 0;
    rd(day, C); // the flag was set all day
    while (rtc_next(&r) <= day + 10 * hz) {
        uint64_t t = rtc_next(&r);
        rtc_update(&r, t);
        rd(t, C);
        ticks++;
    }
    EQUAL(ticks, 10240);
}

CASE(a_tsc_a_little_behind_does_no_harm) {
    uint64_t at = unix_time(2026, 1, 1, 0, 0, 0);
    start(at);
    wr(5 * HZ, 0, 0x07); // moves the base to 5 s
    EQUAL(guest_time(5 * HZ - 10), at + 7);
    rtc_update(&r, 5 * HZ - 10);
    CHECK(!(rd(5 * HZ - 10, A) & 0x80));
    wr(5 * HZ - 10, B, H24 | UIE | PIE);
    rd(5 * HZ - 10, C);
    CHECK(rtc_next(&r) > 5 * HZ && rtc_next(&r) < 6 * HZ);
    rtc_update(&r, 5 * HZ - 10);
    CHECK(!r.line);
    EQUAL(guest_time(6 * HZ), at + 8);
}
