// A note of an exit in a ring: of those that Python watches (watch.c), and of all that a
// vCPU takes while it is traced (trace.c).
#ifndef VIPERVISOR_VIRT_NOTE_H
#define VIPERVISOR_VIRT_NOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/exit_words.h"

struct exit_note {
    uint64_t sequence; // its number + 1, written last; 0: being written
    uint32_t tsc_low, tsc_high; // of the host, at the exit
    uint64_t rip;
    struct exit_words words;
    uint8_t kind, vcpu, slot;
    bool done; // the instruction was completed, and a read has its value
    uint64_t entered; // traces: host TSC when the guest went on; 0: it has not
    uint8_t unused[48]; // to a power of two
};
_Static_assert(sizeof(struct exit_note) == 128, "found by a shift");

// All but what the exit is about.
static inline __attribute__((always_inline)) void note_exit(struct exit_note *n, const struct vcpu *v, uint32_t kind) {
    __asm__ volatile ("rdtsc" : "=a" (n->tsc_low), "=d" (n->tsc_high));
    n->rip = v->rip;
    n->kind = (uint8_t)kind;
    n->vcpu = v->index;
}

#endif
