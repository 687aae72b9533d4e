// What lapic.c and lapic_timer.c share.
#ifndef VIPERVISOR_DEV_LAPIC_LVT_H
#define VIPERVISOR_DEV_LAPIC_LVT_H

#include <stdbool.h>
#include <stdint.h>

struct lapic;

#define LVT_MASKED (UINT32_C(1) << 16)

// The local event of an LVT entry; true when it became an interrupt.
bool lvt_raise(struct lapic *l, uint32_t reg);

// Register accesses of the timer; as lapic_write.
uint32_t lapic_timer_count(const struct lapic *l, uint64_t tsc);
uint32_t lapic_timer_start(struct lapic *l, uint64_t tsc, uint32_t count);
uint32_t lapic_timer_divide(struct lapic *l, uint64_t tsc, uint32_t value);
uint32_t lapic_timer_mode(struct lapic *l, uint32_t entry);

#endif
