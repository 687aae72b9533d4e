// From the boot loader's protected mode to real mode, and the stubs of its interrupt vectors.
#include "boot.h"

#define SEL_CODE16 0x08
#define SEL_DATA16 0x10
#define STACK_TOP 0xFFF0
#define VECTORS 32

    .section .multiboot, "a"
    .align 4
    .long MB1_HEADER_MAGIC
    .long 0
    .long -MB1_HEADER_MAGIC

    .text
    .code32
    .global _start
_start:
    cli
    cld
    lgdt gdt_pointer
    ljmp $SEL_CODE16, $1f
    .code16gcc
1:  mov $SEL_DATA16, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %fs
    mov %ax, %gs
    mov %ax, %ss
    mov %cr0, %eax
    and $~CR0_PE, %eax
    mov %eax, %cr0
    ljmp $0, $2f
2:  xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %fs
    mov %ax, %gs
    mov %ax, %ss
    mov $STACK_TOP, %esp
    calll real_main
3:  hlt
    jmp 3b

// big_gs(): GS gets a limit of 4 GiB on a trip to protected mode, and keeps it.
    .global big_gs
big_gs:
    push %eax
    mov %cr0, %eax
    or $CR0_PE, %eax
    mov %eax, %cr0
    mov $SEL_BIG, %ax
    mov %ax, %gs
    mov %cr0, %eax
    and $~CR0_PE, %eax
    mov %eax, %cr0
    pop %eax
    retl
    .set SEL_BIG, 0x18

    .global vector_stubs
    .balign 16
vector_stubs:
    .set vector, 0
    .rept VECTORS
    .balign 16
    pushl $vector
    jmp vector_common
    .set vector, vector + 1
    .endr

vector_common:
    pushal
    mov %esp, %eax
    pushl %eax
    cld
    calll vector_entry
    add $4, %esp
    popal
    add $4, %esp
    .byte 0xCF // IRET of 16 bits

    .section .data
    .align 8
gdt:
    .quad 0
    .quad 0x00009B000000FFFF
    .quad 0x000093000000FFFF
    .quad 0x00CF93000000FFFF
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt
