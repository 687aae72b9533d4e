// From the boot loader (multiboot 1, 32-bit protected mode) to C in long mode,
// with the first 4 GiB identity-mapped by 2 MiB pages.
#include "boot.h"

    .section .multiboot, "a"
    .align 4
    .long MB1_HEADER_MAGIC
    .long MB1_PAGE_ALIGN | MB1_MEMORY_INFO
    .long -(MB1_HEADER_MAGIC + (MB1_PAGE_ALIGN | MB1_MEMORY_INFO))

    .section .text.start, "ax"
    .code32
    .global _start
_start:
    cli
    cld
    mov %eax, boot_magic
    mov %ebx, boot_info
    mov $stack_top, %esp

    // A CPU without long mode gets a plain end, not a triple fault.
    mov $0x80000001, %eax
    cpuid
    bt $CPUID_LONG_MODE_BIT, %edx
    jnc no_long_mode

    // One PML4 entry, four PDPT entries, 4 x 512 entries of 2 MiB.
    movl $boot_pdpt + PTE_PRESENT_WRITE_USER, boot_pml4
    mov $boot_pdpt, %edi
    mov $boot_pd + PTE_PRESENT_WRITE_USER, %eax
    mov $4, %ecx
1:  mov %eax, (%edi)
    add $0x1000, %eax
    add $8, %edi
    loop 1b
    mov $boot_pd, %edi
    mov $PTE_LARGE + PTE_PRESENT_WRITE_USER, %eax
    mov $4 * 512, %ecx
2:  mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    loop 2b

    mov $first_cpu, %edi

// From protected mode to 64-bit code at EDI, with the tables above: the first CPU, and others
// (smp/ap.S).
    .global enter_long_mode
enter_long_mode:
    mov $CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT, %eax
    mov %eax, %cr4
    mov $boot_pml4, %eax
    mov %eax, %cr3
    mov $MSR_EFER, %ecx
    rdmsr
    or $EFER_LME, %eax
    wrmsr
    mov $CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE, %eax
    mov %eax, %cr0
    lgdt boot_gdt_pointer
    ljmp $SEL_CODE64, $long_mode

no_long_mode:
    mov $STATUS_NO_LONG_MODE, %eax
    mov $PORT_EXIT, %dx
    out %eax, %dx
3:  hlt
    jmp 3b

    .code64
long_mode:
    mov $SEL_DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    fninit
    mov %edi, %eax
    jmp *%rax
first_cpu:
    mov $stack_top, %rsp
    call runtime_main
4:  hlt
    jmp 4b

    .section .data
    .align 16
    .global boot_gdt, boot_gdt_pointer
boot_gdt:
    .quad 0
    .quad GDT_CODE64
    .quad GDT_DATA
    .quad GDT_USER_DATA
    .quad GDT_USER_CODE64
    .quad 0, 0 // the TSS, filled in by runtime.c
boot_gdt_end:
boot_gdt_pointer:
    .word boot_gdt_end - boot_gdt - 1
    .quad boot_gdt

    .global boot_magic, boot_info
boot_magic: .long 0
boot_info: .long 0

    .section .bss
    .align 4096
    .global boot_pml4, boot_pdpt, boot_pd
boot_pml4: .space 4096
boot_pdpt: .space 4096
boot_pd: .space 4 * 4096
    .space 64 * 1024
    .global stack_top
stack_top:
