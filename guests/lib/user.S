// Runs code at CPL 3, or at CPL 0. Its first trap comes back here: traps.c does it for CPL 3.
#include "boot.h"
#include "registers.h"

    .text
    .global user_run, user_run_with, kernel_run, user_return
kernel_run:
    KEEP_REGISTERS
    mov %rsp, user_saved_rsp
    jmp *%rdi
user_run:
    mov $2, %esi // interrupts off, IOPL 0
user_run_with:
    KEEP_REGISTERS
    mov %rsp, user_saved_rsp
    push $SEL_USER_DATA
    push $user_stack_top
    push %rsi // RFLAGS
    push $SEL_USER_CODE64
    push %rdi
    iretq
user_return:
    RESTORE_REGISTERS
    ret

    .bss
    .align 16
    .global user_saved_rsp
user_saved_rsp: .quad 0, 0
    .space 8192
user_stack_top:
