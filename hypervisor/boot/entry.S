// Entry from multiboot 1, multiboot 2 and the raw disk: 32-bit protected mode,
// flat segments, paging off, EAX = the loader's magic, EBX = its information.

#define MULTIBOOT1_MAGIC 0x1BADB002
#define MULTIBOOT1_FLAGS 0x00000003 // page-aligned modules, memory map
#define MULTIBOOT2_MAGIC 0xE85250D6
#define MULTIBOOT2_I386 0
#define MULTIBOOT2_TAG_END 0
#define MULTIBOOT2_TAG_CONSOLE 4
#define MULTIBOOT2_TAG_FRAMEBUFFER 5
#define MULTIBOOT2_TAG_ALIGN_MODULES 6
#define MULTIBOOT2_OPTIONAL 1
#define MULTIBOOT2_CONSOLE_EGA_TEXT 2

#define CR0_PE 0x00000001
#define CR0_WP 0x00010000
#define CR0_NE 0x00000020
#define CR0_MP 0x00000002
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define CR4_OSFXSR 0x200
#define CR4_OSXMMEXCPT 0x400
#define MSR_EFER 0xC0000080
#define EFER_LME 0x100
#define EFER_NXE 0x800
#define PTE_TABLE 0x03 // present, writable
#define PTE_LARGE 0x83

#define SELECTOR_CODE64 0x08
#define SELECTOR_DATA 0x10
#define SELECTOR_CODE32 0x18

#define STACK_SIZE 0x40000 // Python runs on it

    .section .boot, "ax"
    .align 4
multiboot1_header:
    .long MULTIBOOT1_MAGIC
    .long MULTIBOOT1_FLAGS
    .long -(MULTIBOOT1_MAGIC + MULTIBOOT1_FLAGS)
    .align 8
multiboot2_header:
    .long MULTIBOOT2_MAGIC
    .long MULTIBOOT2_I386
    .long multiboot2_end - multiboot2_header
    .long -(MULTIBOOT2_MAGIC + MULTIBOOT2_I386 + (multiboot2_end - multiboot2_header))
    .short MULTIBOOT2_TAG_ALIGN_MODULES, 0
    .long 8
    .short MULTIBOOT2_TAG_CONSOLE, MULTIBOOT2_OPTIONAL
    .long 12
    .long MULTIBOOT2_CONSOLE_EGA_TEXT
    .align 8
    .short MULTIBOOT2_TAG_FRAMEBUFFER, MULTIBOOT2_OPTIONAL
    .long 20
    .long 0, 0, 0 // any width, height and depth
    .align 8
    .short MULTIBOOT2_TAG_END, 0
    .long 8
multiboot2_end:

    .code32
    .global boot_entry
boot_entry:
    cli
    cld
    movl %eax, %ebp
    movl %ebx, %esi

    // 1. The raw disk does not clear bss; the others did, and it costs little.
    movl $__bss_start, %edi
    movl $__bss_end, %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    xorl %eax, %eax
    rep stosl

    // 2. First page tables: 4 GiB identity in 2 MiB pages. paging.c replaces them.
    movl $boot_pml4, %edi
    movl $(boot_pdpt + PTE_TABLE), (%edi)
    movl $boot_pdpt, %edi
    movl $(boot_pd + PTE_TABLE), %eax
    movl $4, %ecx
1:  movl %eax, (%edi)
    addl $0x1000, %eax
    addl $8, %edi
    loop 1b
    movl $boot_pd, %edi
    movl $PTE_LARGE, %eax
    movl $2048, %ecx
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 1b

    // 3. Long mode.
    movl $boot_pml4, %edx
    call enter_long_mode
    ljmp $SELECTOR_CODE64, $boot_entry64

// In: EDX = page tables. Turns paging and long mode on; the caller far-jumps.
enter_long_mode:
    movl $(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
    movl %eax, %cr4
    movl %edx, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $(EFER_LME | EFER_NXE), %eax
    wrmsr
    movl $(CR0_PG | CR0_WP | CR0_NE | CR0_MP | CR0_PE), %eax
    movl %eax, %cr0
    lgdt boot_gdtr
    ret

    .code64
boot_entry64:
    movl $SELECTOR_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    leaq stack0_top, %rsp
    fninit
    movl %ebp, %edi
    movl %esi, %esi
    xorl %ebp, %ebp
    pushq $0
    pushq $0
    call boot_main
1:  cli
    hlt
    jmp 1b

// ---- Application processors ----
// Copied to a page below 640 KiB; started there in real mode by SIPI. CS = page >> 4.
    .section .rodata
    .global ap_trampoline, ap_trampoline_end, ap_trampoline_data
    .code16
ap_trampoline:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    xorl %ebx, %ebx
    movw %cs, %bx
    shll $4, %ebx // linear address of this page
    lgdtl (ap_gdtr - ap_trampoline)
    movl $CR0_PE, %eax
    movl %eax, %cr0
    leal (ap_protected - ap_trampoline)(%ebx), %eax
    movl %eax, (ap_jump - ap_trampoline)
    ljmpl *(ap_jump - ap_trampoline)
    .code32
ap_protected:
    movl $SELECTOR_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl (ap_cr3 - ap_trampoline)(%ebx), %edx
    movl $(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
    movl %eax, %cr4
    movl %edx, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $(EFER_LME | EFER_NXE), %eax
    wrmsr
    movl $(CR0_PG | CR0_WP | CR0_NE | CR0_MP | CR0_PE), %eax
    movl %eax, %cr0
    ljmp $SELECTOR_CODE64, $ap_entry64
    .align 8
ap_jump:
    .long 0
    .short SELECTOR_CODE32
    .align 8
ap_gdtr:
    .short boot_gdt_end - boot_gdt - 1
    .long boot_gdt
    .align 8
ap_trampoline_data: // struct ap_start
ap_cr3:
    .quad 0
ap_trampoline_end:

    .text
    .code64
ap_entry64:
    movl $SELECTOR_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movq ap_stack, %rsp
    fninit
    movq ap_cpu, %rdi
    xorl %ebp, %ebp
    pushq $0
    pushq $0
    call smp_ap_main
1:  cli
    hlt
    jmp 1b

    .data
    .global ap_stack, ap_cpu
    .align 8
ap_stack: .quad 0
ap_cpu: .quad 0

    .align 16
boot_gdt:
    .quad 0
    .quad 0x00AF9B000000FFFF // 64-bit code
    .quad 0x00CF93000000FFFF // data
    .quad 0x00CF9B000000FFFF // 32-bit code
boot_gdt_end:
boot_gdtr:
    .short boot_gdt_end - boot_gdt - 1
    .quad boot_gdt

    .section .bss
    .align 4096
boot_pml4: .space 4096
boot_pdpt: .space 4096
boot_pd: .space 4 * 4096

    .section .bss.guarded, "aw", @nobits
    .global stack0_guard, stack0_bottom, stack0_top
    .align 4096
stack0_guard: .space 4096 // paging.c unmaps it
stack0_bottom: .space STACK_SIZE
stack0_top:
    .section .note.GNU-stack, "", @progbits
