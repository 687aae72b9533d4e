// The MC146818 clock and its CMOS memory. Motorola MC146818A data sheet.
#ifndef VIPERVISOR_DEV_RTC_H
#define VIPERVISOR_DEV_RTC_H

#include <stdbool.h>
#include <stdint.h>

#define RTC_NEVER UINT64_MAX
// RAM above this many bytes is counted as lying above 4 GiB in the CMOS.
#define RTC_LOW_MEMORY 0xC0000000u

enum { RTC_INDEX = 0x70, RTC_DATA = 0x71 };

struct rtc {
    uint64_t tsc_hz;
    uint64_t base_tsc;                 // here the divider stood at 0 ...
    uint64_t base_second;              // ... and it was this second since 1600
    uint64_t shown;                    // the second that the time bytes hold
    uint64_t seen_second, seen_period; // flags are set up to here
    uint64_t alarm_second;             // when the alarm matches next, RTC_NEVER
    uint64_t next_tsc;                 // of the next change of the line, RTC_NEVER
    uint8_t index;
    uint8_t weekday_shift; // of what the guest set against the calendar
    bool line;             // IRQ 8
    uint8_t cmos[128];
};

// unix_seconds is the time of day at guest TSC 0, memory the guest's bytes of RAM.
void rtc_init(struct rtc *r, uint64_t tsc_hz, uint64_t unix_seconds, uint64_t memory);
uint8_t rtc_read(struct rtc *r, uint64_t tsc, uint16_t port);
void rtc_write(struct rtc *r, uint64_t tsc, uint16_t port, uint8_t value);
void rtc_update(struct rtc *r, uint64_t tsc); // flags and line up to tsc

static inline uint64_t rtc_next(const struct rtc *r) {
    return r->next_tsc;
}

#endif
