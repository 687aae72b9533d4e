// What an exit is about, out of its record and the vCPU's registers (struct exit_words).
// In line, and with the kind beside the record: where it is known, little is left.
#ifndef VIPERVISOR_VIRT_EXIT_WORDS_H
#define VIPERVISOR_VIRT_EXIT_WORDS_H

#include "virt/exit.h"
#include "virt/vcpu.h"

// What MOV writes to CR or DR, where the CPU does not tell its operands (emulate.c).
uint64_t emulate_written(struct vcpu *v);

// How many words a kind has; the others are 0.
static inline uint32_t exit_word_count(uint32_t kind) {
    switch (kind) {
        case EXIT_HYPERCALL:
            return 5;
        case EXIT_IO:
        case CLAIM_MMIO:
            return 4;
        case EXIT_NESTED_FAULT:
        case EXIT_EXCEPTION:
        case EXIT_CR:
        case EXIT_DR:
            return 3;
        default:
            return 2;
    }
}

// Writes those words alone.
static inline __attribute__((always_inline)) void exit_known_words(struct vcpu *v,
    const struct exit_record *e, uint32_t kind, uint64_t *word) {
    const uint64_t *gpr = v->gpr;
    switch (kind) {
        case EXIT_CPUID:
            word[0] = (uint32_t)gpr[GPR_RAX];
            word[1] = (uint32_t)gpr[GPR_RCX];
            break;
        case EXIT_RDMSR:
        case EXIT_WRMSR:
            word[0] = (uint32_t)gpr[GPR_RCX];
            word[1] = kind == EXIT_WRMSR ? gpr[GPR_RDX] << 32 | (uint32_t)gpr[GPR_RAX] : 0;
            break;
        case EXIT_IO:
            word[0] = e->io.port;
            word[1] = e->io.size;
            word[2] = word[3] = 0;
            if (!e->io.in) {
                word[2] = 1;
                word[3] = gpr[GPR_RAX] & UINT64_MAX >> (64 - 8 * e->io.size);
            }
            break;
        case EXIT_NESTED_FAULT:
            word[0] = e->nested.gpa;
            word[1] = 0;
            word[2] = (e->nested.access & ACCESS_WRITE) != 0;
            break;
        case EXIT_HYPERCALL:
            word[0] = (uint32_t)gpr[GPR_RAX];
            word[1] = gpr[GPR_RBX];
            word[2] = gpr[GPR_RCX];
            word[3] = gpr[GPR_RDX];
            word[4] = gpr[GPR_RSI];
            break;
        case EXIT_EXCEPTION:
            word[0] = e->exception.vector;
            word[1] = e->exception.error;
            word[2] = e->exception.address;
            break;
        case EXIT_CR:
            word[0] = e->cr.number;
            word[1] = e->cr.op;
            word[2] = e->cr.op != CR_WRITE ? 0 : e->cr.decoded ? gpr[e->cr.gpr & (GPR_COUNT - 1)]
                : emulate_written(v);
            break;
        case EXIT_DR:
            word[0] = e->dr.number;
            word[1] = e->dr.write ? CR_WRITE : CR_READ;
            word[2] = !e->dr.write ? 0 : e->dr.decoded ? gpr[e->dr.gpr & (GPR_COUNT - 1)] : emulate_written(v);
            break;
        default:
            word[0] = e->raw;
            word[1] = e->qualification;
            break;
    }
}

// True where a word is the answer: the value of a read, or where it tells whether there was a
// fault. Not for string I/O.
static inline __attribute__((always_inline)) bool exit_is_answered(const struct exit_record *e, uint32_t kind) {
    return kind == EXIT_RDMSR || kind == EXIT_WRMSR || (kind == EXIT_IO && e->io.in);
}

// That word, out of the registers behind the instruction.
static inline __attribute__((always_inline)) void exit_answer(const struct vcpu *v, uint32_t kind, uint64_t *word) {
    if (kind == EXIT_RDMSR) {
        word[1] = v->gpr[GPR_RDX] << 32 | (uint32_t)v->gpr[GPR_RAX];
    } else if (kind == EXIT_IO && word[2] == 0) {
        word[3] = v->gpr[GPR_RAX] & UINT64_MAX >> (64 - 8 * word[1]);
    }
}

static inline void exit_words(struct vcpu *v, const struct exit_record *e, struct exit_words *w) {
    *w = (struct exit_words) { 0 };
    exit_known_words(v, e, e->kind, w->word);
}

// The first of them, which most claims do not match.
static inline __attribute__((always_inline)) uint64_t exit_first_word(const struct vcpu *v,
    const struct exit_record *e, uint32_t kind) {
    switch (kind) {
        case EXIT_CPUID:
        case EXIT_HYPERCALL:
            return (uint32_t)v->gpr[GPR_RAX];
        case EXIT_RDMSR:
        case EXIT_WRMSR:
            return (uint32_t)v->gpr[GPR_RCX];
        case EXIT_IO:
            return e->io.port;
        case EXIT_NESTED_FAULT:
            return e->nested.gpa;
        case EXIT_EXCEPTION:
            return e->exception.vector;
        case EXIT_CR:
            return e->cr.number;
        case EXIT_DR:
            return e->dr.number;
        default:
            return e->raw;
    }
}

#endif
