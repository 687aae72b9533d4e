// Numbers that the start-up code and C share, under the manuals' names.
#ifndef GUEST_BOOT_H
#define GUEST_BOOT_H

// Multiboot specification 0.6.96, sections 3.1.1 and 3.2.
#define MB1_HEADER_MAGIC 0x1BADB002
#define MB1_PAGE_ALIGN 0x1
#define MB1_MEMORY_INFO 0x2
#define MB1_LOADER_MAGIC 0x2BADB002

// Intel SDM vol. 3, sections 2.5 and 4.
#define CR0_PE 0x00000001
#define CR0_MP 0x00000002
#define CR0_EM 0x00000004
#define CR0_TS 0x00000008
#define CR0_ET 0x00000010
#define CR0_NE 0x00000020
#define CR0_WP 0x00010000
#define CR0_AM 0x00040000
#define CR0_NW 0x20000000
#define CR0_CD 0x40000000
#define CR0_PG 0x80000000
#define CR4_TSD 0x00000004
#define CR4_DE 0x00000008
#define CR4_PSE 0x00000010
#define CR4_PAE 0x00000020
#define CR4_PGE 0x00000080
#define CR4_OSFXSR 0x00000200
#define CR4_OSXMMEXCPT 0x00000400
#define CR4_UMIP 0x00000800
#define CR4_LA57 0x00001000
#define CR4_VMXE 0x00002000
#define CR4_FSGSBASE 0x00010000
#define CR4_PCIDE 0x00020000
#define CR4_OSXSAVE 0x00040000
#define CR4_SMEP 0x00100000
#define CR4_SMAP 0x00200000
#define CR4_PKE 0x00400000
#define CR4_CET 0x00800000
#define CR4_PKS 0x01000000
#define MSR_EFER 0xC0000080
#define EFER_SCE 0x001
#define EFER_LME 0x100
#define EFER_LMA 0x400
#define EFER_SVME 0x1000
#define CPUID_LONG_MODE_BIT 29

#define PTE_PRESENT 0x001
#define PTE_WRITE 0x002
#define PTE_USER 0x004
#define PTE_LARGE 0x080
#define PTE_GLOBAL 0x100
#define PTE_PRESENT_WRITE_USER 0x007

#define SEL_CODE64 0x08
#define SEL_DATA 0x10
#define SEL_USER_DATA 0x1B
#define SEL_USER_CODE64 0x23
#define SEL_TSS 0x28
#define GDT_CODE64 0x00AF9B000000FFFF
#define GDT_CODE32 0x00CF9B000000FFFF
#define GDT_DATA 0x00CF93000000FFFF
#define GDT_USER_DATA 0x00CFF3000000FFFF
#define GDT_USER_CODE64 0x00AFFB000000FFFF
#define GDT_TSS_TYPE 0x89ull // present, available 64-bit TSS

// The guest ABI (docs/architecture.md).
#define PORT_COM1 0x3F8
#define PORT_DEBUG 0xE9
#define PORT_EXIT 0xF4

// Statuses that no guest uses for its own ends.
#define STATUS_NO_LONG_MODE 100
#define STATUS_UNEXPECTED_TRAP 101
#define STATUS_TIMED_OUT 102

#endif
