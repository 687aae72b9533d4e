// For assembly: the registers that a C function keeps, and all the general registers in memory.
#ifndef GUEST_REGISTERS_H
#define GUEST_REGISTERS_H

// Where two of them lie, of the sixteen in ModRM order.
#define AT_RSP 32
#define AT_RDI 56

#ifdef __ASSEMBLER__
    .macro KEEP_REGISTERS
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    .endm

    .macro RESTORE_REGISTERS
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    .endm

// The sixteen at RDI but RSP and RDI.
    .macro EACH_REGISTER move
    \move rax, 0
    \move rcx, 8
    \move rdx, 16
    \move rbx, 24
    \move rbp, 40
    \move rsi, 48
    \move r8, 64
    \move r9, 72
    \move r10, 80
    \move r11, 88
    \move r12, 96
    \move r13, 104
    \move r14, 112
    \move r15, 120
    .endm

    .macro LOAD_ONE register, at
    mov \at(%rdi), %\register
    .endm

    .macro STORE_ONE register, at
    mov %\register, \at(%rdi)
    .endm

    .macro LOAD_REGISTERS
    EACH_REGISTER LOAD_ONE
    .endm

    .macro STORE_REGISTERS
    EACH_REGISTER STORE_ONE
    .endm
#endif

#endif
