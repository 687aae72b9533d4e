// One instruction form each: code that ends in RET, with its text as its name. The
// memory operand is at RDI; RSP is a usable stack, all other registers are random.
#ifndef MMIO_FORMS_FORMS_H
#define MMIO_FORMS_FORMS_H

#include <stdint.h>

enum {
    FORM_ALIGNED = 1, // the operand lies on a multiple of 16
    FORM_BITS = 2, // RBX is a small bit offset
    FORM_LOCKED = 4, // with LOCK, or as if it had
};

struct form {
    void (*code)(void);
    const char *text;
    uint64_t flags;
};
extern const struct form __start_forms[], __stop_forms[];

// Everything that a form can read or change. The order is known to run.S.
struct state {
    uint64_t gpr[16]; // in ModRM order; RSP is left out
    uint64_t rflags;
    uint64_t unused;
    uint8_t xmm[2][16];
};

void run_form(struct state *s, void (*code)(void));

#endif
