// A raw image, no ELF file: the address fields of its multiboot header say where it lies
// (Multiboot 0.6.96, 3.1.3). Writes more lines of text than the screen has, each with an
// attribute of its own, and moves the screen to the last ones by the CRT controller.
#include "boot.h"

#define MB1_ADDRESSES (1 << 16)
#define TEXT_MEMORY 0xB8000
#define LINES 30
#define COLUMNS 80
#define SHOWN 25
// IBM VGA: index and data port, the registers of the screen's first cell.
#define CRTC_INDEX 0x3D4
#define CRTC_START_HIGH 0x0C
#define CRTC_START_LOW 0x0D
#define START ((LINES - SHOWN) * COLUMNS)

    .code32
    .global _start
image:
    .asciz "line "
unset:
    .asciz "memory behind the image is not 0"
    .align 4
header:
    .long MB1_HEADER_MAGIC, MB1_ADDRESSES, -(MB1_HEADER_MAGIC + MB1_ADDRESSES)
    .long header, image, image_end, memory_end, _start

_start:
    cli
    cld
    mov $memory_end, %esp
    mov $TEXT_MEMORY, %edi
    mov $unset, %esi
    mov $0x4F, %ah
    cmpl $0, behind
    jne print_and_stop
    xor %ecx, %ecx // the line, and its attribute
next_line:
    mov %cl, %ah
    mov $image, %esi
    call print
    mov %cl, %al
    mov $0, %ah
    mov $10, %bl
    div %bl // AL the tens, AH the ones
    mov %ah, %dl
    mov %cl, %ah
    add $'0', %al
    stosw
    mov %dl, %al
    add $'0', %al
    stosw
    add $2 * (COLUMNS - 7), %edi
    inc %ecx
    cmp $LINES, %ecx
    jne next_line
    mov $CRTC_INDEX, %edx
    mov $CRTC_START_HIGH | (START >> 8) << 8, %eax
    out %ax, %dx
    mov $CRTC_START_LOW | (START & 0xFF) << 8, %eax
    out %ax, %dx
stop:
    pause
    jmp stop
print_and_stop:
    call print
    jmp stop

// The text at ESI with the attribute in AH to EDI.
print:
    lodsb
    test %al, %al
    jz printed
    stosw
    jmp print
printed:
    ret
image_end:

    .set behind, image_end + 2048
    .set memory_end, image_end + 4096
