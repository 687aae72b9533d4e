// One stub a vector, all alike and 16 bytes apart: push what the CPU did not, then
// the vector, and meet at trap_common.
    .text
    .align 16
    .global vector_stubs
vector_stubs:
    .set vector, 0
    .rept 256
    .align 16
    // #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX push an error code (AMD APM vol. 2, table 8-1).
    .set has_error, (1 << 8 | 0x1F << 10 | 1 << 17 | 1 << 21 | 3 << 29) >> (vector & 31)
    .if (vector > 31) || !(has_error & 1)
    push $0
    .endif
    push $vector
    jmp trap_common
    .set vector, vector + 1
    .endr

trap_common:
    push %rax
    push %rbx
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %rbp
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, %rdi
    mov %rsp, %rbx
    and $-16, %rsp
    cld
    call trap_entry
    mov %rbx, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rbp
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rbx
    pop %rax
    add $16, %rsp
    iretq
