// What is stepped through: each scenario sets TF and lists where a #DB is due.
#include "boot.h"

#define TF 0x100
#define PORT_LINE_STATUS PORT_COM1 + 5
#define PORT_NOBODY 0x80
#define PORT_ECHO 0xE0
#define MSR_PAT 0x277
#define MSR_UNKNOWN 0x12345678
#define DR6_INIT 0xFFFF0FF0
#define DR7_GD 0x2400

// SCENARIO "name", flags (steps.h): opens one.
    .macro SCENARIO text, flags
    .pushsection .rodata
1:  .asciz "\text"
    .popsection
    .pushsection .rodata.scenarios, "a"
    .quad 1b, 2f, 3f, \flags
    .popsection
    .pushsection .rodata.stops, "a"
    .quad 0
3:
    .popsection
    .balign 16
2:
    .endm
    // A single step's #DB has this address.
    .macro STOP
8:  .pushsection .rodata.stops, "a"
    .quad 8b
    .popsection
    .endm
    // The first #DB comes after the instruction behind POPF.
    .macro STEP_ON
    pushfq
    orq $TF, (%rsp)
    popfq
    .endm
    // Ends it. POPF is stepped over, too.
    .macro STEP_OFF
    pushfq
    STOP
    andq $~TF, (%rsp)
    STOP
    popfq
    STOP
    int3
    .endm

#include "steps.h"

    .pushsection .rodata.scenarios, "a"
    .global scenarios
scenarios:
    .popsection

    .text
    SCENARIO "plain instructions", 0
    STEP_ON
    nop
    STOP
    xor %eax, %eax
    STOP
    STEP_OFF

    SCENARIO "CPUID first", 0
    xor %eax, %eax
    STEP_ON
    cpuid
    STOP
    nop
    STOP
    xor %eax, %eax
    STOP
    cpuid
    STOP
    STEP_OFF

    SCENARIO "IN and OUT", 0
    mov $PORT_LINE_STATUS, %edx
    STEP_ON
    in %dx, %al
    STOP
    out %al, $PORT_NOBODY
    STOP
    out %eax, $PORT_ECHO
    STOP
    in $PORT_ECHO, %eax
    STOP
    STEP_OFF

    SCENARIO "RDMSR and WRMSR", KERNEL_ONLY
    mov $MSR_PAT, %ecx
    STEP_ON
    rdmsr
    STOP
    wrmsr
    STOP
    STEP_OFF

    SCENARIO "MOV to and from CR0, CR3, CR4, CR8", KERNEL_ONLY
    STEP_ON
    mov %cr0, %rax
    STOP
    mov %rax, %cr0
    STOP
    mov %cr3, %rax
    STOP
    mov %rax, %cr3
    STOP
    mov %cr4, %rax
    STOP
    mov %rax, %cr4
    STOP
    mov %cr8, %rax
    STOP
    mov %rax, %cr8
    STOP
    STEP_OFF

    SCENARIO "SMSW, LMSW and CLTS", KERNEL_ONLY
    STEP_ON
    smsw %ax
    STOP
    lmsw %ax
    STOP
    clts
    STOP
    STEP_OFF

    SCENARIO "MOV to and from debug registers", KERNEL_ONLY
    STEP_ON
    mov %db7, %rax
    STOP
    mov %rax, %db7
    STOP
    mov %db0, %rax
    STOP
    mov %rax, %db0
    STOP
    STEP_OFF

    SCENARIO "WBINVD and INVLPG", KERNEL_ONLY
    STEP_ON
    wbinvd
    STOP
    invlpg (%rsp)
    STOP
    STEP_OFF

    SCENARIO "XSETBV", KERNEL_ONLY | NEEDS_XSAVE
    xor %ecx, %ecx
    xgetbv
    STEP_ON
    xsetbv
    STOP
    STEP_OFF

    SCENARIO "VMMCALL", KERNEL_ONLY | NEEDS_VIPERVISOR_AMD
    mov $3, %eax
    STEP_ON
    vmmcall
    STOP
    STEP_OFF

    SCENARIO "VMCALL", KERNEL_ONLY | NEEDS_VIPERVISOR_INTEL
    mov $3, %eax
    STEP_ON
    vmcall
    STOP
    STEP_OFF

    SCENARIO "MOV to and from a device", 0
    mov device_memory, %rdi
    STEP_ON
    mov %eax, (%rdi)
    STOP
    mov (%rdi), %eax
    STOP
    addl $1, (%rdi)
    STOP
    STEP_OFF

    SCENARIO "CALL and JMP through a device", 0
    mov device_memory, %rdi
    lea 5f(%rip), %rax
    mov %rax, (%rdi)
    lea 6f(%rip), %rax
    mov %rax, 8(%rdi)
    STEP_ON
    jmp *(%rdi)
    ud2
5:  STOP
    call *8(%rdi)
    ud2
