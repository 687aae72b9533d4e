// The time bytes follow from the TSC; they are written out when somebody looks.
// Seconds count from 1600, the start of a 400-year cycle, so that no date that two
// century digits can say in practice lies before it.
#include "dev/rtc.h"

#include "dev/ratio.h"

enum {
    SECONDS = 0x00,
    SECONDS_ALARM = 0x01,
    MINUTES = 0x02,
    MINUTES_ALARM = 0x03,
    HOURS = 0x04,
    HOURS_ALARM = 0x05,
    WEEKDAY = 0x06,
    DAY = 0x07,
    MONTH = 0x08,
    YEAR = 0x09,
    REGISTER_A = 0x0A,
    REGISTER_B = 0x0B,
    REGISTER_C = 0x0C,
    REGISTER_D = 0x0D,
    EQUIPMENT = 0x14,
    BASE_MEMORY = 0x15,     // KiB below 1 MiB
    EXTENDED_MEMORY = 0x17, // KiB above 1 MiB, again at 0x30
    CHECKSUM = 0x2E,        // of 0x10 to 0x2D, high byte first
    EXTENDED_MEMORY_2 = 0x30,
    CENTURY = 0x32,
    MEMORY_ABOVE_16M = 0x34, // 64 KiB units below 4 GiB
    MEMORY_ABOVE_4G = 0x5B,  // 64 KiB units, three bytes

    A_UIP = 1 << 7,
    A_DV = 7 << 4,
    A_DV_32768 = 2 << 4,
    A_DV_RESET = 6 << 4, // and 7 << 4
    A_RS = 15,
    A_RS_1024_HZ = 6,
    B_SET = 1 << 7,
    B_PIE = 1 << 6,
    B_AIE = 1 << 5,
    B_UIE = 1 << 4,
    B_DM_BINARY = 1 << 2,
    B_24_HOURS = 1 << 1,
    C_IRQF = 1 << 7,
    C_PF = 1 << 6,
    C_AF = 1 << 5,
    C_UF = 1 << 4,
    D_VRT = 1 << 7,
    HOURS_PM = 1 << 7,
    ALARM_ANY = 0xC0,  // from here on: matches always
    INDEX_BITS = 0x7F, // bit 7 masks NMI
    EQUIPMENT_FPU = 1 << 1,
    BASE_KIB = 640,
    EXTENDED_KIB_MAX = 0xFFFF,

    CRYSTAL_HZ = 32768,
    UIP_PER_SECOND = 4098, // UIP is set 244 us before the update
    FIRST_YEAR = 1600,
    FIRST_WEEKDAY = 6,        // 1600-01-01 was a Saturday
    UNIX_EPOCH_DAYS = 135140, // 1600-01-01 to 1970-01-01
    CYCLE_DAYS = 146097,      // 400 years
    DAY_SECONDS = 86400,
};

static const uint8_t month_days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

