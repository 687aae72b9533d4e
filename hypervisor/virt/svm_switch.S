// The AMD-V world switch and the loop around it:
//
//   void svm_run(struct vcpu *v, struct exit_record *e,
//                bool (*step)(struct vcpu *, struct exit_record *, struct fetch_state));
//
// as run in vcpu.h. Interrupts are enabled before, after and in between.
//
// #VMEXIT brings back RIP, RSP, RAX, RFLAGS, the control registers, EFER, the
// descriptor tables and CS, SS, DS, ES (APM volume 2, 15.6.1). All else is moved
// here, or by vcpu_state.c when somebody else takes the CPU.
#include "offsets.h"

#define SLOT_VCPU 0
#define SLOT_RECORD 8
#define SLOT_STEP 16
#define SLOTS 24

// RDI is the vCPU, RAX its control structure, RBX the guest's RIP. Afterwards RDI is the vCPU again, RBX
// the control structure, and everything else is the guest's or used up.
    .macro WORLD_SWITCH not_entered
    // 1. From here to the STGI nothing interrupts, so a request made after the
    // test leaves its kick pending, and that ends the guest at once. RFLAGS.IF
    // stays set: with V_INTR_MASKING it is the monitor's IF that lets physical
    // interrupts end the guest (15.21.1).
    clgi
    testq $VCPU_REQUESTS_TO_LEAVE, VCPU_REQUESTS(%rdi)
    jne \not_entered

    // 2. RAX, RSP and RIP travel in the VMCB. Not before the test: while the VMCB's RIP is
    // behind, it tells that the shadow there is over (svm_can_interrupt).
    movq VCPU_RAX(%rdi), %rcx
    movq VCPU_RSP(%rdi), %rdx
    movq %rcx, VMCB_RAX(%rax)
    movq %rdx, VMCB_RSP(%rax)
    movq %rbx, VMCB_RIP(%rax)

    // 3. FS, GS, TR, LDTR and the system-call MSRs, then the general registers.
    vmload %rax
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

    // 4. The guest runs.
    vmrun %rax

    // 5. And back: RAX is the VMCB's address again.
    vmsave %rax
    pushq %rdi
    movq 8 + SLOT_VCPU(%rsp), %rdi
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

    // 6. The monitor's GS and TR; only then can it take interrupts.
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
    .endm

// Answers the exit: RBX is where the guest goes on, EAX the length of its instruction.
    .macro STEP
    call *SLOT_STEP(%rsp)
    movq SLOT_VCPU(%rsp), %rdi
    testb %al, %al
    je .Lreturn
    movq SLOT_RECORD(%rsp), %rsi
    movl EXIT_LENGTH(%rsi), %eax
    movq VCPU_RIP(%rdi), %rbx
    addq %rax, %rbx
    .endm

    .text
    .globl svm_run
    .type svm_run, @function
svm_run:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushq %rdx
    pushq %rsi
    pushq %rdi

    movq VCPU_RIP(%rdi), %rbx
.Lenter:
    movq VCPU_CONTROL(%rdi), %rax
    cmpl $0, SVM_ATTENTION(%rax)
    jne .Lattention
    testl $RFLAGS_TF_RF, VMCB_RFLAGS(%rax)
    jne .Lattention
    WORLD_SWITCH .Lrequest

.Lleft:
    movl VMCB_EXITCODE(%rbx), %eax
    movq SLOT_RECORD(%rsp), %rsi
    movq %rax, EXIT_RAW(%rsi)
    cmpl $SVM_KINDS - 1, %eax
    ja .Lfill
    movzbl svm_kinds(%rax), %ecx
    testb %cl, %cl
    js .Lspecial
