// Runs code at CPL 3, or at CPL 0. Its first trap comes back here: traps.c does it for CPL 3.
#include "boot.h"

    .macro SAVE
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, user_saved_rsp
    .endm

    .text
    .global user_run, user_run_with, kernel_run, user_return
kernel_run:
    SAVE
    jmp *%rdi
user_run:
    mov $2, %esi // interrupts off, IOPL 0
user_run_with:
    SAVE
    push $SEL_USER_DATA
    push $user_stack_top
    push %rsi // RFLAGS
    push $SEL_USER_CODE64
    push %rdi
    iretq
user_return:
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret

    .bss
    .align 16
    .global user_saved_rsp
user_saved_rsp: .quad 0, 0
    .space 8192
user_stack_top:
