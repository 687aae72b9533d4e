// void run_wild(const struct registers *r, const void *code, uint64_t rflags, uint64_t selectors): all
// registers are loaded and one instruction runs, its CS and SS in `selectors` (bits 0 and 16). Its
// first trap comes back as from user_run (traps.c, hostile.c).
#include "registers.h"

    .text
    .global run_wild
run_wild:
    KEEP_REGISTERS
    mov %rsp, user_saved_rsp
    movzwl %cx, %eax
    shr $16, %ecx
    push %rcx
    push AT_RSP(%rdi)
    push %rdx
    push %rax
    push %rsi
    LOAD_REGISTERS
    mov AT_RDI(%rdi), %rdi
    iretq
