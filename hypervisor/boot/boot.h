// The steps of main.c that have no header of their own.
#ifndef VIPERVISOR_BOOT_BOOT_H
#define VIPERVISOR_BOOT_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#define BOOT_MAGIC_MULTIBOOT1 UINT32_C(0x2BADB002)
#define BOOT_MAGIC_MULTIBOOT2 UINT32_C(0x36D76289)

bool bootinfo_init(uint32_t magic, uint32_t info);

// The port: runs Python for ever. The core links without it.
void firmware_main(void) __attribute__((weak));

void boot_main(uint32_t magic, uint32_t info);

#endif
