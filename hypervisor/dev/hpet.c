#include "dev/hpet.h"

#include "dev/ratio.h"

// Registers (2.3.1), all of 64 bits; those of timer n begin at TIMERS + n * TIMER_SIZE.
enum {
    CAPABILITIES = 0x000,
    CONFIG = 0x010,
    STATUS = 0x020,
    COUNTER = 0x0F0,
    TIMERS = 0x100,
    TIMER_SIZE = 0x20,
    TIMER_CONFIG = 0x00,
    TIMER_COMPARATOR = 0x08,
    REGISTER_SIZE = 8,
};

enum {
    NS_PER_SECOND = 1000000000,
    FS_PER_NS = 1000000,
    REVISION = 1,
    LAST_TIMER_SHIFT = 8,
    COUNT_SIZE_64 = 1 << 13,
    PERIOD_SHIFT = 32,
    ENABLE = 1 << 0, // all that can be set in CONFIG
    // Of a timer (2.3.8).
    LEVEL = 1 << 1,
    INTERRUPT = 1 << 2,
    PERIODIC = 1 << 3,
    CAN_PERIODIC = 1 << 4,
    SIZE_64 = 1 << 5,
    VALUE_SET = 1 << 6,
    MODE_32 = 1 << 8,
    ROUTE_SHIFT = 9,
    ROUTE_MASK = 0x1F,
    WRITABLE = LEVEL | INTERRUPT | PERIODIC | VALUE_SET | MODE_32 | ROUTE_MASK << ROUTE_SHIFT,
};
#define VENDOR (UINT64_C(0x8086) << 16)
#define ROUTES UINT64_C(0x00FF0000) // pins 16 to 23, which no other device has
#define ROUTES_SHIFT 32
#define HZ (NS_PER_SECOND / HPET_PERIOD_NS)

static uint64_t count_at(const struct hpet *h, uint64_t tsc) {
    return h->config & ENABLE ? h->count + ratio_down(tsc - h->since, HZ, h->tsc_hz) : h->count;
}

// The first count from `count` on that the comparator equals.
static void set_due(struct hpet_timer *t, uint64_t count) {
    if (t->config & MODE_32) {
        t->due = count + (uint32_t)(t->comparator - count);
    } else {
        t->due = t->comparator >= count ? t->comparator : UINT64_MAX;
    }
}

static uint32_t pin_of(const struct hpet_timer *t) {
    uint32_t pin = t->config >> ROUTE_SHIFT & ROUTE_MASK;
    return t->config & INTERRUPT && ROUTES >> pin & 1 ? UINT32_C(1) << pin : 0;
}

static void match(struct hpet *h, unsigned n, uint64_t count) {
    struct hpet_timer *t = &h->timer[n];
    if (t->config & LEVEL) {
        h->status |= UINT64_C(1) << n;
    } else {
        h->pulses |= pin_of(t);
    }
    if ((t->config & PERIODIC) && t->period != 0) {
        // Periods that went by unseen are one interrupt.
        uint64_t step = ((count - t->due) / t->period + 1) * t->period;
        t->due += step;
        t->comparator += step;
        if (t->config & MODE_32) {
            t->comparator = (uint32_t)t->comparator;
        }
    } else {
        set_due(t, count + 1);
    }
}

void hpet_update(struct hpet *h, uint64_t tsc) {
    uint64_t count = count_at(h, tsc), next = UINT64_MAX;
    h->pins = 0;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        struct hpet_timer *t = &h->timer[n];
        if ((h->config & ENABLE) && t->due <= count && t->due != UINT64_MAX) {
            match(h, n, count);
        }
        h->pins |= h->status >> n & 1 ? pin_of(t) : 0;
        next = t->due < next ? t->due : next;
    }
    uint64_t ticks = next == UINT64_MAX ? next : ratio_up(next - h->count, h->tsc_hz, HZ);
    bool reached = (h->config & ENABLE) && ticks < UINT64_MAX - h->since;
    h->next_tsc = reached ? h->since + ticks : UINT64_MAX;
}

void hpet_init(struct hpet *h, uint64_t tsc_hz) {
    *h = (struct hpet){.tsc_hz = tsc_hz, .next_tsc = UINT64_MAX};
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        h->timer[n] = (struct hpet_timer){CAN_PERIODIC | SIZE_64 | ROUTES << ROUTES_SHIFT, UINT64_MAX, 0, UINT64_MAX};
    }
}

// The timer that has a register; HPET_TIMERS and more: none.
static uint64_t timer_of(uint64_t reg) {
    return (reg - TIMERS) / TIMER_SIZE; // huge in front of them
}

static uint64_t mask_of(uint8_t size) {
    return UINT64_MAX >> (64 - 8 * size);
}

static uint64_t register_at(const struct hpet *h, uint64_t tsc, uint64_t reg) {
    switch (reg) {
        case CAPABILITIES:
            return (uint64_t)HPET_PERIOD_NS * FS_PER_NS << PERIOD_SHIFT | VENDOR | COUNT_SIZE_64
                | (HPET_TIMERS - 1) << LAST_TIMER_SHIFT | REVISION;
        case CONFIG:
            return h->config;
        case STATUS:
            return h->status;
        case COUNTER:
            return count_at(h, tsc);
        default:
            break;
    }
    uint64_t n = timer_of(reg);
    if (n >= HPET_TIMERS) {
        return 0;
    }
    switch (reg % TIMER_SIZE) {
        case TIMER_CONFIG:
            return h->timer[n].config;
        case TIMER_COMPARATOR:
            return h->timer[n].comparator;
        default:
            return 0;
    }
}

uint64_t hpet_read(const struct hpet *h, uint64_t tsc, uint64_t offset, uint8_t size) {
    uint64_t byte = offset % REGISTER_SIZE;
    return offset % size == 0 ? register_at(h, tsc, offset - byte) >> 8 * byte & mask_of(size) : UINT64_MAX;
}

static void write_timer(struct hpet_timer *t, uint64_t reg, uint64_t value, uint64_t mask, uint64_t count) {
    if (reg == TIMER_CONFIG) {
        t->config = (t->config & ~(mask & WRITABLE)) | (value & WRITABLE);
    } else if (reg == TIMER_COMPARATOR) {
        bool periodic = t->config & PERIODIC;
        // 2.3.9.2.2: a periodic timer's next match only after VALUE_SET, its period always.
        if (!periodic || (t->config & VALUE_SET)) {
            t->comparator = (t->comparator & ~mask) | value;
        }
        if (periodic) {
            t->period = (t->period & ~mask) | value;
        }
        t->config &= ~(uint64_t)VALUE_SET;
    } else {
        return;
    }
    if (t->config & MODE_32) {
        t->comparator = (uint32_t)t->comparator;
        t->period = (uint32_t)t->period;
    }
    set_due(t, count);
}

void hpet_write(struct hpet *h, uint64_t tsc, uint64_t offset, uint8_t size, uint64_t value) {
    uint64_t byte = offset % REGISTER_SIZE, reg = offset - byte;
    if (offset % size != 0) {
        return;
    }
    uint64_t mask = mask_of(size) << 8 * byte;
    value = value << 8 * byte & mask;
    hpet_update(h, tsc);
    uint64_t count = count_at(h, tsc), n = timer_of(reg);
    if (reg == STATUS) {
        h->status &= ~value; // ones clear
    } else if (reg == CONFIG) {
        h->config = (h->config & ~(mask & ENABLE)) | (value & ENABLE);
        h->count = count;
        h->since = tsc;
    } else if (reg == COUNTER && !(h->config & ENABLE)) { // 2.3.7: only while it is halted
        h->count = count = (count & ~mask) | value;
        for (unsigned i = 0; i < HPET_TIMERS; i++) {
            set_due(&h->timer[i], count);
        }
    } else if (n < HPET_TIMERS) {
        write_timer(&h->timer[n], reg % TIMER_SIZE, value, mask, count);
    }
    hpet_update(h, tsc);
}
