// What the parts of the AMD-V back end (svm*.c) share; nothing above includes it.
#ifndef VIPERVISOR_VIRT_SVM_H
#define VIPERVISOR_VIRT_SVM_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virt/svm_vmcb.h"
#include "virt/vcpu.h"

// What the next entry must do besides the ordinary; 0 is the hot case.
enum {
    SVM_ATTENTION_DEBUG = 1 << 0, // a breakpoint is enabled: DR0-3 and DR7 go to the CPU
    SVM_ATTENTION_FLUSH = 1 << 1, // flush, this once
    SVM_ATTENTION_SHARED = 1 << 2, // flush at every entry: the ASID is shared
    SVM_ATTENTION_NMI = 1 << 3, // NMIs wait: nmi_waiting of them
    SVM_ATTENTION_SHADOW = 1 << 5, // the shadow is to end when RIP has moved
    SVM_ATTENTION_CHECK = 1 << 4, // registers were set from outside: check them before
    SVM_ATTENTION_IRET = 1 << 6, // the guest stands at the IRET that unmasks NMIs
    SVM_ATTENTION_WINDOW = 1 << 7, // a window is wanted behind the shadow
};
// What svm_step_before and svm_step_after are for.
#define SVM_ATTENTION_STEP (SVM_ATTENTION_NMI | SVM_ATTENTION_IRET | SVM_ATTENTION_WINDOW)

enum svm_step {
    SVM_STEP_NONE,
    SVM_STEP_ARMED, // the next entry runs one instruction
    SVM_STEP_LEAKED, // it faulted: the TF that the handler restores is ours
};

#define SVM_RULE_SIZE 128

// vcpu->control points here: the VMCB, and in the page behind it what the back
// end keeps of its own.
struct svm_control {
    struct vmcb vmcb;
    uint64_t host_save_pa; // the CPU's page of VMSAVEd monitor state, while loaded
    uint32_t attention; // SVM_ATTENTION_*
    uint32_t asid_cpu; // whose ASID it is
    bool nmi_masked; // between the injection of an NMI and the end of the guest's IRET
    bool nmi_iret; // at that IRET, which lies at iret_rip
    uint8_t nmi_waiting;
    uint8_t step; // enum svm_step
    bool step_swallow; // the #DB of this exit is the monitor's own
    uint64_t iret_rip, step_rip, step_flags, step_dr6, step_shadow;
    uint64_t shadow_rip; // where an interrupt has met a shadow that entry does not load
    // As they were before the last entry with SVM_ATTENTION_CHECK: QEMU and Bochs
    // overwrite the VMCB's save area with the monitor's state when they refuse one.
    uint64_t checked_rip, checked_rsp, checked_rax;
    char broken[SVM_RULE_SIZE]; // the rule that the VMCB broke then; "": none
};
static_assert(offsetof(struct svm_control, host_save_pa) == 0x1000, "behind the VMCB");
#define SVM_CONTROL_PAGES 2

static inline struct svm_control *svm_control(const struct vcpu *v) {
    return v->control;
}

static inline struct vmcb *svm_vmcb(const struct vcpu *v) {
    return v->control;
}

// svm_switch.S
void svm_run(struct vcpu *v, struct exit_record *e,
    bool (*step)(struct vcpu *, struct exit_record *, struct fetch_state));

// svm_exit.c
#define SVM_EXIT_CODES 0x100 // of intercepts with a bit or a small number of their own
// svm_kinds: an exit kind, with these bits.
#define SVM_KIND_SPECIAL 0x80 // alone: RDMSR or WRMSR
#define SVM_KIND_IO 0x81 // a port access, see svm_io_forms
#define SVM_KIND_FILL 0x40 // svm_fill has more to say
extern uint8_t svm_kinds[SVM_EXIT_CODES];
// The low bits of EXITINFO1 of a port access -> io.size, in, string and rep of the record.
#define SVM_IO_FORM_COUNT 0x80
extern uint32_t svm_io_forms[SVM_IO_FORM_COUNT];
void svm_exit_init(const struct virt_caps *caps);
void svm_enter(struct vcpu *v, struct exit_record *e);

// Called by svm_run: around an entry that is not an ordinary one, and for exits
// whose record needs more than its kind.
void svm_before_entry(struct vcpu *v);
void svm_after_exit(struct vcpu *v);
void svm_not_entered(struct vcpu *v);
void svm_fill(struct vcpu *v, struct exit_record *e);
void svm_fill_npf(struct vcpu *v, struct exit_record *e);

// svm_step.c
bool svm_in_shadow(const struct vcpu *v);
bool svm_nmi_masked(struct vcpu *v);
void svm_nmi_wait(struct vcpu *v); // an NMI that cannot be injected now
void svm_iret(struct vcpu *v); // at its intercept
void svm_step_before(struct vcpu *v); // with SVM_ATTENTION_STEP
void svm_step_after(struct vcpu *v); // with c->step
void svm_step_undo(struct vcpu *v); // was not entered

// svm_regs.c
uint64_t svm_reg_get(struct vcpu *v, enum vreg reg);
int svm_reg_set(struct vcpu *v, enum vreg reg, uint64_t value);
void svm_seg_get(struct vcpu *v, enum vseg seg, struct segment *s);
int svm_seg_set(struct vcpu *v, enum vseg seg, const struct segment *s);
struct fetch_state svm_fetch_state(struct vcpu *v);
int svm_field_get(struct vcpu *v, uint32_t field, uint64_t *value);
bool svm_pat_valid(uint64_t pat);
void svm_reset_state(struct vmcb *b);

// svm_explain.c
void svm_check(struct vcpu *v); // before an entry
void svm_explain(struct vcpu *v, char *buffer, size_t size); // after it was refused

#endif
