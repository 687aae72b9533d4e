// The VT-x world switch:
//   void vmx_run(struct vcpu *v, struct exit_record *e,
//                bool (*step)(struct vcpu *, struct exit_record *, struct fetch_state));
//
// Enters the guest, calls step(v, e, FETCH_UNKNOWN) after each exit and moves RIP by
// e->length, until step answers false or a request is pending (then *e is EXIT_NONE).
// Interrupts are enabled before, after and in between.
//
// A VM exit brings back RIP, RSP, RFLAGS, the control registers, EFER, PAT, the segment and
// table registers and clears DR7 (SDM 27.5). RIP and RSP travel in the VMCS, the other
// general registers here, all else lazily (vcpu_load, vcpu_put).
//
// Every VMREAD and VMWRITE is followed by JBE: CF is VMfailInvalid, ZF VMfailValid.
#include "vmx_offsets.h"

#define SLOT_VCPU 0
#define SLOT_RECORD 8
#define SLOT_STEP 16
#define SLOTS 24

    .text
    .globl vmx_run
    .type vmx_run, @function
vmx_run:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $SLOTS, %rsp
    movq %rdi, SLOT_VCPU(%rsp)
    movq %rsi, SLOT_RECORD(%rsp)
    movq %rdx, SLOT_STEP(%rsp)
    movq %rdi, %rbx
    movl $FIELD_HOST_RSP, %eax // the depth of the stack stays as it is here
    vmwrite %rsp, %rax
    jbe .Laccess_failed
    cmpb $0, VCPU_SKIPPED_LATE(%rbx)
    jne .Lskipped_late

.Lagain:
    // 1. Rare work, nested tables that changed among it, comes with a stale generation.
    movq VCPU_GUEST(%rbx), %rax
    movq GUEST_NESTED_GENERATION(%rax), %rax
    cmpq %rax, VCPU_NESTED_SEEN(%rbx)
    jne .Lbefore_entry
.Lready:
    // 2. From here to the exit nothing interrupts: a request made after the test leaves its
    // kick pending, and that ends the guest at once.
    cli
    testq $VCPU_REQUESTS_TO_LEAVE, VCPU_REQUESTS(%rbx)
    jnz .Lnot_entered
    movb $0, VCPU_SKIPPED(%rbx)

    // 3. RIP and RSP.
    movl $FIELD_GUEST_RIP, %eax
    vmwrite VCPU_RIP(%rbx), %rax
    jbe .Laccess_failed
    movl $FIELD_GUEST_RSP, %eax
    vmwrite VCPU_RSP(%rbx), %rax
    jbe .Laccess_failed

    // 4. The general registers; MOV leaves the flags of the comparison alone.
    cmpb $0, VCPU_LAUNCHED(%rbx)
    movq VCPU_RAX(%rbx), %rax
    movq VCPU_RCX(%rbx), %rcx
    movq VCPU_RDX(%rbx), %rdx
    movq VCPU_RBP(%rbx), %rbp
    movq VCPU_RSI(%rbx), %rsi
    movq VCPU_RDI(%rbx), %rdi
    movq VCPU_R8(%rbx), %r8
    movq VCPU_R9(%rbx), %r9
    movq VCPU_R10(%rbx), %r10
    movq VCPU_R11(%rbx), %r11
    movq VCPU_R12(%rbx), %r12
    movq VCPU_R13(%rbx), %r13
    movq VCPU_R14(%rbx), %r14
    movq VCPU_R15(%rbx), %r15
    movq VCPU_RBX(%rbx), %rbx
    je .Llaunch

    // 5. The guest runs. What follows the entry is executed only when it failed.
    vmresume
    jmp .Lfailed

.Llaunch:
    pushq %rbx
    movq 8 + SLOT_VCPU(%rsp), %rbx
    movb $1, VCPU_LAUNCHED(%rbx)
    popq %rbx
    vmlaunch
.Lfailed:
    setz %al // VMfailValid: the VMCS holds an error number
    movzbl %al, %esi
    sti
    movq SLOT_VCPU(%rsp), %rbx
    movq SLOT_RECORD(%rsp), %rdi
    movq %rbx, %rdx
    call vmx_fill_failed
    jmp .Lhandle

    // 6. And back, interrupts off, RSP as it was at the entry.
    .globl vmx_host_entry
