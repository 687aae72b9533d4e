// What every guest here may use: a console, its command line, its memory map, an
// end with a status. Guests share nothing with the hypervisor but the guest ABI
// of docs/architecture.md.
#ifndef GUEST_GUEST_H
#define GUEST_GUEST_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boot.h"
#include "insn.h"

// Each guest has one; what it returns is the guest's exit status.
int guest_main(void);

// console.c: COM1, 115200 8N1. %s %c %u %d %x %p %% with l/ll, width and 0.
void console_init(void);
void put_char(char c);
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void vprint(const char *format, va_list args);
void console_drain(void); // waits until the last bit is out

// runtime.c
_Noreturn void end(uint32_t status); // port 0xF4, then HLT for ever
const char *boot_cmdline(void); // never NULL
bool option(const char *name, const char **value); // "name=value" or "name" on the command line
uint64_t option_number(const char *name, uint64_t otherwise);

struct memory_range {
    uint64_t base, size;
    uint32_t type; // as E820: 1 is RAM
};
unsigned memory_map(struct memory_range *out, unsigned limit); // how many there are

// platform.c: who is below us.
struct cpu_names {
    char vendor[13]; // CPUID leaf 0
    char brand[49]; // leaves 0x80000002 to 4; empty when the CPU has none
    char hypervisor[13]; // leaf 0x40000000; empty on a bare machine
};
void cpu_names(struct cpu_names *out);
bool under_vipervisor(void);
bool cpu_is_amd(void);
bool cpu_is_tcg(void); // QEMU's emulated CPU, which leaves out some checks

// clock.c
uint64_t tsc_hz(void); // from CPUID under Vipervisor, else measured against the PIT
void delay_ms(unsigned ms);

void *memset(void *to, int byte, size_t size);
void *memcpy(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);

extern uint32_t boot_magic, boot_info;

#endif
