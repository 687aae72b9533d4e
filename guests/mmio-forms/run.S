// void run_form(struct state *s, void (*code)(void)): loads all registers, calls, stores.
#include "registers.h"

#define RFLAGS 128
#define XMM0 144
#define XMM1 160

    .text
    .global run_form
run_form:
    KEEP_REGISTERS
    mov %rdi, state
    mov %rsi, code
    movups XMM0(%rdi), %xmm0
    movups XMM1(%rdi), %xmm1
    push RFLAGS(%rdi)
    LOAD_REGISTERS
    mov AT_RDI(%rdi), %rdi
    popf
    call *code
    pushf
    cld
    push %rdi
    mov state, %rdi
    STORE_REGISTERS
    pop AT_RDI(%rdi)
    pop RFLAGS(%rdi)
    movups %xmm0, XMM0(%rdi)
    movups %xmm1, XMM1(%rdi)
    RESTORE_REGISTERS
    ret

    .bss
    .align 8
state: .quad 0
code: .quad 0