6:  STOP
    add $8, %rsp
    STOP
    STEP_OFF

    SCENARIO "PUSH and POP of a device's memory", 0
    mov device_memory, %rdi
    STEP_ON
    pushq (%rdi)
    STOP
    popq (%rdi)
    STOP
    STEP_OFF

    SCENARIO "REP OUTSB, each element", 0
    lea 1f(%rip), %rsi
    mov $3, %ecx
    mov $PORT_NOBODY, %edx
    STEP_ON
1:  rep outsb
    .pushsection .rodata.stops, "a"
    .quad 1b, 1b
    .popsection
    STOP
    STEP_OFF

    SCENARIO "REP INSB, each element", 0
    lea scratch(%rip), %rdi
    mov $3, %ecx
    mov $PORT_NOBODY, %edx
    STEP_ON
1:  rep insb
    .pushsection .rodata.stops, "a"
    .quad 1b, 1b
    .popsection
    STOP
    STEP_OFF

    SCENARIO "REP MOVSL from a device, each element", 0
    mov device_memory, %rsi
    lea scratch(%rip), %rdi
    mov $3, %ecx
    STEP_ON
1:  rep movsl
    .pushsection .rodata.stops, "a"
    .quad 1b, 1b
    .popsection
    STOP
    STEP_OFF

    SCENARIO "STI, whose shadow holds no #DB up", NEEDS_STI_STEP
    cli
    xor %eax, %eax
    STEP_ON
    sti
    STOP
    cpuid
    STOP
    cli
    STOP
    STEP_OFF

    SCENARIO "POPF that sets TF in the shadow of STI", 0
    cli
    pushfq
    orq $TF, (%rsp)
    sti
    popfq
    nop
    STOP
    cli
    STOP
    STEP_OFF

    SCENARIO "MOV SS, whose shadow holds it up", NEEDS_SS_SHADOW
    mov %ss, %ebx
    xor %eax, %eax
    STEP_ON
    mov %ebx, %ss
    nop
    STOP
    nop
    STOP
    STEP_OFF

    SCENARIO "CPUID in the shadow of MOV SS", NEEDS_SS_SHADOW
    mov %ss, %edi
    xor %eax, %eax
    STEP_ON
    mov %edi, %ss
    cpuid
    STOP
    nop
    STOP
    STEP_OFF

    SCENARIO "a device in the shadow of MOV SS", NEEDS_SS_SHADOW
    mov %ss, %ebx
    mov device_memory, %rdi
    STEP_ON
    mov %ebx, %ss
    mov (%rdi), %eax
    STOP
    nop
    STOP
    STEP_OFF

    // Its own #DB comes behind it, without BS, and clears TF as that of a step would.
    SCENARIO "INT1", NEEDS_INT1 | FIRST_WITHOUT_BS
    .byte 0xF1
    STOP
    int3

    SCENARIO "INT1 with prefixes, stepped", NEEDS_INT1 | FIRST_WITHOUT_BS
    STEP_ON
    .byte 0x2E, 0x2E, 0xF1
    STOP
    nop
    STOP
    STEP_OFF

    SCENARIO "a RDMSR that faults: none for it", KERNEL_ONLY | NEEDS_MSR_FAULT
    mov $MSR_UNKNOWN, %ecx
    STEP_ON
771: rdmsr
772: nop
    .pushsection .fixups, "a"
    .quad 771b, 772b
    .popsection
    STOP
    nop
    STOP
    STEP_OFF

    SCENARIO "a page fault on the way to a device: none for it", KERNEL_ONLY
    mov $0xFFFF800000000000, %rdi
    mov device_memory, %rsi
    STEP_ON
771: movsl
772: nop
    .pushsection .fixups, "a"
    .quad 771b, 772b
    .popsection
    STOP
    mov (%rsi), %eax
    STOP
    STEP_OFF

    // A fault that moves on only when its handler returns, DR7.GD cleared.
    SCENARIO "a MOV to DR6 that DR7.GD detects", KERNEL_ONLY | FIRST_IS_BD | NEEDS_SS_SHADOW | NEEDS_BD_ALONE
    mov %ss, %ebx
    mov $DR7_GD, %eax
    mov %rax, %db7
    mov $DR6_INIT, %eax
    STEP_ON
    mov %ebx, %ss
    STOP
    mov %rax, %db6
    STOP
    nop
    STOP
    STEP_OFF

    SCENARIO "HLT, which it ends at once", KERNEL_ONLY | NEEDS_HLT_STEP
    sti
    STEP_ON
    hlt
    STOP
    cli
    STOP
    hlt
    STOP
    STEP_OFF

    .pushsection .rodata.scenarios, "a"
    .quad 0
    .popsection
    .pushsection .rodata.stops, "a"
    .quad 0
    .popsection

    .bss
scratch: .space 64
