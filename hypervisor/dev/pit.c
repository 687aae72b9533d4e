// The 8254: what a channel shows is computed from the tick it was loaded at.
#include "dev/pit.h"

#include "dev/ratio.h"

enum {
    CONTROL_CHANNEL_SHIFT = 6,
    CONTROL_READ_BACK = 3, // as channel
    CONTROL_ACCESS_SHIFT = 4,
    CONTROL_MODE_SHIFT = 1,
    CONTROL_BCD = 1 << 0,
    ACCESS_LATCH = 0,
    ACCESS_LOW = 1,
    ACCESS_HIGH = 2,
    ACCESS_BOTH = 3,
    READ_BACK_NO_COUNT = 1 << 5,
    READ_BACK_NO_STATUS = 1 << 4,
    STATUS_OUT = 1 << 7,
    STATUS_NULL_COUNT = 1 << 6,
    PORT61_GATE_2 = 1 << 0,
    PORT61_WRITABLE = 0x0F,
    PORT61_REFRESH = 1 << 4,
    PORT61_OUT_2 = 1 << 5,
    REFRESH_TICKS = 18, // one refresh each 15 us
    BINARY_FULL = 0x10000,
    BCD_FULL = 10000,
    // A guest may ask for more interrupts than it can take (count 2 is 600 kHz): of
    // a wave with a period shorter than this, several edges are told together.
    SHORTEST_PERIOD = 36, // 30 us
};

static uint64_t ticks_at(const struct pit *p, uint64_t tsc) {
    return ratio_down(tsc, PIT_HZ, p->tsc_hz);
}

static bool periodic(const struct pit_channel *c) {
    return c->mode == 2 || c->mode == 3;
}

static bool by_trigger(const struct pit_channel *c) {
    return c->mode == 1 || c->mode == 5;
}

// Mode 3 is high for the longer half.
static uint32_t high_half(uint32_t count) {
    return (count + 1) / 2;
}

static bool held_by_gate(const struct pit_channel *c) {
    return !c->gate && !by_trigger(c);
}

// A count written to a running mode 2 or 3 takes over at reload_at. In mode 3
// that may be the middle of the wave: start is put so that its low half begins.
static void settle(struct pit_channel *c, uint64_t now) {
    if (!c->reload || held_by_gate(c) || (int64_t)(now - c->reload_at) < 0) {
        return;
    }
    bool middle = c->mode == 3 && (c->reload_at - c->start) % c->count != 0;
    c->count = c->next_count;
    c->start = c->reload_at - (middle ? high_half(c->count) : 0);
    c->reload = false;
}

// Ticks since the count was loaded; negative just before (one CLK loads it).
static int64_t elapsed(const struct pit_channel *c, uint64_t now) {
    return (int64_t)(held_by_gate(c) ? c->frozen : now - c->start);
}

static uint32_t position(const struct pit_channel *c, uint64_t now) {
    int64_t e = elapsed(c, now);
    return e <= 0 ? 0 : (uint32_t)((uint64_t)e % c->count);
}

static uint16_t to_bcd(uint32_t value) {
    return (uint16_t)(value / 1000 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 | value % 10);
}

static uint32_t from_bcd(uint32_t value) {
    return (value >> 12) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 + (value & 15);
}

// What the counting element holds.
static uint16_t counter(struct pit_channel *c, uint64_t now) {
    uint32_t value;
    settle(c, now);
    if (!c->loaded || (by_trigger(c) && !c->triggered)) {
        value = c->count;
    } else if (c->mode == 2) {
        value = c->count - position(c, now);
    } else if (c->mode == 3) {
        uint32_t at = position(c, now), half = high_half(c->count);
        value = (c->count & ~1u) - 2 * (at < half ? at : at - half);
    } else { // it wraps and goes on
        int64_t e = elapsed(c, now);
        uint64_t gone = e <= 0 ? 0 : (uint64_t)e;
        value = c->count + (c->bcd ? BCD_FULL - (uint32_t)(gone % BCD_FULL) : -(uint32_t)gone);
    }
    return c->bcd ? to_bcd(value % BCD_FULL) : (uint16_t)value;
}

static bool out(struct pit_channel *c, uint64_t now) {
    settle(c, now);
    if (!c->loaded) {
        return c->mode != 0;
    }
    int64_t e = elapsed(c, now);
    switch (c->mode) {
        case 0:
            return e >= c->count;
        case 1:
            return !c->triggered || (e < 0 ? !c->low : e >= c->count);
        case 2:
            return !c->gate || e < 0 || position(c, now) != c->count - 1 || c->count == 1;
        case 3:
            return !c->gate || e < 0 || position(c, now) < high_half(c->count);
        case 4:
            return e != c->count;
        default:
            return !c->triggered || e != c->count;
    }
}

