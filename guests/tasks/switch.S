// The tasks' own code: each calls its C part and returns to whoever called it; called again
// it goes on behind its IRET.
#include "tasks.h"

    .text
    .macro TASK name
    .global \name
\name:
    call \name\()_body
    iret
    incl restarted
    jmp \name
    .endm

    TASK plain_task
    TASK divide_task

// An error code lies on top of the stack.
    .global error_task
error_task:
    call error_body
    add $4, %esp
    iret
    jmp error_task

// A task that is left by JMP.
    .global jump_task
jump_task:
    call plain_task_body
    ljmp $SEL_MAIN_TSS, $0xF4F4F4F4
    jmp jump_task

// vm86_switch(): to the virtual-8086 task by JMP; #UD there comes back by a task gate.
    .global vm86_switch
vm86_switch:
    ljmp $SEL_VM86_TSS, $0
    ret

// keeps_registers(): 1 when a CALL of the task at SEL_TASK_TSS leaves them as they were, 2 when
// it leaves all but CF.
    .global keeps_registers
keeps_registers:
    push %ebx
    push %esi
    push %edi
    push %ebp
    mov $0x11111111, %ebx
    mov $0x22222222, %esi
    mov $0x33333333, %edi
    mov $0x44444444, %ebp
    mov $0x55555555, %edx
    mov $0x66666666, %ecx
    mov %esp, %eax
    stc
    lcall $SEL_TASK_TSS, $0xF4F4F4F4
    jnc 3f
    cmp %esp, %eax
    jne 1f
    cmp $0x11111111, %ebx
    jne 1f
    cmp $0x22222222, %esi
    jne 1f
    cmp $0x33333333, %edi
    jne 1f
    cmp $0x44444444, %ebp
    jne 1f
    cmp $0x55555555, %edx
    jne 1f
    cmp $0x66666666, %ecx
    jne 1f
    mov $1, %eax
    jmp 2f
3:  mov $2, %eax
    jmp 2f
1:  xor %eax, %eax
2:  pop %ebp
    pop %edi
    pop %esi
    pop %ebx
    ret
