// From the boot loader (multiboot 1) to C in 32-bit protected mode, paging off.
#include "boot.h"

    .section .multiboot, "a"
    .align 4
    .long MB1_HEADER_MAGIC
    .long MB1_PAGE_ALIGN | MB1_MEMORY_INFO
    .long -(MB1_HEADER_MAGIC + (MB1_PAGE_ALIGN | MB1_MEMORY_INFO))

    .section .text.start, "ax"
    .global _start
_start:
    cli
    cld
    mov %eax, boot_magic
    mov %ebx, boot_info
    mov $stack_top, %esp
    // The loader's GDT may be gone (multiboot 3.2): our own, still flat.
    lgdt boot_gdt_pointer
    ljmp $SEL_CODE64, $1f
1:  mov $SEL_DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss
    call runtime_main
2:  hlt
    jmp 2b

    .section .data
    .align 16
boot_gdt:
    .quad 0
    .quad GDT_CODE32
    .quad GDT_DATA
boot_gdt_end:
boot_gdt_pointer:
    .word boot_gdt_end - boot_gdt - 1
    .long boot_gdt

    .global boot_magic, boot_info
boot_magic: .long 0
boot_info: .long 0

    .section .bss
    .align 16
    .space 32 * 1024
stack_top:
