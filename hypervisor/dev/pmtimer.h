// ACPI power management: PM1a event and control registers and the PM timer.
// ACPI 6.5 section 4.8.3. The ports are those of QEMU's pc machine.
//
// For the FADT: PM1a_EVT 0x600 length 4, PM1a_CNT 0x604 length 2, PM_TMR 0x608
// length 4, TMR_VAL_EXT clear (the carry is bit 23), SCI on IRQ 9; \_S5 is
// {0, 0}: SLP_EN with SLP_TYP 0 powers off.
#ifndef VIPERVISOR_DEV_PMTIMER_H
#define VIPERVISOR_DEV_PMTIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "dev/ratio.h"

#define PMTIMER_HZ 3579545u

enum {
    PM1_STATUS = 0x600,
    PM1_ENABLE = 0x602,
    PM1_CONTROL = 0x604,
    PM_TIMER = 0x608,
};

struct pmtimer {
    uint64_t tsc_hz;
    uint64_t carries;  // changes of bit 23 seen so far
    uint64_t next_tsc; // of the next one that makes an interrupt
    uint16_t status, enable, control;
    bool line; // SCI
};

void pmtimer_init(struct pmtimer *p, uint64_t tsc_hz);
uint16_t pmtimer_read(struct pmtimer *p, uint64_t tsc, uint16_t port); // an even PM1 port
// Writes the bits of mask. True: the guest powers off.
bool pmtimer_write(struct pmtimer *p, uint64_t tsc, uint16_t port, uint16_t value, uint16_t mask);
void pmtimer_update(struct pmtimer *p, uint64_t tsc);

// All 32 bits; who takes the timer for a 24-bit one masks it.
static inline uint32_t pmtimer_value(const struct pmtimer *p, uint64_t tsc) {
    return (uint32_t)ratio_down(tsc, PMTIMER_HZ, p->tsc_hz);
}

#endif
