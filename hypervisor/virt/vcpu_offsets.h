// What the assembly of both world switches knows of the vCPU. For offsets.c and
// vmx_offsets.c, which are compiled to assembly only: their "->NAME value" lines become
// gen/offsets.h and gen/vmx_offsets.h.
#ifndef VIPERVISOR_VIRT_VCPU_OFFSETS_H
#define VIPERVISOR_VIRT_VCPU_OFFSETS_H

#include <stddef.h>

#include "virt/vcpu.h"

#define DEFINE(name, value) __asm__ volatile ("\n->" #name " %0 " #value : : "i" (value))
#define DEFINE_GPR(name) DEFINE(VCPU_##name, offsetof(struct vcpu, gpr) + GPR_##name * sizeof(uint64_t))

// One test of 64 bits sees requests and state, with the mask sign-extended over both.
_Static_assert(offsetof(struct vcpu, state) == offsetof(struct vcpu, requests) + 4, "adjacent");
_Static_assert(VCPU_RUNNABLE == 0, "entered when both are 0");
// One store sets the kind and clears the length behind it.
_Static_assert(offsetof(struct exit_record, length) == offsetof(struct exit_record, kind) + 4, "adjacent");

#define DEFINE_VCPU() \
    DEFINE_GPR(RAX); \
    DEFINE_GPR(RCX); \
    DEFINE_GPR(RDX); \
    DEFINE_GPR(RBX); \
    DEFINE_GPR(RSP); \
    DEFINE_GPR(RBP); \
    DEFINE_GPR(RSI); \
    DEFINE_GPR(RDI); \
    DEFINE_GPR(R8); \
    DEFINE_GPR(R9); \
    DEFINE_GPR(R10); \
    DEFINE_GPR(R11); \
    DEFINE_GPR(R12); \
    DEFINE_GPR(R13); \
    DEFINE_GPR(R14); \
    DEFINE_GPR(R15); \
    DEFINE(VCPU_RIP, offsetof(struct vcpu, rip)); \
    DEFINE(VCPU_REQUESTS, offsetof(struct vcpu, requests)); \
    DEFINE(VCPU_REQUESTS_TO_LEAVE, (int)~REQ_WINDOW); \
    DEFINE(EXIT_KIND, offsetof(struct exit_record, kind)); \
    DEFINE(EXIT_LENGTH, offsetof(struct exit_record, length))

#endif