.Lkind:
    movq %rcx, EXIT_KIND(%rsi) // and length 0
    movb VMCB_CPL(%rbx), %cl
    movb %cl, EXIT_HYPERCALL_CPL(%rsi)
    // The fetch state of 64-bit code under four-level paging is RIP and CR3.
    testb $EFER_LMA_BYTE1, VMCB_EFER + 1(%rbx)
    je .Lother_mode
    testb $ATTR_L_BYTE1, VMCB_CS_ATTRIBUTES + 1(%rbx)
    je .Lother_mode
    testb $CR4_LA57_BYTE1, VMCB_CR4 + 1(%rbx)
    jne .Lother_mode
    movq VMCB_RIP(%rbx), %rdx
    movq VMCB_CR3(%rbx), %rcx
    STEP
    movq %rbx, VCPU_RIP(%rdi)
    jmp .Lenter

    // In other modes RIP may wrap.
.Lstep:
    STEP
    movq %rbx, VCPU_RIP(%rdi)
    cmpl %eax, %ebx
    jae .Lenter
    call vcpu_wrap_rip
    movq SLOT_VCPU(%rsp), %rdi
    movq VCPU_RIP(%rdi), %rbx
    jmp .Lenter

.Lreturn:
    addq $SLOTS, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

.Lspecial:
    cmpb $SVM_IO, %cl
    je .Lio
    testb $SVM_FILL, %cl
    jne .Lfill
    // 15.11: EXITINFO1 is 1 for WRMSR.
    movl VMCB_EXITINFO1(%rbx), %ecx
    addl $EXIT_KIND_RDMSR, %ecx
    jmp .Lkind

    // Port accesses, decoded by svm_io_forms; EXITINFO2 is the next RIP (15.10.2).
.Lio:
    movl VMCB_EXITINFO1(%rbx), %ecx
    movl VMCB_EXITINFO2(%rbx), %edx
    subl VMCB_RIP(%rbx), %edx
    movq %rcx, EXIT_QUALIFICATION(%rsi)
    movl $EXIT_KIND_IO, EXIT_KIND(%rsi)
    movl %edx, EXIT_LENGTH(%rsi)
    movl %ecx, %edx
    shrl $IO_PORT_SHIFT, %ecx
    andl $SVM_IO_FORMS - 1, %edx
    movl svm_io_forms(, %rdx, 4), %edx
    movw %cx, EXIT_IO_PORT(%rsi)
    movl %edx, EXIT_IO_SIZE(%rsi)
    jmp .Lstep // which does not look at the fetch state of an exit with a length

    // svm_fill(v, e) for the kinds that have more to say; nested faults are the most
    // frequent of them, and their handler gets the fetch state itself.
.Lfill:
    cmpl $SVM_NPF, %eax
    jne .Lfill_other
    call svm_fill_npf
.Lfilled:
    movq SLOT_VCPU(%rsp), %rdi
    movq SLOT_RECORD(%rsp), %rsi
    jmp .Lstep

.Lfill_other:
    call svm_fill
    xorl %edx, %edx // FETCH_UNKNOWN
    movq $-1, %rcx
    jmp .Lfilled

.Lother_mode:
    call svm_fetch_state
    movq %rdx, %rcx
    movq %rax, %rdx
    jmp .Lfilled

    // The rarer entries, with C on both sides.
.Lattention:
    call svm_before_entry
    movq SLOT_VCPU(%rsp), %rdi
    movq VCPU_CONTROL(%rdi), %rax
    WORLD_SWITCH .Lrequest_attention
    call svm_after_exit
    movq SLOT_VCPU(%rsp), %rdi
    jmp .Lleft

.Lrequest_attention:
    stgi
    call svm_not_entered
    jmp .Lno_exit
.Lrequest:
    stgi
.Lno_exit:
    movq SLOT_RECORD(%rsp), %rsi
    movq $0, EXIT_KIND(%rsi) // EXIT_NONE
    movq $0, EXIT_RAW(%rsi)
    jmp .Lreturn
    .size svm_run, . - svm_run

    .section .note.GNU-stack, "", @progbits
