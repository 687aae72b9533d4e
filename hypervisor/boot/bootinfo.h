// What the boot loader handed over, in one form for multiboot 1, multiboot 2 and
// the raw disk of Bochs.
#ifndef VIPERVISOR_BOOT_BOOTINFO_H
#define VIPERVISOR_BOOT_BOOTINFO_H

#include <stdint.h>

#define BOOT_RANGES 64
#define BOOT_MODULES 48

enum boot_loader { BOOT_MULTIBOOT1 = 1, BOOT_MULTIBOOT2, BOOT_DISK };

struct boot_range {
    uint64_t base, size;
    uint32_t type; // as E820: 1 RAM, 2 reserved, 3 ACPI, 4 NVS, 5 bad
};

struct boot_module {
    uint64_t base, size; // in RAM, read-only for everybody
    char name[56];
    char args[200];
};

// What the loader left the screen as: nothing known, the VGA's text mode, or pixels.
enum boot_framebuffer_kind { FRAMEBUFFER_NONE, FRAMEBUFFER_TEXT, FRAMEBUFFER_RGB };

struct boot_framebuffer {
    uint64_t base;
    uint32_t pitch, width, height; // bytes a line; pixels
    uint8_t kind, bits;
    uint8_t red_position, red_size, green_position, green_size, blue_position, blue_size;
};

struct bootinfo {
    uint32_t loader;
    uint32_t range_count, module_count;
    struct boot_range ranges[BOOT_RANGES];
    struct boot_module modules[BOOT_MODULES];
    uint64_t rsdp; // 0: search low memory
    uint64_t efi; // the system table of a 64-bit UEFI, else 0
    struct boot_framebuffer framebuffer;
    char cmdline[512];
};

extern struct bootinfo bootinfo;

const struct boot_module *boot_module_find(const char *name);

#endif
