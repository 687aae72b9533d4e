"""A multiboot kernel of a few dozen bytes that says fixed bytes on COM1 and COM2 and then
ends the machine: enough to try real emulators without the monitor."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

LOAD = 0x200000

_SOURCE = """
.code32
.section .text
.globl _start
.align 4
    .long 0x1BADB002, 0, -0x1BADB002
_start:
    cli
    mov $0x3F8, %edx
    mov $com1, %esi
    mov $com1_end, %ecx
    call send
    mov $0x2F8, %edx
    mov $com2, %esi
    mov $com2_end, %ecx
    call send
    {ending}
1:  hlt
    jmp 1b
send:
    push %edx               # 115200 baud, 8N1, FIFOs on
    add $3, %edx
    mov $0x80, %al
    out %al, %dx
    pop %edx
    mov $1, %al
    out %al, %dx
    push %edx
    inc %edx
    xor %al, %al
    out %al, %dx
    add $2, %edx
    mov $3, %al
    out %al, %dx
    dec %edx
    mov $7, %al
    out %al, %dx
    pop %edx
2:  cmp %ecx, %esi
    jae 4f
    push %edx
    add $5, %edx            # line status: bit 5 the holding register, bit 6 all sent
3:  in %dx, %al
    test $0x20, %al
    jz 3b
    pop %edx
    lodsb
    out %al, %dx
    jmp 2b
4:  add $5, %edx
5:  in %dx, %al
    test $0x40, %al
    jz 5b
    ret
com1: .byte {com1}
com1_end:
com2: .byte {com2}
com2_end:
"""

_ENDINGS = {
    "hang": "",
    # ACPI power-off of QEMU's PIIX4 as SeaBIOS leaves it; Bochs has a port for it.
    "qemu": "mov $0x604, %edx; mov $0x2000, %eax; out %ax, %dx",
    "bochs": "mov $0x8900, %edx; mov $word, %esi; mov $8, %ecx; rep outsb",
    "triple": "lidt none; int3",
}
_DATA = '\nword: .ascii "Shutdown"\nnone: .word 0; .long 0\n'

_BOOT = """
bits 16
org 0x7C00
    jmp 0:start
start:
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7C00
    mov ax, [0x7C00 + 0x1A0]    ; sectors of the monitor
    mov [packet + 2], ax
    mov si, packet
    mov ah, 0x42
    int 0x13
    jc $
    lgdt [table]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp 8:flat
bits 32
flat:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    in al, 0x92
    or al, 2
    out 0x92, al
    mov esi, 0x10000
    mov edi, [0x7C00 + 0x1A8]   ; where it goes
    movzx ecx, word [packet + 2]
    shl ecx, 7
    rep movsd
    mov eax, 0x56495045
    mov ebx, [0x7C00 + 0x1A4]   ; the directory
    jmp dword [0x7C00 + 0x1AC]  ; its entry
align 8
packet: db 16, 0
    dw 0, 0, 0x1000
    dq 1
gdt: dq 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
table: dw 23
    dd gdt
times 510 - ($ - $$) db 0
    dw 0xAA55
"""


def _bytes(data: bytes) -> str:
    return ", ".join(str(byte) for byte in data) if data else "0"


def build(folder: Path, com1: bytes, com2: bytes, ending: str) -> Path:
    """A build folder with vipervisor.elf, .bin and bootsector.bin."""
    folder.mkdir(parents=True, exist_ok=True)
    source = _SOURCE.format(com1=_bytes(com1), com2=_bytes(com2), ending=_ENDINGS[ending])
    (folder / "k.S").write_text(source + _DATA)
    (folder / "boot.asm").write_text(_BOOT)
    elf = "vipervisor.elf"
    link = ["ld", "-m", "elf_i386", f"-Ttext={LOAD:#x}", "-n", "--build-id=none", "-e", "_start"]
    for command in (
        ["gcc", "-m32", "-c", "k.S", "-o", "k.o"],
        [*link, "-o", elf, "k.o"],
        ["objcopy", "-O", "binary", elf, "vipervisor.bin"],
        ["nasm", "-f", "bin", "boot.asm", "-o", "bootsector.bin"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    entry = struct.unpack_from("<I", (folder / elf).read_bytes(), 24)[0]
    assert entry == LOAD + 12
    return folder
