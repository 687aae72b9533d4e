// Offsets for the VT-x world switch.
#include "virt/vcpu_offsets.h"

#include "virt/guest.h"
#include "virt/vmx.h"

void vmx_offsets(void);

void vmx_offsets(void) {
    DEFINE_VCPU();
    DEFINE(VCPU_SKIPPED, offsetof(struct vcpu, skipped));
    DEFINE(VCPU_LAUNCHED, offsetof(struct vcpu, launched));
    DEFINE(VCPU_NESTED_SEEN, offsetof(struct vcpu, nested_seen));
    DEFINE(VCPU_GUEST, offsetof(struct vcpu, guest));
    DEFINE(GUEST_NESTED_GENERATION, offsetof(struct guest, nested_generation));
    DEFINE(EXIT_KIND_NONE, EXIT_NONE);
    DEFINE(VMX_REASON_COUNT, REASON_COUNT);

    DEFINE(FIELD_GUEST_RIP, VMCS_GUEST_RIP);
    DEFINE(FIELD_GUEST_RSP, VMCS_GUEST_RSP);
    DEFINE(FIELD_HOST_RSP, VMCS_HOST_RSP);
    DEFINE(FIELD_EXIT_REASON, VMCS_EXIT_REASON);
}
