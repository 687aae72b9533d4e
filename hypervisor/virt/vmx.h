// What the files of the VT-x back end share. Nothing above the seam includes it.
#ifndef VIPERVISOR_VIRT_VMX_H
#define VIPERVISOR_VIRT_VMX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virt/vcpu.h"
#include "virt/vmx_defs.h"

// Work to be done before the next entry, apart from the hot path: a bit here comes with
// v->nested_seen = VMX_NOT_SEEN, which sends entry through vmx_before_entry().
enum {
    VMX_FLUSH_EPT = 1 << 0,
    VMX_FLUSH_VPID = 1 << 1,
    VMX_LOAD_PDPTES = 1 << 2, // PAE paging: entry takes the PDPTEs from the VMCS
    VMX_LOAD_DR = 1 << 3,
};
#define VMX_NOT_SEEN UINT64_MAX // a generation that no guest reaches

enum vmx_failure { VMX_FAILURE_NONE, VMX_FAILURE_INSTRUCTION, VMX_FAILURE_ENTRY };

// Behind vcpu.vendor.
struct vmx_vcpu {
    uint32_t pending; // VMX_*
    uint32_t last_cpu; // where its translations may be cached
    uint64_t generation; // of the nested tables last flushed for
    uint64_t cr2, dr6; // while not loaded
    uint32_t failure; // enum vmx_failure, of the last entry
    uint32_t failure_code; // VM-instruction error, or exit reason
    uint64_t failure_qualification;
    uint8_t nmi_waiting; // to be injected when the NMI window opens
};

// Facts of this machine, found by probe().
struct vmx_machine {
    uint32_t revision;
    uint32_t pin, primary, secondary, exit, entry; // controls of a fresh VMCS
    uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
    uint64_t cr0_owned, cr4_owned; // guest/host masks
    uint64_t cr0_always, cr4_always; // set in the real register whatever the guest wrote
    uint64_t ept_vpid;
    uint64_t eptp_bits;
};
extern struct vmx_machine vmx_machine;

static inline struct vmx_vcpu *vmx_of(struct vcpu *v) {
    return v->vendor;
}

// A VMREAD or VMWRITE of a field that exists, on a current VMCS, cannot fail: when it does
// the monitor is wrong, and says so.
_Noreturn void vmx_access_failed(uint32_t field);

// VMfailInvalid sets CF, VMfailValid ZF (SDM 30.2): "setbe" sees both.
static inline bool vmx_try_read(uint32_t field, uint64_t *value) {
    uint8_t failed;
    uint64_t result;
    __asm__ volatile ("vmread %2, %0; setbe %1" : "=r" (result), "=qm" (failed) : "r" ((uint64_t)field) : "cc");
    *value = result;
    return !failed;
}

static inline bool vmx_try_write(uint32_t field, uint64_t value) {
    uint8_t failed;
    __asm__ volatile ("vmwrite %2, %1; setbe %0" : "=qm" (failed) : "r" ((uint64_t)field), "r" (value) : "cc");
    return !failed;
}

static inline uint64_t vmx_read(uint32_t field) {
    uint64_t value;
    __asm__ goto ("vmread %1, %0; jbe %l2" : "=r" (value) : "r" ((uint64_t)field) : "cc" : failed);
    return value;
failed:
    vmx_access_failed(field);
}

static inline uint32_t vmx_read32(uint32_t field) {
    return (uint32_t)vmx_read(field);
}

static inline void vmx_write(uint32_t field, uint64_t value) {
    __asm__ goto ("vmwrite %1, %0; jbe %l2" : : "r" ((uint64_t)field), "r" (value) : "cc", "memory" : failed);
    return;
failed:
    vmx_access_failed(field);
}

// Has `work` done before the next entry.
static inline void vmx_postpone(struct vcpu *v, uint32_t work) {
    vmx_of(v)->pending |= work;
    v->nested_seen = VMX_NOT_SEEN;
}

// vmx_switch.S
void vmx_run(struct vcpu *v, struct exit_record *e,
    bool (*step)(struct vcpu *, struct exit_record *, struct fetch_state));
void vmx_host_entry(void); // HOST_RIP
void vmx_unblock_nmi(void);

// vmx_exit.c. The world switch jumps here, interrupts on, RIP and RSP in *v.
typedef void vmx_fill_fn(struct exit_record *e, uint64_t reason, struct vcpu *v);
extern vmx_fill_fn *const vmx_fill[REASON_COUNT];
vmx_fill_fn vmx_fill_other;
vmx_fill_fn vmx_fill_failed; // "reason" is 1 when there is a VM-instruction error
void vmx_before_entry(struct vcpu *v);
void vmx_skipped(struct vcpu *v); // past an instruction, with TF or RF set perhaps

// vmx_capability.c
bool vmx_present(void);
int vmx_probe(struct virt_caps *caps, char *missing, size_t size);

// vmx_regs.c
unsigned vmx_cpl(struct vcpu *v);
uint64_t vmx_reg_get(struct vcpu *v, enum vreg reg);
int vmx_reg_set(struct vcpu *v, enum vreg reg, uint64_t value);
void vmx_seg_get(struct vcpu *v, enum vseg seg, struct segment *s);
int vmx_seg_set(struct vcpu *v, enum vseg seg, const struct segment *s);
struct fetch_state vmx_fetch_state(struct vcpu *v);
bool vmx_pae_active(void); // PAE paging, where entry loads PDPTEs
void vmx_reset_state(struct vcpu *v); // SDM table 9-1

// vmx_event.c
bool vmx_can_interrupt(struct vcpu *v);
void vmx_uninject(struct vcpu *v);
void vmx_inject(struct vcpu *v, uint32_t event, uint32_t error);
uint32_t vmx_vectoring(struct vcpu *v, uint32_t *error);
void vmx_window(struct vcpu *v, bool on);
void vmx_nmi_window_opened(struct vcpu *v);
void vmx_reflect(uint32_t info);

// vmx_explain.c
void vmx_explain(struct vcpu *v, char *buffer, size_t size);
const char *vmx_instruction_error(uint32_t number);

#endif