static bool leap(unsigned year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static unsigned days_of_month(unsigned year, unsigned month) {
    return month_days[month] + (month == 1 && leap(year) ? 1u : 0u);
}

// Time bytes are BCD or binary as register B says.

static uint8_t encode(const struct rtc *r, unsigned value) {
    return (uint8_t)(r->cmos[REGISTER_B] & B_DM_BINARY ? value : value / 10 << 4 | value % 10);
}

static unsigned decode(const struct rtc *r, uint8_t byte) {
    return r->cmos[REGISTER_B] & B_DM_BINARY ? byte : (byte >> 4) * 10u + (byte & 15u);
}

static uint8_t encode_hour(const struct rtc *r, unsigned hour) {
    if (r->cmos[REGISTER_B] & B_24_HOURS) {
        return encode(r, hour);
    }
    unsigned shown = hour % 12 == 0 ? 12 : hour % 12;
    return (uint8_t)(encode(r, shown) | (hour >= 12 ? HOURS_PM : 0));
}

static unsigned decode_hour(const struct rtc *r, uint8_t byte) {
    if (r->cmos[REGISTER_B] & B_24_HOURS) {
        return decode(r, byte);
    }
    return decode(r, byte & (uint8_t)~HOURS_PM) % 12 + (byte & HOURS_PM ? 12 : 0);
}

static bool divider_reset(const struct rtc *r) {
    return (r->cmos[REGISTER_A] & A_DV_RESET) == A_DV_RESET;
}

// The time bytes belong to the guest.
static bool stopped(const struct rtc *r) {
    return (r->cmos[REGISTER_B] & B_SET) || divider_reset(r);
}

// TSC steps since the base. A vCPU that read its TSC before another one moved the
// base comes a little late: it is then at the base, not far in the future.
static uint64_t since_base(const struct rtc *r, uint64_t tsc) {
    return (int64_t)(tsc - r->base_tsc) < 0 ? 0 : tsc - r->base_tsc;
}

static uint64_t second_at(const struct rtc *r, uint64_t tsc) {
    return r->base_second + (stopped(r) ? 0 : since_base(r, tsc) / r->tsc_hz);
}

static uint64_t tsc_of_second(const struct rtc *r, uint64_t second) {
    return r->base_tsc + (second - r->base_second) * r->tsc_hz;
}

// Writes the time bytes for a second.
static void show(struct rtc *r, uint64_t second) {
    uint64_t days = second / DAY_SECONDS;
    unsigned rest = (unsigned)(second % DAY_SECONDS);
    unsigned year = FIRST_YEAR + (unsigned)(days / CYCLE_DAYS * 400), month = 0;
    unsigned day = (unsigned)(days % CYCLE_DAYS);
    while (day >= (leap(year) ? 366u : 365u)) {
        day -= leap(year) ? 366 : 365;
        year++;
    }
    while (day >= days_of_month(year, month)) {
        day -= days_of_month(year, month++);
    }
    r->cmos[SECONDS] = encode(r, rest % 60);
    r->cmos[MINUTES] = encode(r, rest / 60 % 60);
    r->cmos[HOURS] = encode_hour(r, rest / 3600);
    r->cmos[WEEKDAY] = encode(r, (unsigned)((days + FIRST_WEEKDAY + r->weekday_shift) % 7 + 1));
    r->cmos[DAY] = encode(r, day + 1);
    r->cmos[MONTH] = encode(r, month + 1);
    r->cmos[YEAR] = encode(r, year % 100);
    r->cmos[CENTURY] = encode(r, year / 100 % 100);
    r->shown = second;
}

// The second that the time bytes say; what is out of range runs over.
static uint64_t told(struct rtc *r) {
    unsigned year = decode(r, r->cmos[CENTURY]) * 100 + decode(r, r->cmos[YEAR]);
    unsigned month = (decode(r, r->cmos[MONTH]) + 11) % 12, day = decode(r, r->cmos[DAY]);
    if (year < FIRST_YEAR) {
        year = FIRST_YEAR;
    }
    uint64_t days = (uint64_t)(year - FIRST_YEAR) / 400 * CYCLE_DAYS;
    for (unsigned y = year - (year - FIRST_YEAR) % 400; y < year; y++) {
        days += leap(y) ? 366 : 365;
    }
    for (unsigned m = 0; m < month; m++) {
        days += days_of_month(year, m);
    }
    days += day == 0 ? 0 : day - 1;
    unsigned weekday = (unsigned)((days + FIRST_WEEKDAY) % 7);
    r->weekday_shift = (uint8_t)((decode(r, r->cmos[WEEKDAY]) % 7 + 13 - weekday) % 7);
    return days * DAY_SECONDS + decode_hour(r, r->cmos[HOURS]) * 3600u + decode(r, r->cmos[MINUTES]) * 60u +
           decode(r, r->cmos[SECONDS]);
}

// The first second after `second` that the alarm bytes match.
static uint64_t next_alarm(const struct rtc *r, uint64_t second) {
    const uint8_t *cmos = r->cmos;
    for (uint64_t at = second + 1; at < second + 2 * DAY_SECONDS;) {
        unsigned rest = (unsigned)(at % DAY_SECONDS);
        if (cmos[HOURS_ALARM] < ALARM_ANY && decode_hour(r, cmos[HOURS_ALARM]) != rest / 3600) {
            at += 3600 - rest % 3600;
        } else if (cmos[MINUTES_ALARM] < ALARM_ANY && decode(r, cmos[MINUTES_ALARM]) != rest / 60 % 60) {
            at += 60 - rest % 60;
        } else if (cmos[SECONDS_ALARM] < ALARM_ANY && decode(r, cmos[SECONDS_ALARM]) != rest % 60) {
            at++;
        } else {
            return at;
        }
    }
    return RTC_NEVER; // bytes that no time matches
}

// Crystal ticks of one periodic interrupt as a shift, 0 for none. The two
// shortest rates repeat slower ones (data sheet, table 5).
static unsigned period_shift(const struct rtc *r) {
    unsigned rate = r->cmos[REGISTER_A] & A_RS;
    if (rate == 0 || divider_reset(r)) {
        return 0;
    }
    return rate <= 2 ? rate + 6 : rate - 1;
}

static uint64_t period_at(const struct rtc *r, uint64_t tsc) {
    return ratio_down(since_base(r, tsc), CRYSTAL_HZ, r->tsc_hz) >> period_shift(r);
}

static void sooner(uint64_t *next, uint64_t tsc) {
    *next = tsc < *next ? tsc : *next;
}

// The line and when it may change by itself: a flag that is set already, or that
// makes no interrupt, needs no look.
static void refresh(struct rtc *r) {
    uint8_t flags = r->cmos[REGISTER_C], enabled = r->cmos[REGISTER_B];
    r->line = flags & enabled & (C_PF | C_AF | C_UF);
    r->cmos[REGISTER_C] = (uint8_t)((flags & ~C_IRQF) | (r->line ? C_IRQF : 0));
    r->next_tsc = RTC_NEVER;
    enabled &= (uint8_t)~flags;
    if ((enabled & B_UIE) && !stopped(r)) {
        sooner(&r->next_tsc, tsc_of_second(r, r->seen_second + 1));
    }
    if ((enabled & B_AIE) && !stopped(r) && r->alarm_second != RTC_NEVER) {
        sooner(&r->next_tsc, tsc_of_second(r, r->alarm_second));
    }
    if ((enabled & B_PIE) && period_shift(r)) {
        uint64_t crystal = (r->seen_period + 1) << period_shift(r);
        sooner(&r->next_tsc, r->base_tsc + ratio_up(crystal, r->tsc_hz, CRYSTAL_HZ));
    }
}

void rtc_update(struct rtc *r, uint64_t tsc) {
    uint64_t second = second_at(r, tsc);
    if (second > r->seen_second) {
        r->seen_second = second;
        r->cmos[REGISTER_C] |= C_UF;
        if (second >= r->alarm_second) {
            r->cmos[REGISTER_C] |= C_AF;
            r->alarm_second = next_alarm(r, second);
        }
    }
    if (period_shift(r)) {
        uint64_t period = period_at(r, tsc);
        if (period > r->seen_period) {
            r->seen_period = period;
            r->cmos[REGISTER_C] |= C_PF;
        }
    }
    refresh(r);
}

// Time, format or divider changed: what was seen is as of now.
static void restart(struct rtc *r, uint64_t tsc) {
    r->seen_second = second_at(r, tsc);
    r->seen_period = period_at(r, tsc);
    r->alarm_second = next_alarm(r, r->seen_second);
    refresh(r);
}

// The registers A and B decide whether the clock runs and how it writes the time.
static void write_control(struct rtc *r, uint64_t tsc, uint8_t index, uint8_t value) {
    bool was_stopped = stopped(r), was_reset = divider_reset(r);
    uint64_t second = second_at(r, tsc);
    if (!was_stopped) {
        show(r, second);
    }
    r->cmos[index] = value;
    if (was_reset && !divider_reset(r)) {
        r->base_tsc = tsc - r->tsc_hz / 2; // the first update comes half a second later
    }
    if (!was_stopped && stopped(r)) {
        r->base_second = second;
        r->base_tsc = tsc - since_base(r, tsc) % r->tsc_hz;
    } else if (was_stopped && !stopped(r)) {
        r->base_tsc = tsc - since_base(r, tsc) % r->tsc_hz;
        r->base_second = told(r);
    }
    if (!stopped(r)) {
        show(r, second_at(r, tsc));
    }
    restart(r, tsc);
}

static void write_time(struct rtc *r, uint64_t tsc, uint8_t index, uint8_t value) {
    if (stopped(r)) {
        r->cmos[index] = value;
        return;
    }
    show(r, second_at(r, tsc));
    r->cmos[index] = value;
    r->base_second = told(r);
    r->base_tsc = tsc - since_base(r, tsc) % r->tsc_hz;
    show(r, r->base_second);
    restart(r, tsc);
}

void rtc_write(struct rtc *r, uint64_t tsc, uint16_t port, uint8_t value) {
    if (port == RTC_INDEX) {
        r->index = value & INDEX_BITS;
        return;
    }
    rtc_update(r, tsc);
    switch (r->index) {
        case SECONDS:
        case MINUTES:
        case HOURS:
        case WEEKDAY:
        case DAY:
        case MONTH:
        case YEAR:
        case CENTURY:
            write_time(r, tsc, r->index, value);
            break;
        case SECONDS_ALARM:
        case MINUTES_ALARM:
        case HOURS_ALARM:
            r->cmos[r->index] = value;
            restart(r, tsc);
            break;
        case REGISTER_A:
            write_control(r, tsc, REGISTER_A, value & (uint8_t)~A_UIP);
            break;
        case REGISTER_B:
            if (value & B_SET) {
                value &= (uint8_t)~B_UIE; // SET clears UIE
            }
            write_control(r, tsc, REGISTER_B, value);
            break;
        case REGISTER_C:
        case REGISTER_D:
            break; // read only
        default:
            r->cmos[r->index] = value;
            break;
    }
}

static bool updating(const struct rtc *r, uint64_t tsc) {
    return !stopped(r) && r->tsc_hz - since_base(r, tsc) % r->tsc_hz <= r->tsc_hz / UIP_PER_SECOND;
}

uint8_t rtc_read(struct rtc *r, uint64_t tsc, uint16_t port) {
    uint8_t value;
    if (port == RTC_INDEX) {
        return 0xFF; // write only
    }
    switch (r->index) {
        case SECONDS:
        case MINUTES:
        case HOURS:
        case WEEKDAY:
        case DAY:
        case MONTH:
        case YEAR:
        case CENTURY:
            if (!stopped(r) && second_at(r, tsc) != r->shown) {
                show(r, second_at(r, tsc));
            }
            return r->cmos[r->index];
        case REGISTER_A:
            return (uint8_t)(r->cmos[REGISTER_A] | (updating(r, tsc) ? A_UIP : 0));
        case REGISTER_C: // reading clears the flags and drops the line
            rtc_update(r, tsc);
            value = r->cmos[REGISTER_C];
            r->cmos[REGISTER_C] = 0;
            refresh(r);
            return value;
        default:
            return r->cmos[r->index];
    }
}

static void store(struct rtc *r, unsigned index, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) {
        r->cmos[index + i] = (uint8_t)(value >> 8 * i);
    }
}