vmx_host_entry:
    pushq %rbx
    movq 8 + SLOT_VCPU(%rsp), %rbx
    popq VCPU_RBX(%rbx)
    movq %rax, VCPU_RAX(%rbx)
    movq %rcx, VCPU_RCX(%rbx)
    movq %rdx, VCPU_RDX(%rbx)
    movq %rbp, VCPU_RBP(%rbx)
    movq %rsi, VCPU_RSI(%rbx)
    movq %rdi, VCPU_RDI(%rbx)
    movq %r8, VCPU_R8(%rbx)
    movq %r9, VCPU_R9(%rbx)
    movq %r10, VCPU_R10(%rbx)
    movq %r11, VCPU_R11(%rbx)
    movq %r12, VCPU_R12(%rbx)
    movq %r13, VCPU_R13(%rbx)
    movq %r14, VCPU_R14(%rbx)
    movq %r15, VCPU_R15(%rbx)

    // 7. Where and why the guest stopped; a physical interrupt is taken right after STI.
    movl $FIELD_GUEST_RIP, %eax
    vmread %rax, VCPU_RIP(%rbx)
    jbe .Laccess_failed
    movl $FIELD_GUEST_RSP, %eax
    vmread %rax, VCPU_RSP(%rbx)
    jbe .Laccess_failed
    movl $FIELD_EXIT_REASON, %eax
    vmread %rax, %rsi
    jbe .Laccess_failed
    movq SLOT_RECORD(%rsp), %rdi
    movq %rbx, %rdx
    sti
    cmpl $VMX_REASON_COUNT, %esi
    jae .Lother
    call *vmx_fill(,%rsi,8)

.Lhandle:
    movq %rbx, %rdi
    movq SLOT_RECORD(%rsp), %rsi
    movq $-1, %rcx // FETCH_UNKNOWN: the CPU has given the length
    call *SLOT_STEP(%rsp)
    testb %al, %al
    je .Lreturn

    // 8. Past the instruction; outside 64-bit code RIP wraps at 4 GiB.
    movq SLOT_RECORD(%rsp), %rsi
    movl EXIT_LENGTH(%rsi), %edx
    testl %edx, %edx
    je .Lagain
    movl $FIELD_GUEST_RFLAGS, %eax
    vmread %rax, %rcx
    jbe .Laccess_failed
    movb $1, VCPU_SKIPPED(%rbx)
    testl $RFLAGS_TF_RF, %ecx
    jne .Lwatched
.Lskip:
    movq VCPU_RIP(%rbx), %rcx
    addq %rdx, %rcx
    movq %rcx, VCPU_RIP(%rbx)
    cmpl %edx, %ecx
    jae .Lagain
    movq %rbx, %rdi
    call vcpu_wrap_rip
    jmp .Lagain

.Lreturn:
    addq $SLOTS, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

.Lother:
    call vmx_fill_other
    jmp .Lhandle

.Lnot_entered:
    sti
    movq SLOT_RECORD(%rsp), %rax
    movq $EXIT_KIND_NONE, EXIT_KIND(%rax) // and a length of 0
    jmp .Lreturn

    // The guest steps itself, or is behind a breakpoint of its own.
.Lwatched:
    movq %rbx, %rdi
    call vmx_skipped
    movq SLOT_RECORD(%rsp), %rsi
    movl EXIT_LENGTH(%rsi), %edx
    jmp .Lskip

.Lskipped_late:
    movq %rbx, %rdi
    call vmx_skipped
    jmp .Lagain

.Lbefore_entry:
    movq %rbx, %rdi
    call vmx_before_entry
    jmp .Lready

.Laccess_failed: // EAX: the field
    movl %eax, %edi
    call vmx_access_failed
    .size vmx_run, . - vmx_run

// An NMI exit leaves NMIs blocked until the next IRET (SDM 27.5.4): so one is executed.
    .globl vmx_unblock_nmi
    .type vmx_unblock_nmi, @function
vmx_unblock_nmi:
    movq %rsp, %rax
    movl %ss, %edx
    pushq %rdx
    pushq %rax
    pushfq
    movl %cs, %edx
    pushq %rdx
    leaq 1f(%rip), %rax
    pushq %rax
    iretq
1:  ret
    .size vmx_unblock_nmi, . - vmx_unblock_nmi

    .section .note.GNU-stack, "", @progbits
