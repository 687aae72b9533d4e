// Offsets for the AMD-V world switch.
#include "virt/vcpu_offsets.h"

#include "virt/svm.h"
#include "virt/x86.h"

static_assert(EXIT_WRMSR == EXIT_RDMSR + 1, "svm_switch.S adds");
static_assert(EXIT_NONE == 0, "svm_switch.S");

void offsets(void);

void offsets(void) {
    DEFINE_VCPU();
    DEFINE(VCPU_CONTROL, offsetof(struct vcpu, control));
    DEFINE(VCPU_CONTROL_PA, offsetof(struct vcpu, control_pa));

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
