// void run_wild(const struct registers *r, const void *code, uint64_t rflags, uint64_t selectors): all
// registers are loaded and one instruction runs, its CS and SS in `selectors` (bits 0 and 16). Its
// first trap comes back as from user_run (traps.c, hostile.c).
    .text
    .global run_wild
run_wild:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, user_saved_rsp
    movzwl %cx, %eax
    shr $16, %ecx
    push %rcx
    push 32(%rdi) // RSP
    push %rdx
    push %rax
    push %rsi
    mov (%rdi), %rax
    mov 8(%rdi), %rcx
    mov 16(%rdi), %rdx
    mov 24(%rdi), %rbx
    mov 40(%rdi), %rbp
    mov 48(%rdi), %rsi
    mov 64(%rdi), %r8
    mov 72(%rdi), %r9
    mov 80(%rdi), %r10
    mov 88(%rdi), %r11
    mov 96(%rdi), %r12
    mov 104(%rdi), %r13
    mov 112(%rdi), %r14
    mov 120(%rdi), %r15
    mov 56(%rdi), %rdi
    iretq
