// Offsets for the VT-x world switch.
#include "virt/vcpu_offsets.h"

#include "virt/guest.h"
#include "virt/vmx.h"
#include "virt/x86.h"

void vmx_offsets(void);

void vmx_offsets(void) {
    DEFINE_VCPU();
    DEFINE(VCPU_SKIPPED, offsetof(struct vcpu, skipped));
    DEFINE(VCPU_SKIPPED_LATE, offsetof(struct vcpu, skipped_late));
    DEFINE(VCPU_LAUNCHED, offsetof(struct vcpu, launched));
    DEFINE(VCPU_NESTED_SEEN, offsetof(struct vcpu, nested_seen));
    DEFINE(VCPU_GUEST, offsetof(struct vcpu, guest));
    DEFINE(GUEST_NESTED_GENERATION, offsetof(struct guest, nested_generation));
    DEFINE(EXIT_KIND_NONE, EXIT_NONE);
    DEFINE(VMX_REASON_COUNT, REASON_COUNT);

    DEFINE(FIELD_GUEST_RIP, VMCS_GUEST_RIP);
    DEFINE(FIELD_GUEST_RSP, VMCS_GUEST_RSP);
    DEFINE(FIELD_GUEST_RFLAGS, VMCS_GUEST_RFLAGS);
    DEFINE(RFLAGS_TF_RF, RFLAGS_TF | RFLAGS_RF);
    DEFINE(FIELD_HOST_RSP, VMCS_HOST_RSP);
    DEFINE(FIELD_EXIT_REASON, VMCS_EXIT_REASON);
}
