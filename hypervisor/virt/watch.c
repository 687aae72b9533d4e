// Exits that Python watches: the vCPU writes a record into a ring and goes on.
//
// A kind that is watched and not claimed otherwise has a handler of its own here, made
// for that kind: watching costs some fifty instructions, and nothing where nobody does.
#include "virt/claim.h"

#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/memory.h"
#include "virt/exit_words.h"
#include "virt/guest.h"

#define WATCH_PAGES ((sizeof(struct watch) + PAGE_SIZE - 1) / PAGE_SIZE)
#define always static inline __attribute__((always_inline))

int watch_make(struct guest *g) {
    if (g->claims.watch == NULL) {
        g->claims.watch = page_alloc(WATCH_PAGES);
    }
    return g->claims.watch != NULL ? 0 : -ENOMEM;
}

void watch_free(struct guest *g) {
    if (g->claims.watch != NULL) {
        page_free(g->claims.watch, WATCH_PAGES);
        g->claims.watch = NULL;
    }
}

// ---- Writing, on the vCPU's CPU ----

#define NO_PLACE UINT64_MAX

always uint64_t full(struct watch *ring) {
    __atomic_fetch_add(&ring->drops, 1, __ATOMIC_RELAXED);
    return NO_PLACE;
}

// The number of the next record, NO_PLACE when the ring is full. Several vCPUs race for it.
static __attribute__((noinline)) uint64_t take_place_among(struct watch *ring) {
    uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_RELAXED);
    do {
        if (head - __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE) >= WATCH_RECORDS) {
            return full(ring);
        }
    } while (!__atomic_compare_exchange_n(&ring->head, &head, head + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    return head;
}

always uint64_t take_place(struct watch *ring) {
    uint64_t head = ring->head;
    if (head == NO_PLACE) {
        __builtin_unreachable(); // so the caller need not look
    }
    if (__builtin_expect(head - __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE) >= WATCH_RECORDS, 0)) {
        return full(ring);
    }
    ring->head = head + 1;
    return head;
}

// True: it is the first since the ring was read, and somebody must be told. The record is
// published before the reader's place is looked at, and the reader does it the other way
// round (watch_read), so that one of the two sees the other. With `words` they are what it is
// about; else they are in `e` and the registers, the answer too where `answered`.
always bool put(struct vcpu *v, const struct exit_record *e, const struct exit_words *words, uint32_t kind,
    uint32_t mark, bool answered) {
    struct watch *ring = v->guest->claims.watch;
    bool alone = v->guest->vcpu_count == 1;
    uint64_t number = __builtin_expect(alone, 1) ? take_place(ring) : take_place_among(ring);
    if (__builtin_expect(number == NO_PLACE, 0)) {
        return false;
    }
    struct exit_note *r = &ring->records[number % WATCH_RECORDS];
    __asm__ ("" : "+r" (r)); // the compiler would work it out again for each field
    note_exit(r, v, mark);
    if (words != NULL) {
        note_put_words(r, words);
        r->done = answered;
    } else {
        note_words(r, v, e, kind);
        if (answered && kind != EXIT_IO) {
            r->done = e->length != 0;
            if (r->done) {
                note_answer(r, v, kind);
            }
        }
    }
    __atomic_store_n(&r->sequence, number + 1, __ATOMIC_SEQ_CST);
    return number == __atomic_load_n(&ring->tail, __ATOMIC_SEQ_CST);
}

static uint32_t mark_of(uint32_t kind, uint32_t slots) {
    return NOTE_MARK(kind, (uint32_t)__builtin_ctz(slots));
}

void watch_put(struct vcpu *v, const struct exit_record *e, uint32_t slots) {
    if (put(v, e, NULL, e->kind, mark_of(e->kind, slots), false)) {
        guest_notify(v->guest, GUEST_EVENT_WATCH);
    }
}

void watch_put_answer(struct vcpu *v, uint32_t kind, const struct exit_words *words, bool done, uint32_t slots) {
    if (put(v, NULL, words, kind, mark_of(kind, slots), done)) {
        guest_notify(v->guest, GUEST_EVENT_WATCH);
    }
}

static __attribute__((noinline)) bool notify(struct vcpu *v, struct exit_record *e) {
    guest_notify(v->guest, GUEST_EVENT_WATCH);
    return exit_core(v, e);
}

