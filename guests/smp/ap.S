// Where the other CPUs start: real mode at a page below 1 MiB, then long mode with the
// first CPU's page tables and a stack of their own.
#include "boot.h"

#define AP_PAGE 0x8000
#define SEL_CODE32 SEL_CODE64 // the same slot of another table
#define AP_STACK_SHIFT 14
#define AT(label) (AP_PAGE + (label) - ap_start)

    .section .text
    .code16
    .global ap_start, ap_end
ap_start:
    cli
    cld
    xor %ax, %ax
    mov %ax, %ds
    lgdtl AT(pointer32)
    mov %cr0, %eax
    or $CR0_PE, %al
    mov %eax, %cr0
    ljmpl $SEL_CODE32, $AT(protected)

    .code32
protected:
    mov $SEL_DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $ap_long, %edi
    ljmp $SEL_CODE32, $enter_long_mode // not relative: this page is a copy

    .align 8
gdt32:
    .quad 0
    .quad GDT_CODE32
    .quad GDT_DATA
pointer32:
    .word pointer32 - gdt32 - 1
    .long AT(gdt32)
ap_end:

    .code64
ap_long:
    lidt ap_idt_pointer
    mov $1, %eax
    lock xadd %eax, ap_next
    inc %eax
    mov %eax, %ecx
    shl $AP_STACK_SHIFT, %ecx
    lea ap_stacks(%rcx), %rsp
    dec %eax
    mov %eax, %edi
    call ap_main
1:  cli
    hlt
    jmp 1b
