// void run32(void (*code)(void)): calls 32-bit code, which ends with a jump to back64.
// Afterwards all data segments are the usual ones.
#include "boot.h"
#include "registers.h"

#define SEL_CODE32 0x38

    .text
    .global run32, back64
run32:
    KEEP_REGISTERS
    mov %rsp, saved_rsp
    mov $SEL_DATA, %eax // an IRET to CPL 3 has left them null
    mov %eax, %ds
    mov %eax, %es
    push $SEL_CODE32
    push %rdi
    lretq
back64:
    mov $SEL_DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov saved_rsp, %rsp
    RESTORE_REGISTERS
    ret

    .bss
    .align 8
saved_rsp: .quad 0