static bool null_count(struct pit_channel *c, uint64_t now) {
    settle(c, now);
    if (!c->loaded || c->reload || c->null_count) {
        return true;
    }
    return !held_by_gate(c) && (int64_t)(now - c->start) < 0;
}

// Channel 0 was programmed: find the next rise of its OUT.
static void schedule(struct pit *p, uint64_t now) {
    struct pit_channel *c = &p->channel[0];
    p->next_edge = PIT_NEVER;
    if (c->loaded) {
        switch (c->mode) {
            case 0:
                p->next_edge = c->start + c->count;
                break;
            case 4:
                p->next_edge = c->start + c->count + 1; // the strobe's end
                break;
            case 2:
            case 3:
                if (!c->reload) {
                    uint64_t periods = (int64_t)(now - c->start) < 0 ? 0 : (now - c->start) / c->count;
                    p->next_edge = c->start + (periods + 1) * c->count;
                } else if ((c->reload_at - c->start) % c->count == 0) {
                    p->next_edge = c->reload_at;
                } else { // the low half has the new length
                    p->next_edge = c->reload_at + c->next_count / 2;
                }
                break;
            default: // modes 1 and 5 wait for a gate that never moves
                break;
        }
    }
    p->next_tsc = p->next_edge == PIT_NEVER ? PIT_NEVER : ratio_up(p->next_edge, p->tsc_hz, PIT_HZ);
}

uint64_t pit_update(struct pit *p, uint64_t tsc) {
    if (tsc < p->next_tsc) {
        return 0;
    }
    struct pit_channel *c = &p->channel[0];
    uint64_t now = ticks_at(p, tsc), edges = 1;
    if (!periodic(c)) {
        p->next_edge = p->next_tsc = PIT_NEVER;
        return edges;
    }
    settle(c, p->next_edge);
    edges += (now - p->next_edge) / c->count;
    p->next_edge += edges * c->count;
    uint64_t look = c->count < SHORTEST_PERIOD ? now + SHORTEST_PERIOD : p->next_edge;
    p->next_tsc = ratio_up(look, p->tsc_hz, PIT_HZ);
    return edges;
}

void pit_init(struct pit *p, uint64_t tsc_hz) {
    *p = (struct pit){.tsc_hz = tsc_hz, .next_edge = PIT_NEVER, .next_tsc = PIT_NEVER, .out0 = true};
    for (unsigned i = 0; i < 3; i++) {
        p->channel[i].count = p->channel[i].next_count = BINARY_FULL;
        p->channel[i].mode = 3; // idle, OUT high, as a BIOS leaves it
        p->channel[i].access = ACCESS_BOTH;
        p->channel[i].gate = i != 2;
    }
}

static uint8_t read_system_b(struct pit *p, uint64_t tsc) {
    uint64_t now = ticks_at(p, tsc);
    uint8_t value = p->port61;
    if (now / REFRESH_TICKS & 1) {
        value |= PORT61_REFRESH;
    }
    if (out(&p->channel[2], now)) {
        value |= PORT61_OUT_2;
    }
    return value;
}

uint8_t pit_read(struct pit *p, uint64_t tsc, uint16_t port) {
    struct pit_channel *c = &p->channel[port & 3];
    if (port == PIT_SYSTEM_B) {
        return read_system_b(p, tsc);
    }
    if (port == PIT_CONTROL) {
        return 0xFF; // write only
    }
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    uint16_t value = c->latched ? c->latch : counter(c, ticks_at(p, tsc));
    bool high = c->access == ACCESS_HIGH || c->read_high;
    if (c->access == ACCESS_BOTH) {
        c->read_high = !c->read_high;
    }
    if (!c->read_high) {
        c->latched = false; // all of it was read
    }
    return (uint8_t)(high ? value >> 8 : value);
}

static void latch_count(struct pit_channel *c, uint64_t now) {
    if (!c->latched) {
        c->latch = counter(c, now);
        c->latched = true;
    }
}

static void latch_status(struct pit_channel *c, uint64_t now) {
    if (c->status_latched) {
        return;
    }
    c->status = (uint8_t)(c->access << CONTROL_ACCESS_SHIFT | c->mode << CONTROL_MODE_SHIFT);
    c->status |= c->bcd ? CONTROL_BCD : 0;
    c->status |= out(c, now) ? STATUS_OUT : 0;
    c->status |= null_count(c, now) ? STATUS_NULL_COUNT : 0;
    c->status_latched = true;
}

