// PM1a registers; the timer itself is one multiplication in pmtimer.h.
#include "dev/pmtimer.h"

enum {
    TMR_STS = 1 << 0,     // TMR_EN has the same place
    ENABLE_BITS = 0x0721, // TMR, GBL, PWRBTN, SLPBTN, RTC
    SCI_EN = 1 << 0,      // always set: there is no SMM to hand over from
    SLP_TYP = 7 << 10,
    SLP_TYP_S5 = 0 << 10,
    SLP_EN = 1 << 13,
    CARRY_BIT = 23,
};

void pmtimer_init(struct pmtimer *p, uint64_t tsc_hz) {
    *p = (struct pmtimer){.tsc_hz = tsc_hz, .next_tsc = UINT64_MAX, .control = SCI_EN};
}

void pmtimer_update(struct pmtimer *p, uint64_t tsc) {
    uint64_t carries = ratio_down(tsc, PMTIMER_HZ, p->tsc_hz) >> CARRY_BIT;
    if (carries > p->carries) {
        p->carries = carries;
        p->status |= TMR_STS;
    }
    p->line = p->status & p->enable & TMR_STS;
    p->next_tsc = UINT64_MAX;
    if ((p->enable & TMR_STS) && !p->line) {
        p->next_tsc = ratio_up((carries + 1) << CARRY_BIT, p->tsc_hz, PMTIMER_HZ);
    }
}

uint16_t pmtimer_read(struct pmtimer *p, uint64_t tsc, uint16_t port) {
    switch (port) {
        case PM1_STATUS:
            pmtimer_update(p, tsc);
            return p->status;
        case PM1_ENABLE:
            return p->enable;
        case PM1_CONTROL:
            return p->control;
        default:
            return 0;
    }
}

bool pmtimer_write(struct pmtimer *p, uint64_t tsc, uint16_t port, uint16_t value, uint16_t mask) {
    value &= mask;
    pmtimer_update(p, tsc);
    switch (port) {
        case PM1_STATUS: // ones clear
            p->status &= (uint16_t)~value;
            break;
        case PM1_ENABLE:
            p->enable = (uint16_t)((p->enable & ~mask) | (value & ENABLE_BITS));
            break;
        case PM1_CONTROL:
            p->control = (uint16_t)((((p->control & ~mask) | value) & ~SLP_EN) | SCI_EN);
            if ((value & SLP_EN) && (p->control & SLP_TYP) == SLP_TYP_S5) {
                return true;
            }
            break;
        default:
            break;
    }
    pmtimer_update(p, tsc);
    return false;
}