// What has its answer in the record comes behind the core, which never ends the run loop for
// it. `slots` 0: the watch that is alone.
always bool watch_answer(struct vcpu *v, struct exit_record *e, uint32_t kind, uint32_t slots) {
    (void)exit_core_handlers[kind](v, e);
    uint32_t mark = slots == 0 ? v->guest->claims.lone[kind]->mark : mark_of(kind, slots);
    if (__builtin_expect(put(v, e, NULL, kind, mark, true), 0)) {
        guest_notify(v->guest, GUEST_EVENT_WATCH);
    }
    return true;
}

// A frame for it alone.
static __attribute__((noinline)) bool watch_in(struct vcpu *v, struct exit_record *e) {
    return watch_answer(v, e, EXIT_IO, 0);
}

// What no watch is told of: string I/O, whose elements have no record of their own, and
// hypercalls that the guest's kernel did not make.
always bool unseen(const struct exit_record *e, uint32_t kind) {
    return (kind == EXIT_IO && e->io.string) || (kind == EXIT_HYPERCALL && e->hypercall.cpl != 0);
}

// One watch alone is about the kind.
always bool watch_lone(struct vcpu *v, struct exit_record *e, uint32_t kind) {
    struct claim *k = v->guest->claims.lone[kind];
    if (exit_first_word(v, e, kind) - k->low <= k->span && !unseen(e, kind)) {
        __atomic_fetch_add(&k->hits, 1, __ATOMIC_RELAXED);
        if (exit_is_answered(e, kind)) {
            return kind == EXIT_IO ? watch_in(v, e) : watch_answer(v, e, kind, 0);
        }
        if (__builtin_expect(put(v, e, NULL, kind, k->mark, false), 0)) {
            return notify(v, e);
        }
    }
    return exit_core_handlers[kind](v, e);
}

static bool watch_several(struct vcpu *v, struct exit_record *e) {
    uint32_t kind = e->kind;
    struct claims *c = &v->guest->claims;
    uint64_t about = exit_first_word(v, e, kind);
    uint32_t seen = 0;
    for (uint32_t left = c->by_kind[kind]; left != 0; left &= left - 1) {
        uint32_t slot = (uint32_t)__builtin_ctz(left);
        if (about - c->claim[slot].low <= c->claim[slot].span) {
            seen |= left & (0 - left);
            __atomic_fetch_add(&c->claim[slot].hits, 1, __ATOMIC_RELAXED);
        }
    }
    seen = unseen(e, kind) ? 0 : seen;
    if (seen != 0 && exit_is_answered(e, kind)) {
        return watch_answer(v, e, kind, seen);
    }
    if (seen != 0 && put(v, e, NULL, kind, mark_of(kind, seen), false)) {
        return notify(v, e);
    }
    return exit_core_handlers[kind](v, e);
}

static bool watch_any(struct vcpu *v, struct exit_record *e) {
    return watch_lone(v, e, e->kind);
}

#define WATCH(name, kind) \
    static bool watch_##name(struct vcpu *v, struct exit_record *e) { \
        return watch_lone(v, e, kind); \
    }
WATCH(cpuid, EXIT_CPUID)
WATCH(rdmsr, EXIT_RDMSR)
WATCH(wrmsr, EXIT_WRMSR)
WATCH(io, EXIT_IO)
WATCH(nested_fault, EXIT_NESTED_FAULT)
WATCH(hypercall, EXIT_HYPERCALL)

exit_handler *watch_handler(uint32_t kind, bool lone) {
    static exit_handler *const handlers[EXIT_KINDS] = {
        [EXIT_CPUID] = watch_cpuid, [EXIT_RDMSR] = watch_rdmsr, [EXIT_WRMSR] = watch_wrmsr, [EXIT_IO] = watch_io,
        [EXIT_NESTED_FAULT] = watch_nested_fault, [EXIT_HYPERCALL] = watch_hypercall,
    };
    if (!lone) {
        return watch_several;
    }
    return handlers[kind] != NULL ? handlers[kind] : watch_any;
}

// ---- Reading, on the control CPU ----

bool watch_read(struct guest *g, struct exit_note *to, uint64_t *drops) {
    struct watch *ring = g->claims.watch;
    *drops = 0;
    if (ring == NULL) {
        return false;
    }
    const struct exit_note *r = &ring->records[ring->tail % WATCH_RECORDS];
    bool there = __atomic_load_n(&r->sequence, __ATOMIC_SEQ_CST) == ring->tail + 1;
    if (there) {
        *to = note_finished(r);
        __atomic_store_n(&ring->tail, ring->tail + 1, __ATOMIC_SEQ_CST);
    }
    *drops = __atomic_exchange_n(&ring->drops, 0, __ATOMIC_RELAXED);
    return there;
}
