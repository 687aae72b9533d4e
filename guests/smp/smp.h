// What the parts of this guest share.
#ifndef GUEST_SMP_SMP_H
#define GUEST_SMP_SMP_H

#include <stdbool.h>
#include <stdint.h>

#include "apic.h"
#include "traps.h"

enum { VPING = 0x81, WAIT_MS = 5000 }; // VPING: a CPU that it comes to looks at its command

// What a CPU does between two commands.
enum command { IDLE, SLEEP_DEAF, COUNT, TICK_TOCK, TIMER, NMI_SHADOW, NMI_PAIRS, RELAY, BEAT, CRASH, EXIT };

struct cpu {
    volatile uint32_t starts, id, x2_id, command, done;
    volatile uint32_t pings, alls, lowest, logicals, flushes, nmis, timers;
    volatile uint64_t seen; // what a shootdown found
    volatile uint64_t beats;
} __attribute__((aligned(64)));

extern struct cpu cpus[256]; // by APIC id
extern uint32_t others; // CPUs besides the boot CPU
extern uint32_t failures; // of the check that runs
extern bool use_x2;

static inline struct cpu *me(void) {
    return &cpus[apic_id() & 0xFF];
}

static inline void add(volatile uint32_t *to) {
    __atomic_fetch_add(to, 1, __ATOMIC_SEQ_CST);
}

// An interrupt's, on any CPU.
#define HANDLER(name, what) \
    static bool name(struct trap_frame *frame) { \
        (void)frame; \
        what; \
        apic_write(APIC_EOI, 0); \
        return true; \
    }

bool wait_for(volatile uint32_t *what, uint32_t value); // false: not in time
void for_each(void (*what)(uint32_t id)); // of the others

// ipi.c
void ipi_begin(void);
void ping(uint32_t id);
void check_pings(void);
void check_broadcasts(void);
void check_logical(void);

// deaf.c
void deaf_begin(void);
void deaf_sleep(void); // on another CPU, as the next
void deaf_relay(void);
void check_deaf_sleep(void);
void check_relay(uint32_t rounds);

// tables.c
void check_tables(uint32_t expected);

#endif
