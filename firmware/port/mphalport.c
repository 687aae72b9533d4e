// MicroPython's hardware layer: standard streams, time, waiting.
#include "py/mphal.h"

#include <string.h>

#include "capture.h"
#include "cpu/insn.h"
#include "cpu/smp.h"
#include "lib/oofatfs/ff.h"
#include "poll.h"
#include "lfs_assert.h"
#include "port.h"
#include "py/mperrno.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "shared/timeutils/timeutils.h"
#include "terminal.h"

// ---- Standard streams ----

uintptr_t mp_hal_stdio_poll(uintptr_t poll_flags) {
    uintptr_t ready = poll_flags & MP_STREAM_POLL_WR;
    if ((poll_flags & MP_STREAM_POLL_RD) && terminal_has_input()) {
        ready |= MP_STREAM_POLL_RD;
    }
    return ready;
}

int mp_hal_stdin_rx_chr(void) {
    for (;;) {
        int c = terminal_getc();
        if (c >= 0) {
            return c;
        }
        mp_event_wait_indefinite();
    }
}

mp_uint_t mp_hal_stdout_tx_strn(const char *text, size_t size) {
    if (!capture_write(text, size)) {
        terminal_write(text, size);
    }
    return size;
}

// ---- Time: everything from the TSC ----

static uint64_t epoch_ns; // time of day at TSC 0

mp_uint_t mp_hal_ticks_us(void) {
    return tsc_to_ns(rdtsc()) / 1000;
}

mp_uint_t mp_hal_ticks_ms(void) {
    return tsc_to_ns(rdtsc()) / 1000000;
}

uint64_t mp_hal_time_ns(void) {
    return epoch_ns + tsc_to_ns(rdtsc());
}

void mp_hal_delay_us(mp_uint_t us) {
    uint64_t end = rdtsc() + ns_to_tsc(us * 1000);
    if (us >= 2000) {
        mp_hal_delay_ms(us / 1000 - 1);
    }
    while (rdtsc() < end) {
        cpu_pause();
    }
}

void mp_hal_delay_ms(mp_uint_t ms) {
    mp_uint_t start = mp_hal_ticks_ms();
    mp_uint_t elapsed = 0;
    do {
        mp_event_wait_ms(ms - elapsed);
        elapsed = mp_hal_ticks_ms() - start;
    } while (elapsed < ms);
}

unsigned long port_random_seed(void) {
    return rdtsc() * UINT64_C(0x9E3779B97F4A7C15) ^ epoch_ns;
}

// ---- The time of day, once, from the CMOS clock (MC146818A) ----

enum {
    CMOS_INDEX = 0x70,
    CMOS_DATA = 0x71,
    CMOS_NMI_OFF = 0x80,
    RTC_SECONDS = 0x00,
    RTC_MINUTES = 0x02,
    RTC_HOURS = 0x04,
    RTC_DAY = 0x07,
    RTC_MONTH = 0x08,
    RTC_YEAR = 0x09,
    RTC_A = 0x0A,
    RTC_A_UIP = 0x80, // an update is coming: the fields are not stable
    RTC_B = 0x0B,
    RTC_B_24H = 0x02,
    RTC_B_BINARY = 0x04,
    RTC_HOURS_PM = 0x80,
    RTC_TRIES = 10,
    RTC_UIP_POLLS = 100000, // an update takes 2 ms
};

static uint8_t cmos(uint8_t index) {
    outb(CMOS_INDEX, CMOS_NMI_OFF | index);
    return inb(CMOS_DATA);
}

static unsigned binary(uint8_t value, uint8_t mode) {
    return mode & RTC_B_BINARY ? value : (unsigned)(value >> 4) * 10u + (value & 15u);
}

static void read_clock(uint8_t fields[6]) {
    static const uint8_t index[6] = { RTC_SECONDS, RTC_MINUTES, RTC_HOURS, RTC_DAY, RTC_MONTH, RTC_YEAR };
    for (int i = 0; i < RTC_UIP_POLLS && (cmos(RTC_A) & RTC_A_UIP); i++) {
    }
    for (int i = 0; i < 6; i++) {
        fields[i] = cmos(index[i]);
    }
}

void port_clock_set(uint64_t unix_ns) {
    epoch_ns = unix_ns - tsc_to_ns(rdtsc());
}

void port_clock_init(void) {
    uint8_t now[6], again[6];
    for (int i = 0; i < RTC_TRIES; i++) {
        read_clock(now);
        read_clock(again);
        if (memcmp(now, again, sizeof(now)) == 0) {
            break;
        }
    }
    uint8_t mode = cmos(RTC_B);
    outb(CMOS_INDEX, 0); // NMI on again
    unsigned hour = binary(now[2] & (uint8_t)~RTC_HOURS_PM, mode);
    if (!(mode & RTC_B_24H)) {
        hour = hour % 12 + (now[2] & RTC_HOURS_PM ? 12 : 0);
    }
    mp_uint_t seconds = timeutils_seconds_since_epoch(2000 + binary(now[5], mode),
        binary(now[4], mode), binary(now[3], mode), hour, binary(now[1], mode), binary(now[0], mode));
    port_clock_set(seconds * UINT64_C(1000000000));
}

// A directory entry's date and time (FAT specification 1.03, section 6).
DWORD get_fattime(void) {
    timeutils_struct_time_t t;
    timeutils_seconds_since_epoch_to_struct_time(mp_hal_time_ns() / 1000000000u, &t);
    return (DWORD)((t.tm_year - 1980u) << 25 | (unsigned)t.tm_mon << 21 | (unsigned)t.tm_mday << 16
                   | (unsigned)t.tm_hour << 11 | (unsigned)t.tm_min << 5 | (unsigned)t.tm_sec / 2);
}

void port_lfs_misused(void) {
    mp_raise_OSError(MP_EBADF);
}
