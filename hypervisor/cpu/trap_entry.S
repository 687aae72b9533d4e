// One stub a vector: push vector and error code, save the general registers, call
// trap_handle(frame). Interrupts are off; IST stacks for NMI, #DF and #MC.
    .text
    .code64
    .altmacro

    .macro STUB vector
    .align 16
trap_stub_\vector:
    // #DF, #TS to #PF, #AC, #CP, #VC and #SX push an error code themselves.
    .set has_error, \vector == 8 || \vector == 17 || \vector == 21 || \vector == 29 || \vector == 30
    .if has_error || (\vector >= 10 && \vector <= 14)
    .else
    pushq $0
    .endif
    pushq $\vector
    jmp trap_common
    .endm

    .set i, 0
    .rept 256
    STUB %i
    .set i, i + 1
    .endr

trap_common:
    cld
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %rdi
    movq %rsp, %rbp
    andq $-16, %rsp
    call trap_handle
    movq %rbp, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rbp
    popq %rbx
    popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp
    iretq

// Probes: cpu->fixup_rip (RDI points at it) tells trap_handle where to resume.
    .noaltmacro
    .macro PROBE name, body
    .global \name
\name:
    leaq 2f(%rip), %rax
    movq %rax, (%rdi)
    \body
    movl $1, %eax
    jmp 3f
2:  xorl %eax, %eax
3:  movq $0, (%rdi)
    ret
    .endm

    // The bodies are quoted: outside quotes a semicolon would end the macro's arguments.
    // (uint64_t *fixup, uint64_t address, uint64_t *value)
    PROBE probe_read8, "movzbl (%rsi), %ecx; movq %rcx, (%rdx)"
    PROBE probe_read16, "movzwl (%rsi), %ecx; movq %rcx, (%rdx)"
    PROBE probe_read32, "movl (%rsi), %ecx; movq %rcx, (%rdx)"
    PROBE probe_read64, "movq (%rsi), %rcx; movq %rcx, (%rdx)"
    // (uint64_t *fixup, uint64_t address, uint64_t value)
    PROBE probe_write8, "movb %dl, (%rsi)"
    PROBE probe_write16, "movw %dx, (%rsi)"
    PROBE probe_write32, "movl %edx, (%rsi)"
    PROBE probe_write64, "movq %rdx, (%rsi)"
    // (uint64_t *fixup, uint32_t index, uint64_t *value)
    PROBE probe_msr_read, "movl %esi, %ecx; movq %rdx, %rsi; rdmsr; movl %eax, (%rsi); movl %edx, 4(%rsi)"
    // (uint64_t *fixup, uint32_t index, uint64_t value)
    PROBE probe_msr_write, "movl %esi, %ecx; movq %rdx, %rax; shrq $32, %rdx; wrmsr"

    .altmacro
    .section .rodata
    .global trap_stubs
    .align 8
    .macro STUB_ADDRESS vector
    .quad trap_stub_\vector
    .endm
trap_stubs:
    .set i, 0
    .rept 256
    STUB_ADDRESS %i
    .set i, i + 1
    .endr
    .section .note.GNU-stack, "", @progbits