static void read_back(struct pit *p, uint64_t now, uint8_t value) {
    for (unsigned i = 0; i < 3; i++) {
        if (!(value & 2u << i)) {
            continue;
        }
        if (!(value & READ_BACK_NO_COUNT)) {
            latch_count(&p->channel[i], now);
        }
        if (!(value & READ_BACK_NO_STATUS)) {
            latch_status(&p->channel[i], now);
        }
    }
}

static void set_mode(struct pit_channel *c, uint8_t value) {
    unsigned mode = value >> CONTROL_MODE_SHIFT & 7;
    c->mode = (uint8_t)(mode > 5 ? mode - 4 : mode); // 6 and 7 are 2 and 3
    c->access = value >> CONTROL_ACCESS_SHIFT & 3;
    c->bcd = value & CONTROL_BCD;
    c->loaded = c->triggered = c->reload = c->null_count = false;
    c->write_high = c->read_high = c->latched = c->status_latched = false;
    c->frozen = 0;
}

static void load(struct pit_channel *c, uint64_t now, uint32_t count) {
    c->count = count;
    c->start = now + 1; // the next CLK loads it
    c->frozen = 0;
    c->loaded = true;
}

static void write_count(struct pit_channel *c, uint64_t now, uint32_t written) {
    uint32_t count = c->bcd ? from_bcd(written) : written;
    if (count == 0) {
        count = c->bcd ? BCD_FULL : BINARY_FULL;
    }
    settle(c, now);
    c->next_count = count;
    if (by_trigger(c)) {
        c->loaded = c->null_count = true; // until the gate rises
    } else if (!periodic(c) || !c->loaded) {
        load(c, now, count);
    } else {
        // End of the period, in mode 3 of the half (data sheet, "Mode 3").
        uint32_t at = position(c, now), half = high_half(c->count);
        int64_t e = elapsed(c, now);
        uint64_t begin = e <= 0 ? c->start : now - at;
        c->reload_at = begin + (c->mode == 3 && at < half ? half : c->count);
        c->reload = true;
    }
}

static void write_channel(struct pit_channel *c, uint64_t now, uint8_t value) {
    switch (c->access) {
        case ACCESS_LOW:
            write_count(c, now, value);
            break;
        case ACCESS_HIGH:
            write_count(c, now, (uint32_t)value << 8);
            break;
        default:
            if (c->write_high) {
                write_count(c, now, (uint32_t)value << 8 | c->write_low);
            } else {
                c->write_low = value;
                if (c->mode == 0) { // the first byte stops the count, OUT falls
                    c->loaded = false;
                }
            }
            c->write_high = !c->write_high;
            break;
    }
}

static void set_gate(struct pit_channel *c, uint64_t now, bool gate) {
    if (gate == c->gate) {
        return;
    }
    settle(c, now);
    if (!gate) {
        int64_t e = elapsed(c, now);
        c->frozen = e < 0 ? 0 : (uint64_t)e;
        c->gate = false;
        return;
    }
    c->gate = true;
    if (by_trigger(c)) {
        if (c->loaded) {
            c->low = !out(c, now); // until the next CLK
            load(c, now, c->next_count);
            c->triggered = true;
            c->null_count = false;
        }
    } else if (periodic(c)) {
        c->reload = false;
        if (c->loaded) { // the gate starts a whole period
            load(c, now, c->next_count);
        }
    } else {
        c->start = now - c->frozen;
    }
}

bool pit_write(struct pit *p, uint64_t tsc, uint16_t port, uint8_t value) {
    uint64_t now = ticks_at(p, tsc);
    unsigned index = port & 3;
    if (port == PIT_SYSTEM_B) {
        p->port61 = value & PORT61_WRITABLE;
        set_gate(&p->channel[2], now, value & PORT61_GATE_2);
        return false;
    }
    if (port == PIT_CONTROL) {
        index = value >> CONTROL_CHANNEL_SHIFT;
        if (index == CONTROL_READ_BACK) {
            read_back(p, now, value);
            return false;
        }
        if ((value >> CONTROL_ACCESS_SHIFT & 3) == ACCESS_LATCH) {
            latch_count(&p->channel[index], now);
            return false;
        }
        set_mode(&p->channel[index], value);
    } else {
        write_channel(&p->channel[index], now, value);
    }
    if (index != 0) {
        return false;
    }
    if (port == PIT_CONTROL) {
        p->backlog = 0; // a new wave owes nothing
    }
    schedule(p, now);
    p->out0 = out(&p->channel[0], now);
    return true;
}
