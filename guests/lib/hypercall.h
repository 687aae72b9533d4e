// Hypercalls of the guest ABI (docs/architecture.md), for 64-bit guests.
#ifndef GUEST_HYPERCALL_H
#define GUEST_HYPERCALL_H

#include <stdint.h>

#include "guest.h"

enum {
    HYPERCALL_ABI = 0,
    HYPERCALL_EXIT = 1,
    HYPERCALL_CONSOLE = 2,
    HYPERCALL_NOP = 3,
    HYPERCALL_NOBODY = 0xFFF,
};

static inline int64_t hypercall(bool amd, uint32_t number, uint64_t rbx) {
    uint64_t rax = number;
    if (amd) {
        __asm__ volatile ("vmmcall" : "+a" (rax) : "b" (rbx) : "memory");
    } else {
        __asm__ volatile ("vmcall" : "+a" (rax) : "b" (rbx) : "memory");
    }
    return (int64_t)rax;
}

#endif
