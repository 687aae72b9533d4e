// Boot sector of the raw disk image, for machines and emulators that start through a BIOS
// (Bochs). It loads the flat monitor that follows it on the disk, leaves the E820 memory
// map at 0x500 and jumps to the monitor in flat 32-bit protected mode, as
// docs/architecture.md says. Kernels and initrds stay on the disk: the monitor reads them
// itself (disk.c), far faster than the BIOS would.
//
// Linked at 0x7C00 and turned into a flat file of exactly 512 bytes. The image builder
// fills in the four words at boot_fields.

#define BOOT_BASE 0x7C00
#define FIELDS_OFFSET 0x1A0
#define SIGNATURE_OFFSET 0x1FE

#define E820_COUNT 0x500
#define E820_ENTRIES 0x504
#define E820_ENTRY_SIZE 24
#define E820_MAX 64
#define E820_SIGNATURE 0x534D4150 // "SMAP"

#define CHUNK_SECTORS 64
#define BOUNCE_SEGMENT 0x1000 // 0x10000 to 0x17FFF, RAM on every PC
#define BOUNCE_ADDRESS 0x10000

#define CR0_PE 1
#define SELECTOR_DATA 0x08
#define SELECTOR_CODE 0x10

#define MONITOR_MAGIC 0x56495045 // in EAX: "came from the raw disk"

#define PORT_SYSTEM_CONTROL 0x92
#define PORT_DEBUG 0xE9

    .code16
    .text
    .globl _start
_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $BOOT_BASE, %sp
    ljmp $0, $1f // some BIOSes start at 07C0:0000
1:  sti
    cld
    mov %dl, drive

    // 1. A20: by the BIOS, and by the fast gate for a BIOS without the call.
    mov $0x2401, %ax
    int $0x15
    in $PORT_SYSTEM_CONTROL, %al
    or $2, %al
    and $0xFE, %al // bit 0 would reset the machine
    out %al, $PORT_SYSTEM_CONTROL

    // 2. The memory map. A BIOS without E820 leaves a count of 0, which the monitor names.
    xor %ebx, %ebx
    movl %ebx, E820_COUNT
    mov $E820_ENTRIES, %di
2:  movl $1, 20(%di) // extended attributes: valid, for a BIOS that stores 20 bytes
    mov $0xE820, %eax
    mov $E820_SIGNATURE, %edx
    mov $E820_ENTRY_SIZE, %ecx
    int $0x15
    jc 3f
    cmp $E820_SIGNATURE, %eax
    jne 3f
    incl E820_COUNT
    add $E820_ENTRY_SIZE, %di
    test %ebx, %ebx
    jz 3f
    cmpb $E820_MAX, E820_COUNT
    jb 2b
3:
    // 3. The monitor, in chunks through the bounce buffer.
    mov load_address, %edi
    mov monitor_sectors, %ebp
4:  mov $CHUNK_SECTORS, %eax
    cmp %eax, %ebp
    ja 5f
    mov %ebp, %eax
5:  mov %ax, packet_sectors
    mov $packet, %si
    mov drive, %dl
    mov $0x42, %ah // INT 13h extensions: read
    pushal // not every BIOS keeps the upper halves
    int $0x13
    popal
    jc read_failed
    // Segments with a 4 GiB limit, anew for each chunk: the BIOS may have loaded its own.
    cli
    lgdt gdt_pointer
    mov %cr0, %eax
    or $CR0_PE, %al
    mov %eax, %cr0
    mov $SELECTOR_DATA, %bx
    mov %bx, %ds
    mov %bx, %es
    and $~CR0_PE, %al
    mov %eax, %cr0
    xor %bx, %bx
    mov %bx, %ds // the limits stay
    mov %bx, %es
    movzwl packet_sectors, %eax
    mov %eax, %ecx
    shl $7, %ecx // 128 double words a sector
    mov $BOUNCE_ADDRESS, %esi
    addr32 rep movsl
    sti
    add %eax, packet_lba
    sub %eax, %ebp
    jnz 4b

    // 4. Protected mode for good.
    cli
    mov directory_sector, %ebx
    mov entry, %edx
    mov %cr0, %eax
    or $CR0_PE, %al
    mov %eax, %cr0
    ljmp $SELECTOR_CODE, $6f
    .code32
6:  mov $SELECTOR_DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss
    mov $MONITOR_MAGIC, %eax
    jmp *%edx

    .code16
read_failed:
    mov $message, %si
7:  lodsb
    test %al, %al
    jz 8f
    out %al, $PORT_DEBUG
    mov $0x0E, %ah // INT 10h: teletype output
    mov $7, %bx
    int $0x10
    jmp 7b
8:  cli
    hlt
    jmp 8b

message:
    .asciz "vipervisor: the BIOS could not read the monitor from the disk\r\n"

    .balign 4
packet: // disk address packet
    .byte 16, 0
packet_sectors:
    .word 0
    .word 0, BOUNCE_SEGMENT
packet_lba:
    .quad 1 // the monitor follows the boot sector
drive:
    .byte 0

    .balign 8
gdt:
    .quad 0
    .quad 0x00CF92000000FFFF // data, base 0, limit 4 GiB
    .quad 0x00CF9A000000FFFF // code, 32-bit, the same
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

    .org FIELDS_OFFSET
boot_fields:
monitor_sectors:
    .long 0
directory_sector:
    .long 0
load_address:
    .long 0x200000
entry:
    .long 0x200000

    .org SIGNATURE_OFFSET
    .word 0xAA55
