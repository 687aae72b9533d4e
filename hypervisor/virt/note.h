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
    union {
        struct {
            uint8_t kind, vcpu, slot;
            bool done; // the instruction was completed, and a read has its value
        };
        uint32_t mark; // NOTE_MARK, and the vCPU
    };
    uint64_t entered; // traces: host TSC when the guest went on; 0: it has not
    uint8_t unused[48]; // to a power of two
};
_Static_assert(sizeof(struct exit_note) == 128, "found by a shift");

#define NOTE_MARK(kind, slot) ((kind) | (slot) << 16 | UINT32_C(1) << 24) // and done
#define NOTE_VCPU_SHIFT 8

// All but what the exit is about.
static inline __attribute__((always_inline)) void note_exit(struct exit_note *n, const struct vcpu *v,
    uint32_t mark) {
    __asm__ volatile ("rdtsc" : "=a" (n->tsc_low), "=d" (n->tsc_high));
    n->rip = v->rip;
    n->mark = mark | (uint32_t)v->index << NOTE_VCPU_SHIFT;
}

// And that, as it is at hand: note_finished makes the words of it. Of a port access `io` of
// the record and RAX, which holds the value of a read once it is done.
static inline __attribute__((always_inline)) void note_words(struct exit_note *n, struct vcpu *v,
    const struct exit_record *e, uint32_t kind) {
    if (kind == EXIT_IO) {
        __builtin_memcpy(&n->words.word[0], &e->io, sizeof(n->words.word[0]));
        n->words.word[3] = v->gpr[GPR_RAX];
    } else {
        exit_known_words(v, e, kind, n->words.word);
    }
}
_Static_assert(sizeof(((struct exit_record *)0)->io) <= sizeof(uint64_t), "one word");

// The words as they come out again, of no string.
static inline void note_put_words(struct exit_note *n, const struct exit_words *words) {
    const uint64_t *word = words->word;
    n->words = *words;
    if (n->kind == EXIT_IO) {
        struct exit_record e = { .io = { .port = (uint16_t)word[0], .size = (uint8_t)word[1], .in = word[2] == 0 } };
        __builtin_memcpy(&n->words.word[0], &e.io, sizeof(n->words.word[0]));
    }
}

// The answer, behind the core.
static inline __attribute__((always_inline)) void note_answer(struct exit_note *n, const struct vcpu *v,
    uint32_t kind) {
    if (kind == EXIT_IO) {
        n->words.word[3] = v->gpr[GPR_RAX];
    } else if (kind == EXIT_RDMSR) {
        exit_answer(v, kind, n->words.word);
    }
}

#define NOTE_STRING 2 // bit of the third word of a port access

static inline struct exit_note note_finished(const struct exit_note *from) {
    struct exit_note n = *from;
    uint64_t *word = n.words.word;
    if (n.kind == EXIT_IO) {
        struct exit_record e;
        uint64_t value = word[3];
        __builtin_memcpy(&e.io, &word[0], sizeof(e.io));
        word[0] = e.io.port;
        word[1] = e.io.size;
        word[2] = (e.io.in ? 0 : 1) | (e.io.string ? NOTE_STRING : 0);
        word[3] = e.io.string || (e.io.in && !n.done) ? 0 : value & UINT64_MAX >> (64 - 8 * e.io.size);
    }
    for (uint32_t i = exit_word_count(n.kind); i < EXIT_WORDS; i++) {
        word[i] = 0; // of an earlier one
    }
    return n;
}

#endif
