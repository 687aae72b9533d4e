// void run_form(struct state *s, void (*code)(void)): loads all registers, calls, stores.
#define RFLAGS 128
#define XMM0 144
#define XMM1 160

    .text
    .global run_form
run_form:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rdi, state
    mov %rsi, code
    movups XMM0(%rdi), %xmm0
    movups XMM1(%rdi), %xmm1
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
    push RFLAGS(%rdi)
    mov 56(%rdi), %rdi
    popf
    call *code
    pushf
    cld
    push %rdi
    mov state, %rdi
    mov %rax, (%rdi)
    mov %rcx, 8(%rdi)
    mov %rdx, 16(%rdi)
    mov %rbx, 24(%rdi)
    mov %rbp, 40(%rdi)
    mov %rsi, 48(%rdi)
    pop 56(%rdi)
    mov %r8, 64(%rdi)
    mov %r9, 72(%rdi)
    mov %r10, 80(%rdi)
    mov %r11, 88(%rdi)
    mov %r12, 96(%rdi)
    mov %r13, 104(%rdi)
    mov %r14, 112(%rdi)
    mov %r15, 120(%rdi)
    pop RFLAGS(%rdi)
    movups %xmm0, XMM0(%rdi)
    movups %xmm1, XMM1(%rdi)
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .bss
    .align 8
state: .quad 0
code: .quad 0
