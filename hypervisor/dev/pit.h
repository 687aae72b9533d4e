// The 8254 interval timer and port 0x61. Intel 8254 data sheet (231164).
//
// All counting happens in ticks of 1193182 Hz counted from guest TSC 0, so the
// registers follow from the TSC alone and nothing drifts.
#ifndef VIPERVISOR_DEV_PIT_H
#define VIPERVISOR_DEV_PIT_H

#include <stdbool.h>
#include <stdint.h>

#define PIT_HZ 1193182u
#define PIT_NEVER UINT64_MAX
#define PIT_BACKLOG 8 // interrupts remembered for a guest that is late

enum {
    PIT_CHANNEL_0 = 0x40,
    PIT_CHANNEL_2 = 0x42,
    PIT_CONTROL = 0x43,
    PIT_SYSTEM_B = 0x61, // system control port B
};

struct pit_channel {
    uint64_t start;             // tick at which `count` entered the counting element
    uint64_t frozen;            // elapsed ticks while the gate holds the counter
    uint64_t reload_at;         // tick at which next_count takes over (modes 2 and 3)
    uint32_t count, next_count; // 1 to 65536
    uint8_t mode, access;
    bool bcd, gate;
    bool loaded;                // a count was written since the control word
    bool triggered;             // modes 1 and 5: the gate rose
    bool low;                   // mode 1: OUT was low when the gate rose
    bool reload;                // next_count waits for reload_at
    bool null_count;            // modes 1 and 5: a count waits for its trigger
    bool write_high, read_high; // the high byte is next
    uint8_t write_low;
    bool latched, status_latched;
    uint16_t latch;
    uint8_t status;
};

struct pit {
    struct pit_channel channel[3];
    uint64_t tsc_hz;
    uint64_t next_edge; // tick at which OUT of channel 0 rises, PIT_NEVER
    uint64_t next_tsc;  // the same as a TSC
    uint8_t port61;     // bits 0 to 3 as written
    uint8_t backlog;    // edges of channel 0 that the guest has still to see
    bool out0;          // OUT of channel 0 after the last write: the level to start from
};

void pit_init(struct pit *p, uint64_t tsc_hz);
uint8_t pit_read(struct pit *p, uint64_t tsc, uint16_t port);
// True when channel 0 was touched: its line is p->out0 now.
bool pit_write(struct pit *p, uint64_t tsc, uint16_t port, uint8_t value);
// Rising edges of channel 0's OUT since the last call.
uint64_t pit_update(struct pit *p, uint64_t tsc);

// The TSC of the next edge on IRQ 0, PIT_NEVER when none will come.
static inline uint64_t pit_next(const struct pit *p) {
    return p->next_tsc;
}

#endif
