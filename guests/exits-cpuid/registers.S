// void call_with_registers(struct registers *registers, const void *code)
// Loads all registers but RSP from *registers, calls code, stores them back.
#include "registers.h"

#define FLAGS 128

    .text
    .global call_with_registers
call_with_registers:
    KEEP_REGISTERS
    push %rdi
    mov %rsi, call_target
    push FLAGS(%rdi)
    LOAD_REGISTERS
    mov AT_RDI(%rdi), %rdi
    popfq
    call *call_target
    pushfq
    cld
    push %rdi
    mov 16(%rsp), %rdi
    STORE_REGISTERS
    pop AT_RDI(%rdi)
    pop FLAGS(%rdi)
    pop %rdi
    RESTORE_REGISTERS
    ret

    .bss
    .align 8
call_target: .quad 0
