// Where the assembly of the world switches finds things: compiled to assembly
// only, its "->NAME value" lines become gen/offsets.h.
#include <stddef.h>

#include "virt/svm.h"
#include "virt/vcpu.h"
#include "virt/x86.h"

#define DEFINE(name, value) __asm__ volatile ("\n->" #name " %0 " #value : : "i" (value))
#define DEFINE_GPR(name) DEFINE(VCPU_##name, offsetof(struct vcpu, gpr) + GPR_##name * sizeof(uint64_t))

// One test of 64 bits sees requests and state, with the mask sign-extended over both.
static_assert(offsetof(struct vcpu, state) == offsetof(struct vcpu, requests) + 4, "adjacent");
static_assert(VCPU_RUNNABLE == 0, "entered when both are 0");
// One store sets the kind and clears the length behind it.
static_assert(offsetof(struct exit_record, length) == offsetof(struct exit_record, kind) + 4, "adjacent");
static_assert(EXIT_WRMSR == EXIT_RDMSR + 1, "svm_switch.S adds");
static_assert(EXIT_NONE == 0, "svm_switch.S");

void offsets(void);

void offsets(void) {
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
    DEFINE(VCPU_CONTROL, offsetof(struct vcpu, control));
    DEFINE(VCPU_CONTROL_PA, offsetof(struct vcpu, control_pa));
    DEFINE(VCPU_REQUESTS, offsetof(struct vcpu, requests));
    DEFINE(VCPU_REQUESTS_TO_LEAVE, (int)~REQ_WINDOW);

    DEFINE(EXIT_KIND, offsetof(struct exit_record, kind));
    DEFINE(EXIT_LENGTH, offsetof(struct exit_record, length));
    DEFINE(EXIT_QUALIFICATION, offsetof(struct exit_record, qualification));
    DEFINE(EXIT_IO_PORT, offsetof(struct exit_record, io.port));
    DEFINE(EXIT_IO_SIZE, offsetof(struct exit_record, io.size));
    DEFINE(EXIT_KIND_RDMSR, EXIT_RDMSR);
    DEFINE(EXIT_KIND_IO, EXIT_IO);
    DEFINE(EXIT_HYPERCALL_CPL, offsetof(struct exit_record, hypercall.cpl));
    DEFINE(EXIT_RAW, offsetof(struct exit_record, raw));

    DEFINE(VMCB_EXITCODE, offsetof(struct vmcb, exitcode));
    DEFINE(VMCB_EXITINFO1, offsetof(struct vmcb, exitinfo1));
    DEFINE(VMCB_EXITINFO2, offsetof(struct vmcb, exitinfo2));
    DEFINE(VMCB_CS_ATTRIBUTES, offsetof(struct vmcb, cs.attributes));
    DEFINE(VMCB_EFER, offsetof(struct vmcb, efer));
    DEFINE(VMCB_CR3, offsetof(struct vmcb, cr3));
    DEFINE(VMCB_CR4, offsetof(struct vmcb, cr4));
    DEFINE(VMCB_CPL, offsetof(struct vmcb, cpl));
    DEFINE(VMCB_RFLAGS, offsetof(struct vmcb, rflags));
    DEFINE(VMCB_RIP, offsetof(struct vmcb, rip));
    DEFINE(VMCB_RSP, offsetof(struct vmcb, rsp));
    DEFINE(VMCB_RAX, offsetof(struct vmcb, rax));
    DEFINE(RFLAGS_TF_RF, RFLAGS_TF | RFLAGS_RF);
    DEFINE(EFER_LMA_BYTE1, EFER_LMA >> 8);
    DEFINE(ATTR_L_BYTE1, VMCB_ATTR_L >> 8);
    DEFINE(CR4_LA57_BYTE1, CR4_LA57 >> 8);
    DEFINE(SVM_HOST_SAVE_PA, offsetof(struct svm_control, host_save_pa));
    DEFINE(SVM_ATTENTION, offsetof(struct svm_control, attention));
    DEFINE(IO_PORT_SHIFT, IOIO_PORT_SHIFT);
    DEFINE(SVM_IO, SVM_KIND_IO);
    DEFINE(SVM_IO_FORMS, SVM_IO_FORM_COUNT);
    DEFINE(SVM_FILL, SVM_KIND_FILL);
    DEFINE(SVM_NPF, VMEXIT_NPF);
    DEFINE(SVM_KINDS, SVM_EXIT_CODES);
}
