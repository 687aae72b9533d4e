// A boot sector in real mode at 0000:7C00: prints through COM1, asks CPUID, ends
// with status 0 by port 0xF4. No BIOS is called, so it also runs where none is.
    .code16
    .global _start
_start:
    cli
    cld
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7C00, %sp

    mov $0x3F8 + 1, %dx // COM1: no interrupts, 115200 8N1
    xor %al, %al
    out %al, %dx
    mov $0x3F8 + 3, %dx
    mov $0x83, %al
    out %al, %dx
    mov $0x3F8, %dx
    mov $1, %al
    out %al, %dx
    inc %dx
    xor %al, %al
    out %al, %dx
    mov $0x3F8 + 3, %dx
    mov $0x03, %al
    out %al, %dx

    mov $hello, %si
    call print
    xor %eax, %eax
    cpuid
    mov %ebx, vendor
    mov %edx, vendor + 4
    mov %ecx, vendor + 8
    mov $vendor, %si
    call print
    smsw %ax
    test $1, %al // CR0.PE
    mov $protected, %si
    mov $1, %ebx
    jnz 1f
    mov $real, %si
    xor %ebx, %ebx
1:  call print

2:  mov $0x3F8 + 5, %dx // until the transmitter is empty
    in %dx, %al
    test $0x40, %al
    jz 2b
    mov %ebx, %eax
    mov $0xF4, %dx
    out %eax, %dx
3:  hlt
    jmp 3b

print:
    lodsb
    test %al, %al
    jz 5f
    mov %al, %ah
4:  mov $0x3F8 + 5, %dx
    in %dx, %al
    test $0x20, %al
    jz 4b
    mov %ah, %al
    mov $0x3F8, %dx
    out %al, %dx
    jmp print
5:  ret

hello: .asciz "hello from real mode\r\ncpu: "
vendor: .space 12
    .asciz "\r\n"
real: .asciz "CR0.PE is 0\r\n"
protected: .asciz "CR0.PE is 1\r\n"

    .org 510
    .word 0xAA55
