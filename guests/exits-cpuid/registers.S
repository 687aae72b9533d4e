// void call_with_registers(struct registers *registers, const void *code)
// Loads all registers but RSP from *registers, calls code, stores them back.
#include "registers.h"

    .text
    .global call_with_registers
call_with_registers:
    KEEP_REGISTERS
    push %rdi
    mov %rsi, call_target
    andq $0xCD5, 15*8(%rdi) // CF PF AF ZF SF DF OF; never TF, IF, IOPL
    andq $~0x400, 15*8(%rdi) // DF stays clear, as C expects
    orq $2, 15*8(%rdi)
    pushq 15*8(%rdi)
    mov 0*8(%rdi), %rax
    mov 1*8(%rdi), %rbx
    mov 2*8(%rdi), %rcx
    mov 3*8(%rdi), %rdx
    mov 4*8(%rdi), %rsi
    mov 6*8(%rdi), %rbp
    mov 7*8(%rdi), %r8
    mov 8*8(%rdi), %r9
    mov 9*8(%rdi), %r10
    mov 10*8(%rdi), %r11
    mov 11*8(%rdi), %r12
    mov 12*8(%rdi), %r13
    mov 13*8(%rdi), %r14
    mov 14*8(%rdi), %r15
    mov 5*8(%rdi), %rdi
    popfq
    call *call_target
    pushfq
    push %rdi
    mov 16(%rsp), %rdi
    mov %rax, 0*8(%rdi)
    mov %rbx, 1*8(%rdi)
    mov %rcx, 2*8(%rdi)
    mov %rdx, 3*8(%rdi)
    mov %rsi, 4*8(%rdi)
    pop %rax
    mov %rax, 5*8(%rdi)
    mov %rbp, 6*8(%rdi)
    mov %r8, 7*8(%rdi)
    mov %r9, 8*8(%rdi)
    mov %r10, 9*8(%rdi)
    mov %r11, 10*8(%rdi)
    mov %r12, 11*8(%rdi)
    mov %r13, 12*8(%rdi)
    mov %r14, 13*8(%rdi)
    mov %r15, 14*8(%rdi)
    pop %rax
    mov %rax, 15*8(%rdi)
    cld
    pop %rdi
    RESTORE_REGISTERS
    ret

    .bss
    .align 8
call_target: .quad 0
