// What MicroPython's HAL header asks of the port.
#ifndef VIPERVISOR_MPHALPORT_H
#define VIPERVISOR_MPHALPORT_H

#include <stdint.h>

#include "cpu/insn.h"
#include "shared/runtime/interrupt_char.h"

// Sleeps until an interrupt, an event, or `timeout_ms` (negative: no limit).
void port_wait(int64_t timeout_ms);
void port_poll(void);

#define MICROPY_INTERNAL_WFE(timeout_ms) port_wait((int64_t)(timeout_ms))
#define MICROPY_INTERNAL_EVENT_HOOK port_poll()

static inline unsigned long mp_hal_ticks_cpu(void) {
    return rdtsc();
}

#endif