static uint64_t above(uint64_t value, uint64_t limit) {
    return value > limit ? value - limit : 0;
}

void rtc_init(struct rtc *r, uint64_t tsc_hz, uint64_t unix_seconds, uint64_t memory) {
    uint64_t low = memory < RTC_LOW_MEMORY ? memory : RTC_LOW_MEMORY;
    uint64_t extended = above(low, 1 << 20) >> 10;
    *r = (struct rtc){.tsc_hz = tsc_hz, .next_tsc = RTC_NEVER};
    r->cmos[REGISTER_A] = A_DV_32768 | A_RS_1024_HZ;
    r->cmos[REGISTER_B] = B_24_HOURS;
    r->cmos[REGISTER_D] = D_VRT;
    r->cmos[EQUIPMENT] = EQUIPMENT_FPU;
    extended = extended < EXTENDED_KIB_MAX ? extended : EXTENDED_KIB_MAX;
    store(r, BASE_MEMORY, BASE_KIB, 2);
    store(r, EXTENDED_MEMORY, extended, 2);
    store(r, EXTENDED_MEMORY_2, extended, 2);
    store(r, MEMORY_ABOVE_16M, above(low, 16 << 20) >> 16, 2);
    store(r, MEMORY_ABOVE_4G, (memory - low) >> 16, 3);
    unsigned sum = 0;
    for (unsigned i = 0x10; i < CHECKSUM; i++) {
        sum += r->cmos[i];
    }
    r->cmos[CHECKSUM] = (uint8_t)(sum >> 8);
    r->cmos[CHECKSUM + 1] = (uint8_t)sum;
    r->base_second = (uint64_t)UNIX_EPOCH_DAYS * DAY_SECONDS + unix_seconds;
    show(r, r->base_second);
    restart(r, 0);
}
