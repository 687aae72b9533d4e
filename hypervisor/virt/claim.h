// Claims: the exits of a guest that Python answers or watches.
//
// A claim is a kind of exit and a range of what it is about (struct exit_words). The
// core answers first (CLAIM_AFTER), is not asked (CLAIM_INSTEAD), or the exit is only
// noted in a ring and nobody waits (CLAIM_WATCH). Kinds without a claim cost nothing:
// the handler table of each vCPU has claim_exit only where there is one.
//
// Claims on device memory (CLAIM_MMIO) that do not stand in for a device are told of each
// access behind the answer of whoever serves it, the core's devices included.
//
// The table changes while the guest's vCPUs are parked.
#ifndef VIPERVISOR_VIRT_CLAIM_H
#define VIPERVISOR_VIRT_CLAIM_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/exit.h"
#include "virt/mmio.h"
#include "virt/note.h"
#include "virt/vcpu.h"

struct guest;

#define CLAIMS 32 // one bit each in a word
enum claim_mode { CLAIM_AFTER, CLAIM_INSTEAD, CLAIM_WATCH };

struct claim {
    uint64_t low, span; // of the first word: low to low + span, both included
    uint64_t hits;
    uint32_t kind, mark; // of its notes (note.h)
};

#define WATCH_RECORDS 1024
struct watch {
    uint64_t head, tail; // records written and read
    uint64_t drops;
    struct exit_note records[WATCH_RECORDS];
};

struct claims {
    uint32_t used, instead, watched; // one bit a slot
    uint32_t by_kind[CLAIM_KINDS];
    struct claim claim[CLAIMS];
    struct claim *lone[EXIT_KINDS]; // where only one is about a kind
    struct watch *watch; // made by the first CLAIM_WATCH
    struct mmio_range under[MMIO_RANGES]; // the core's ranges, while claims are told of them; size 0: not so
};

// Control CPU. -EINVAL, -ENOMEM, -ETIMEDOUT (a vCPU does not stand still).
int claim_set(struct guest *g, uint32_t slot, uint32_t kind, uint64_t low, uint64_t high, enum claim_mode mode);
int claim_clear(struct guest *g, uint32_t slot);
// Drops all claims, for a Python that starts anew. A vCPU that waits gets the core's
// answer; true: one did.
bool claims_drop(struct guest *g);
void claims_free(struct guest *g);
void claims_apply(struct vcpu *v); // the handler table of a new vCPU
// watch.c: the oldest note, and the number of those lost since; false: there is none.
bool watch_read(struct guest *g, struct exit_note *to, uint64_t *drops);

// watch.c, for claim.c.
int watch_make(struct guest *g); // the ring; -ENOMEM
void watch_free(struct guest *g);
// An exit that nobody has answered yet.
void watch_put(struct vcpu *v, const struct exit_record *e, uint32_t slots);
// What is behind its answer; `done`: it was no fault.
void watch_put_answer(struct vcpu *v, uint32_t kind, const struct exit_words *words, bool done, uint32_t slots);
exit_handler *watch_handler(uint32_t kind, bool lone); // of a kind that is only watched

// The handler of claimed kinds.
bool claim_exit(struct vcpu *v, struct exit_record *e);

// Answering a vCPU that waits, on the control CPU. Those marked (loaded) need it
// parked and loaded there.
void claim_set_value(struct vcpu *v, uint64_t value); // what a read or a hypercall returns
void claim_ask_core(struct vcpu *v); // (loaded)
void claim_inject(struct vcpu *v, uint8_t vector, bool has_error, uint32_t error); // (loaded)
void claim_unfault(struct vcpu *v); // (loaded) takes back a fault that the core gave
bool claim_faulted(const struct vcpu *v);
bool claim_done_needs_load(const struct vcpu *v);
void claim_done(struct vcpu *v); // the vCPU goes on

// Inside the emulation of an instruction, while v->served.active. True: Python answers,
// has answered (*value), or is asked now (v->served.asking).
bool claim_memory(struct vcpu *v, void *context, uint64_t offset, uint8_t size, bool write, uint64_t *value);
bool claim_port(struct vcpu *v, uint16_t port, uint8_t size, bool write, uint32_t *value);
void claim_commit(struct vcpu *v); // a string element is complete

// Behind the answer of a range, NULL: of nobody, Python is told. False: *value is not there.
bool claim_behind(struct vcpu *v, const struct mmio_range *under, uint64_t gpa, uint8_t size, bool write,
    uint64_t *value);

// Between claim.c and claim_access.c.
void claims_over_devices(struct guest *g); // the table or the device ranges have changed

// claim_access.c, for claim.c: exit_core with the above, and what ends an access.
bool claim_emulate(struct vcpu *v, struct exit_record *e);
void claim_core_access(struct vcpu *v);
void claim_log(struct vcpu *v);

// exits.c
void exit_post(struct vcpu *v, const struct exit_record *e); // to Python; the vCPU waits
bool exit_core(struct vcpu *v, struct exit_record *e);
extern exit_handler *const exit_core_handlers[EXIT_KINDS];

#endif
