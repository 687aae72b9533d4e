// Runs code at CPL 3. Its first trap comes back here (traps.c).
#include "boot.h"

    .text
    .global user_run, user_run_with, user_return
user_run:
    mov $2, %esi // interrupts off, IOPL 0
user_run_with:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, user_saved_rsp
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
