// The AMD-V world switch: uint32_t svm_switch(struct vcpu *v).
//
// #VMEXIT brings back RIP, RSP, RAX, RFLAGS, the control registers, EFER, the
// descriptor tables and CS, SS, DS, ES (APM volume 2, 15.6.1). All else is moved
// here, or lazily by vcpu_state.c.
#include "offsets.h"

    .text
    .globl svm_switch
    .type svm_switch, @function
svm_switch:
    // 1. The monitor's registers that a C function keeps.
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15

    // 2. RAX, RSP and RIP travel in the VMCB; RAX becomes its address.
    movq VCPU_CONTROL(%rdi), %rax
    movq VCPU_RAX(%rdi), %rcx
    movq VCPU_RSP(%rdi), %rdx
    movq VCPU_RIP(%rdi), %rbx
    movq %rcx, VMCB_RAX(%rax)
    movq %rdx, VMCB_RSP(%rax)
    movq %rbx, VMCB_RIP(%rax)

    // 3. From here to the STGI nothing interrupts, so a request made after the
    // test leaves its kick pending, and that ends the guest at once. RFLAGS.IF
    // stays set: with V_INTR_MASKING it is the monitor's IF that lets physical
    // interrupts end the guest (15.21.1).
    clgi
    testl $VCPU_REQUESTS_TO_LEAVE, VCPU_REQUESTS(%rdi)
    jne .Lnot_entered

    // 4. FS, GS, TR, LDTR and the system-call MSRs, then the general registers.
    vmload %rax
    pushq %rdi
    movq VCPU_RCX(%rdi), %rcx
    movq VCPU_RDX(%rdi), %rdx
    movq VCPU_RBX(%rdi), %rbx
    movq VCPU_RBP(%rdi), %rbp
    movq VCPU_RSI(%rdi), %rsi
    movq VCPU_R8(%rdi), %r8
    movq VCPU_R9(%rdi), %r9
    movq VCPU_R10(%rdi), %r10
    movq VCPU_R11(%rdi), %r11
    movq VCPU_R12(%rdi), %r12
    movq VCPU_R13(%rdi), %r13
    movq VCPU_R14(%rdi), %r14
    movq VCPU_R15(%rdi), %r15
    movq VCPU_RDI(%rdi), %rdi

    // 5. The guest runs.
    vmrun %rax

    // 6. And back: RAX is the VMCB's address again.
    vmsave %rax
    xchgq %rdi, (%rsp)
    movq %rcx, VCPU_RCX(%rdi)
    movq %rdx, VCPU_RDX(%rdi)
    movq %rbx, VCPU_RBX(%rdi)
    movq %rbp, VCPU_RBP(%rdi)
    movq %rsi, VCPU_RSI(%rdi)
    movq %r8, VCPU_R8(%rdi)
    movq %r9, VCPU_R9(%rdi)
    movq %r10, VCPU_R10(%rdi)
    movq %r11, VCPU_R11(%rdi)
    movq %r12, VCPU_R12(%rdi)
    movq %r13, VCPU_R13(%rdi)
    movq %r14, VCPU_R14(%rdi)
    movq %r15, VCPU_R15(%rdi)
    popq VCPU_RDI(%rdi)

    // 7. The monitor's GS and TR; only then can it take interrupts.
    movq %rax, %rbx
    movq SVM_HOST_SAVE_PA(%rbx), %rax
    vmload %rax
    stgi

    movq VMCB_RAX(%rbx), %rcx
    movq VMCB_RSP(%rbx), %rdx
    movq VMCB_RIP(%rbx), %rsi
    movq %rcx, VCPU_RAX(%rdi)
    movq %rdx, VCPU_RSP(%rdi)
    movq %rsi, VCPU_RIP(%rdi)
    movl VMCB_EXITCODE(%rbx), %eax

.Lreturn:
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

.Lnot_entered:
    stgi
    movl $SVM_CODE_NOT_ENTERED, %eax
    jmp .Lreturn
    .size svm_switch, . - svm_switch

    .section .note.GNU-stack, "", @progbits
