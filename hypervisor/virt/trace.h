// The trace of a guest's exits: a ring a vCPU, of which the newest notes stay.
//
// While a vCPU is traced, every entry of its handler table is trace_exit, which notes the
// exit and asks the handler that stood there; otherwise nothing tells of it.
#ifndef VIPERVISOR_VIRT_TRACE_H
#define VIPERVISOR_VIRT_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/exit.h"
#include "virt/note.h"

struct guest;

#define TRACE_LEAST 16
#define TRACE_MOST 16384

struct trace {
    volatile uint64_t head; // notes written
    uint64_t mask; // their number is a power of two
    exit_handler *under[EXIT_KINDS]; // the handlers in whose place it stands
    bool on;
    struct exit_note notes[];
};

// Control CPU. `size` notes for a vCPU: those there are stay where the number is the same.
// -EINVAL, -ENOMEM, -ETIMEDOUT.
int trace_on(struct guest *g, uint32_t vcpu, uint32_t size);
int trace_off(struct guest *g, uint32_t vcpu); // the notes stay
int trace_clear(struct guest *g, uint32_t vcpu); // off, and gives the memory back
void trace_free(struct guest *g); // of all vCPUs, which run no more
// Note `number`, counted from 0 on; false: overwritten, or not yet written.
bool trace_read(const struct trace *t, uint64_t number, struct exit_note *to);

// The handlers of a vCPU, for claims_apply: in `v->handlers` or below the trace.
exit_handler **trace_under(struct vcpu *v);
void trace_apply(struct vcpu *v);
void trace_entry(struct vcpu *v); // run loop: v->traced goes on now

#endif
