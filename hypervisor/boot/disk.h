// The raw disk image of docs/architecture.md: what the boot sector left behind, and the
// modules that the monitor reads from the disk itself.
#ifndef VIPERVISOR_BOOT_DISK_H
#define VIPERVISOR_BOOT_DISK_H

#include <stdint.h>

struct bootinfo;

// EAX at the monitor's entry when it came from the boot sector (boot/disk.S).
#define DISK_BOOT_MAGIC UINT32_C(0x56495045)

// Copies the E820 entries that the boot sector left in low memory to info->ranges.
// 0; -ENODEV when the BIOS gave none, -ENOSPC when there are more than fit.
int disk_ranges(struct bootinfo *info);

// Reads the directory and every module from the primary master into memory that `place`
// finds (page-aligned, writable, identity-mapped; 0: none left), and fills info->modules
// and info->cmdline. 0, -ENODEV (no disk), -EIO, -EINVAL (no directory there), -ENOSPC,
// -ENOMEM; every failure is logged with its place.
int disk_load(uint32_t directory_sector, struct bootinfo *info, uint64_t (*place)(uint64_t size));

#endif
