# The least kernel that can be tested: it says hello on the serial line, and ends with the
# status that its command line asks for (status=3), or with 0.
#
#   gcc -m32 -nostdlib -static -Wl,-n,-Ttext=0x100000,--build-id=none -o kernel.elf kernel.S
#   hv run kernel.elf --cmdline status=3; echo $?
#
# -n keeps the linker from loading the ELF headers below 1 MiB, where the screen is.

        .set    MAGIC, 0x1BADB002       # of multiboot 1; the three words add up to 0
        .set    COM1, 0x3F8
        .set    EXIT, 0xF4              # what is written there is the guest's status

        .text
        .balign 4
        .long   MAGIC, 0, -MAGIC        # within the file's first 8 KiB

        .globl  _start
_start:                                 # 32-bit, no paging, no stack; EBX: the boot information
        mov     $hello, %esi
        mov     $COM1, %edx
1:      lodsb
        test    %al, %al
        jz      2f
        outb    %al, %dx
        jmp     1b
2:      xor     %eax, %eax              # the status
        testb   $4, (%ebx)              # is there a command line?
        jz      5f
        mov     16(%ebx), %esi
3:      mov     $key, %edi              # find "status=" in it
        mov     %esi, %ecx
4:      mov     (%edi), %dl
        test    %dl, %dl
        jz      number
        cmp     (%ecx), %dl
        jne     next
        inc     %edi
        inc     %ecx
        jmp     4b
next:   cmpb    $0, (%esi)
        je      5f
        inc     %esi
        jmp     3b
number: movzbl  (%ecx), %edx
        sub     $'0', %edx
        cmp     $9, %edx
        ja      5f
        imul    $10, %eax
        add     %edx, %eax
        inc     %ecx
        jmp     number
5:      outl    %eax, $EXIT
6:      hlt
        jmp     6b

        .section .rodata
hello:  .asciz  "hello from a kernel of my own\n"
key:    .asciz  "status="

        .section .note.GNU-stack, "", @progbits
