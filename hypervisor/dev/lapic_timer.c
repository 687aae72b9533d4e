// The local APIC's timer: one-shot, periodic, TSC-deadline (SDM volume 3A, 10.5.4).
#include "dev/lapic.h"
#include "dev/lapic_lvt.h"

enum { MODE_ONE_SHOT, MODE_PERIODIC, MODE_DEADLINE, MODE_RESERVED };
enum { MODE_SHIFT = 17, DIVIDE_WRITABLE = 0xB };

static uint32_t mode_of(uint32_t entry) {
    return entry >> MODE_SHIFT & 3;
}

static uint32_t mode(const struct lapic *l) {
    return mode_of(l->lvt[0]);
}

// TSC ticks of one count. Figure 10-10: 111 divides by 1, the others by 2 and up.
static uint64_t ticks_per_count(const struct lapic *l) {
    uint32_t code = (l->divide & 3) | (l->divide >> 1 & 4);
    return l->unit << ((code + 1) & 7);
}

// The first expiry on the grid of periods behind `tsc`.
static uint64_t next_period(const struct lapic *l, uint64_t tsc) {
    uint64_t period = l->initial * ticks_per_count(l);
    return l->due + ((tsc - l->due) / period + 1) * period;
}

uint32_t lapic_timer_count(const struct lapic *l, uint64_t tsc) {
    uint64_t due = l->due;
    if (due == UINT64_MAX || mode(l) == MODE_DEADLINE) {
        return 0;
    }
    if (due <= tsc) { // not yet seen by lapic_timer_update
        if (mode(l) != MODE_PERIODIC || l->initial == 0) {
            return 0;
        }
        due = next_period(l, tsc);
    }
    uint64_t ticks = ticks_per_count(l);
    return (uint32_t)((due - tsc + ticks - 1) / ticks);
}

uint32_t lapic_timer_start(struct lapic *l, uint64_t tsc, uint32_t count) {
    if (mode(l) == MODE_DEADLINE) {
        return 0;
    }
    l->initial = count;
    l->due = count == 0 ? UINT64_MAX : tsc + count * ticks_per_count(l);
    return LAPIC_TIMER;
}

uint32_t lapic_timer_divide(struct lapic *l, uint64_t tsc, uint32_t value) {
    uint32_t count = lapic_timer_count(l, tsc);
    l->divide = value & DIVIDE_WRITABLE;
    if (count != 0) {
        l->due = tsc + count * ticks_per_count(l);
    }
    return LAPIC_TIMER;
}

uint32_t lapic_timer_mode(struct lapic *l, uint32_t entry) {
    if ((mode(l) == MODE_DEADLINE) != (mode_of(entry) == MODE_DEADLINE)) {
        l->due = UINT64_MAX; // 10.5.4.1: a change to or from TSC-deadline disarms it
        l->initial = 0;
        l->deadline = 0;
    }
    l->lvt[0] = entry;
    return LAPIC_TIMER;
}

uint64_t lapic_deadline_read(const struct lapic *l) {
    return l->deadline;
}

uint32_t lapic_deadline_write(struct lapic *l, uint64_t value) {
    if (mode(l) != MODE_DEADLINE) {
        return 0;
    }
    l->deadline = value;
    l->due = value == 0 ? UINT64_MAX : value;
    return LAPIC_TIMER;
}

uint64_t lapic_timer_next(const struct lapic *l) {
    return l->due;
}

bool lapic_timer_update(struct lapic *l, uint64_t tsc) {
    if (tsc < l->due) {
        return false;
    }
    if (l->due == UINT64_MAX) {
        return false;
    }
    if (mode(l) == MODE_PERIODIC && l->initial != 0) {
        // Periods that went by unseen are one interrupt, as IRR has one bit; the next
        // comes on the same grid.
        l->due = next_period(l, tsc);
    } else {
        l->due = UINT64_MAX;
        l->deadline = 0;
    }
    return lvt_raise(l, LAPIC_LVT_TIMER);
}

void lapic_tsc_moved(struct lapic *l, uint64_t delta) {
    if (l->due != UINT64_MAX && mode(l) != MODE_DEADLINE) {
        l->due += delta;
    }
}
