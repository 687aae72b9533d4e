// The VT-x world switch: void vmx_enter(struct vcpu *v, struct exit_record *e).
//
// A VM exit brings back RIP, RSP, RFLAGS, the control registers, EFER, PAT, the segment and
// table registers and clears DR7 (SDM 27.5). RIP and RSP travel in the VMCS, the other
// general registers here, all else lazily (vcpu_load, vcpu_put).
//
// Every VMREAD and VMWRITE is followed by JBE: CF is VMfailInvalid, ZF VMfailValid.
#include "vmx_offsets.h"

    .text
    .globl vmx_enter
    .type vmx_enter, @function
vmx_enter:
    // 1. Rare work, nested tables that changed among it, comes with a stale generation.
    movq VCPU_GUEST(%rdi), %rax
    movq GUEST_NESTED_GENERATION(%rax), %rax
    cmpq %rax, VCPU_NESTED_SEEN(%rdi)
    jne .Lbefore_entry
.Lready:
    // 2. The monitor's registers that a C function keeps.
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushq %rsi
    pushq %rdi

    // 3. From here to the exit nothing interrupts: a request made after the test leaves its
    // kick pending, and that ends the guest at once.
    cli
    testq $VCPU_REQUESTS_TO_LEAVE, VCPU_REQUESTS(%rdi)
    jnz .Lnot_entered
    movb $0, VCPU_SKIPPED(%rdi)

    // 4. RIP and RSP; HOST_RSP only when the caller's stack depth changed.
    movl $FIELD_GUEST_RIP, %eax
    vmwrite VCPU_RIP(%rdi), %rax
    jbe .Laccess_failed
    movl $FIELD_GUEST_RSP, %eax
    vmwrite VCPU_RSP(%rdi), %rax
    jbe .Laccess_failed
    cmpq %rsp, VCPU_HOST_RSP(%rdi)
    jne .Lset_host_rsp
.Lhost_rsp_set:

    // 5. The general registers; MOV leaves the flags of the comparison alone.
    cmpb $0, VCPU_LAUNCHED(%rdi)
    movq VCPU_RAX(%rdi), %rax
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
    je .Llaunch

    // 6. The guest runs. What follows the entry is executed only when it failed.
    vmresume
    jmp .Lfailed

.Llaunch:
    xchgq %rdi, (%rsp)
    movb $1, VCPU_LAUNCHED(%rdi)
    xchgq %rdi, (%rsp)
    vmlaunch
.Lfailed:
    setz %al // VMfailValid: the VMCS holds an error number
    movzbl %al, %esi
    popq %rdx
    popq %rdi
    sti
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    jmp vmx_fill_failed

    // 7. And back, interrupts off.
    .globl vmx_host_entry
vmx_host_entry:
    xchgq %rdi, (%rsp)
    movq %rax, VCPU_RAX(%rdi)
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
    movq %rdi, %rdx
    popq %rdi

    // 8. Where and why the guest stopped; a physical interrupt is taken right after STI.
    movl $FIELD_GUEST_RIP, %eax
    vmread %rax, VCPU_RIP(%rdx)
    jbe .Laccess_failed
    movl $FIELD_GUEST_RSP, %eax
    vmread %rax, VCPU_RSP(%rdx)
    jbe .Laccess_failed
    movl $FIELD_EXIT_REASON, %eax
    vmread %rax, %rsi
    jbe .Laccess_failed
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    sti
    cmpl $VMX_REASON_COUNT, %esi
    jae vmx_fill_other
    jmp *vmx_fill(,%rsi,8)

.Lset_host_rsp:
    movl $FIELD_HOST_RSP, %eax
    vmwrite %rsp, %rax
    jbe .Laccess_failed
    movq %rsp, VCPU_HOST_RSP(%rdi)
    jmp .Lhost_rsp_set

.Lnot_entered:
    sti
    popq %rdi
    popq %rsi
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    movl $EXIT_KIND_NONE, EXIT_RECORD_KIND(%rsi)
    ret

.Lbefore_entry:
    pushq %rdi
    pushq %rsi
    subq $8, %rsp
    call vmx_before_entry
    addq $8, %rsp
    popq %rsi
    popq %rdi
    jmp .Lready

.Laccess_failed: // EAX: the field
    movl %eax, %edi
    andq $-16, %rsp
    call vmx_access_failed
    .size vmx_enter, . - vmx_enter

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
