// Where the assembly of the VT-x world switch finds things: compiled to assembly only, its
// "->NAME value" lines become build/gen/vmx_offsets.h.
#include <stddef.h>

#include "virt/guest.h"
#include "virt/vcpu.h"
#include "virt/vmx.h"
#include "virt/x86.h"

// One test of 64 bits sees requests and state, with the mask sign-extended over both.
_Static_assert(offsetof(struct vcpu, state) == offsetof(struct vcpu, requests) + 4, "adjacent");
_Static_assert(VCPU_RUNNABLE == 0, "entered when both are 0");
// One store sets the kind and clears the length behind it.
_Static_assert(offsetof(struct exit_record, length) == offsetof(struct exit_record, kind) + 4, "adjacent");

#define DEFINE(name, value) __asm__ volatile ("\n->" #name " %0 " #value : : "i" (value))
#define DEFINE_GPR(name) DEFINE(VCPU_##name, offsetof(struct vcpu, gpr) + GPR_##name * sizeof(uint64_t))

void vmx_offsets(void);

void vmx_offsets(void) {
    DEFINE_GPR(RAX);
    DEFINE_GPR(RCX);
    DEFINE_GPR(RDX);
    DEFINE_GPR(RBX);
    DEFINE_GPR(RSP);
    DEFINE_GPR(RBP);
    DEFINE_GPR(RSI);
    DEFINE_GPR(RDI);
    DEFINE_GPR(R8);
    DEFINE_GPR(R9);
    DEFINE_GPR(R10);
    DEFINE_GPR(R11);
    DEFINE_GPR(R12);
    DEFINE_GPR(R13);
    DEFINE_GPR(R14);
    DEFINE_GPR(R15);
    DEFINE(VCPU_RIP, offsetof(struct vcpu, rip));
    DEFINE(VCPU_REQUESTS, offsetof(struct vcpu, requests));
    DEFINE(VCPU_REQUESTS_TO_LEAVE, (int)~REQ_WINDOW);
    DEFINE(VCPU_SKIPPED, offsetof(struct vcpu, skipped));
    DEFINE(VCPU_SKIPPED_LATE, offsetof(struct vcpu, skipped_late));
    DEFINE(VCPU_LAUNCHED, offsetof(struct vcpu, launched));
    DEFINE(VCPU_NESTED_SEEN, offsetof(struct vcpu, nested_seen));
    DEFINE(VCPU_GUEST, offsetof(struct vcpu, guest));
    DEFINE(GUEST_NESTED_GENERATION, offsetof(struct guest, nested_generation));
    DEFINE(EXIT_RECORD_KIND, offsetof(struct exit_record, kind));
    DEFINE(EXIT_RECORD_LENGTH, offsetof(struct exit_record, length));
    DEFINE(EXIT_KIND_NONE, EXIT_NONE);
    DEFINE(VMX_REASON_COUNT, REASON_COUNT);

    DEFINE(FIELD_GUEST_RIP, VMCS_GUEST_RIP);
    DEFINE(FIELD_GUEST_RSP, VMCS_GUEST_RSP);
    DEFINE(FIELD_GUEST_RFLAGS, VMCS_GUEST_RFLAGS);
    DEFINE(RFLAGS_TF_RF, RFLAGS_TF | RFLAGS_RF);
    DEFINE(FIELD_HOST_RSP, VMCS_HOST_RSP);
    DEFINE(FIELD_EXIT_REASON, VMCS_EXIT_REASON);
}
