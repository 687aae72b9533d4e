// Reads the modules of the raw disk image by ATA PIO (ATA/ATAPI-6, READ SECTORS and READ
// SECTORS EXT), polled: it runs before there are interrupts, once.
#include "boot/disk.h"

#include <stdbool.h>
#include <stddef.h>

#include "boot/bootinfo.h"
#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/log.h"
#include "cpu/string.h"

#define SECTOR_SIZE 512

// Primary channel, command block and control block.
enum {
    ATA_DATA = 0x1F0,
    ATA_ERROR = 0x1F1,
    ATA_SECTOR_COUNT = 0x1F2,
    ATA_LBA_LOW = 0x1F3,
    ATA_LBA_MID = 0x1F4,
    ATA_LBA_HIGH = 0x1F5,
    ATA_DEVICE = 0x1F6,
    ATA_STATUS = 0x1F7, // read
    ATA_COMMAND = 0x1F7, // written
    ATA_ALTERNATE_STATUS = 0x3F6, // read
    ATA_DEVICE_CONTROL = 0x3F6, // written
};

enum { ATA_SR_ERR = 0x01, ATA_SR_DRQ = 0x08, ATA_SR_DF = 0x20, ATA_SR_BSY = 0x80 };
enum { ATA_CONTROL_NIEN = 0x02 }; // no interrupts
enum { ATA_DEVICE_LBA = 0x40 }; // bit 4 clear: master
enum { ATA_READ_SECTORS = 0x20, ATA_READ_SECTORS_EXT = 0x24 };

#define ATA_FLOATING 0xFF // nobody drives the bus
#define ATA_COMMAND_SECTORS 256 // a count of 0 means 256 in the 28-bit command
#define ATA_LBA28_LIMIT (UINT64_C(1) << 28)
#define ATA_POLLS 30000000 // a port read takes about a microsecond on a PC: half a minute

// Layout of docs/architecture.md, "Boot images".
#define DISK_VERSION 1
#define DISK_NAME 56
#define DISK_ARGS 200

struct disk_directory {
    char magic[8];
    uint32_t version;
    uint32_t count;
    char cmdline[496];
};
_Static_assert(sizeof(struct disk_directory) == SECTOR_SIZE, "the directory's head is one sector");

struct disk_entry {
    char name[DISK_NAME];
    uint64_t first_sector;
    uint64_t size;
    char args[DISK_ARGS];
    char padding[SECTOR_SIZE - DISK_NAME - 16 - DISK_ARGS];
};
_Static_assert(sizeof(struct disk_entry) == SECTOR_SIZE, "an entry is one sector");
_Static_assert(offsetof(struct disk_entry, args) == 72, "entry layout");

struct e820_entry {
    uint64_t base;
    uint64_t size;
    uint32_t type;
    uint32_t attributes;
} __attribute__((packed));
_Static_assert(sizeof(struct e820_entry) == 24, "as the boot sector stores it");

#define E820_COUNT UINT64_C(0x500)
#define E820_ENTRIES UINT64_C(0x504)
#define E820_ATTRIBUTE_VALID 1 // ACPI 6.4 section 15.1: clear means "ignore the entry"

int disk_ranges(struct bootinfo *info) {
    // The address is hidden from the compiler, which takes low addresses for null pointers.
    uint64_t count_at = E820_COUNT;
    uint64_t entries_at = E820_ENTRIES;
    __asm__ ("" : "+r" (count_at), "+r" (entries_at));
    uint32_t count = *(const uint32_t *)(uintptr_t)count_at;
    const struct e820_entry *entry = (const struct e820_entry *)(uintptr_t)entries_at;

    info->range_count = 0;
    if (count == 0) {
        log_printf("boot: the BIOS gives no E820 memory map\n");
        return -ENODEV;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (entry[i].size == 0 || !(entry[i].attributes & E820_ATTRIBUTE_VALID)) {
            continue;
        }
        if (info->range_count == BOOT_RANGES) {
            log_printf("boot: more than %d memory ranges\n", BOOT_RANGES);
            return -ENOSPC;
        }
        info->ranges[info->range_count++] = (struct boot_range) {
            .base = entry[i].base, .size = entry[i].size, .type = entry[i].type,
        };
    }
    return 0;
}

// Waits until the device is idle and, with `data`, has a sector to give.
static int ata_wait(bool data, uint64_t lba) {
    for (uint32_t i = 0; i < ATA_POLLS; i++) {
        uint8_t status = inb(ATA_STATUS);
        if (status & ATA_SR_BSY) {
            continue;
        }
        if (status & (ATA_SR_ERR | ATA_SR_DF)) {
            log_printf("boot: disk read error at sector %lu: status 0x%x, error 0x%x\n",
                lba, (unsigned)status, (unsigned)inb(ATA_ERROR));
            return -EIO;
        }
        if (!data || (status & ATA_SR_DRQ)) {
            return 0;
        }
    }
    log_printf("boot: the disk does not answer at sector %lu (status 0x%x)\n",
        lba, (unsigned)inb(ATA_STATUS));
    return -EIO;
}

// 400 ns must pass between a write of the device register or a command and the first valid
// status: four reads of the alternate status.
static void ata_settle(void) {
    for (int i = 0; i < 4; i++) {
        (void)inb(ATA_ALTERNATE_STATUS);
    }
}

static void ata_command(uint64_t lba, uint32_t count) {
    if (lba + count <= ATA_LBA28_LIMIT) {
        outb(ATA_DEVICE, (uint8_t)(ATA_DEVICE_LBA | (lba >> 24 & 0xF)));
        outb(ATA_SECTOR_COUNT, (uint8_t)count); // 256 becomes 0
        outb(ATA_LBA_LOW, (uint8_t)lba);
        outb(ATA_LBA_MID, (uint8_t)(lba >> 8));
        outb(ATA_LBA_HIGH, (uint8_t)(lba >> 16));
        outb(ATA_COMMAND, ATA_READ_SECTORS);
        return;
    }
    // Each register is two bytes deep; the high ones go first.
    outb(ATA_DEVICE, ATA_DEVICE_LBA);
    outb(ATA_SECTOR_COUNT, (uint8_t)(count >> 8));
    outb(ATA_LBA_LOW, (uint8_t)(lba >> 24));
    outb(ATA_LBA_MID, (uint8_t)(lba >> 32));
    outb(ATA_LBA_HIGH, (uint8_t)(lba >> 40));
    outb(ATA_SECTOR_COUNT, (uint8_t)count);
    outb(ATA_LBA_LOW, (uint8_t)lba);
    outb(ATA_LBA_MID, (uint8_t)(lba >> 8));
    outb(ATA_LBA_HIGH, (uint8_t)(lba >> 16));
    outb(ATA_COMMAND, ATA_READ_SECTORS_EXT);
}

static int ata_read(uint64_t lba, uint64_t sectors, void *to) {
    uint8_t *out = to;
    while (sectors != 0) {
        uint32_t count = sectors < ATA_COMMAND_SECTORS ? (uint32_t)sectors : ATA_COMMAND_SECTORS;
        int error = ata_wait(false, lba);
        if (error) {
            return error;
        }
        ata_command(lba, count);
        ata_settle();
        for (uint32_t i = 0; i < count; i++) {
            error = ata_wait(true, lba + i);
            if (error) {
                return error;
            }
            size_t words = SECTOR_SIZE / 2;
            __asm__ volatile ("rep insw" : "+D" (out), "+c" (words) : "d" (ATA_DATA) : "memory");
        }
        lba += count;
        sectors -= count;
    }
    return 0;
}

static int load_module(uint64_t sector, struct bootinfo *info, uint64_t (*place)(uint64_t size)) {
    struct disk_entry entry;
    int error = ata_read(sector, 1, &entry);
    if (error) {
        return error;
    }
    entry.name[DISK_NAME - 1] = 0;
    entry.args[DISK_ARGS - 1] = 0;
    uint64_t sectors = (entry.size + SECTOR_SIZE - 1) / SECTOR_SIZE;
    uint64_t base = place(sectors * SECTOR_SIZE);
    if (base == 0) {
        log_printf("boot: no memory for module \"%s\" of %lu bytes: give the machine more\n",
            entry.name, entry.size);
        return -ENOMEM;
    }
    error = ata_read(entry.first_sector, sectors, (void *)(uintptr_t)base);
    if (error) {
        log_printf("boot: module \"%s\" cannot be read\n", entry.name);
        return error;
    }
    struct boot_module *module = &info->modules[info->module_count++];
    module->base = base;
    module->size = entry.size;
    str_copy(module->name, sizeof(module->name), entry.name);
    str_copy(module->args, sizeof(module->args), entry.args);
    return 0;
}

int disk_load(uint32_t directory_sector, struct bootinfo *info, uint64_t (*place)(uint64_t size)) {
    info->module_count = 0;
    outb(ATA_DEVICE_CONTROL, ATA_CONTROL_NIEN);
    outb(ATA_DEVICE, ATA_DEVICE_LBA);
    ata_settle();
    if (inb(ATA_STATUS) == ATA_FLOATING) {
        log_printf("boot: no ATA disk on the primary channel\n");
        return -ENODEV;
    }
    struct disk_directory directory;
    int error = ata_read(directory_sector, 1, &directory);
    if (error) {
        return error;
    }
    if (memcmp(directory.magic, "VIPERDSK", sizeof(directory.magic)) != 0 ||
        directory.version != DISK_VERSION) {
        log_printf("boot: sector %u of the disk holds no module directory of version %d\n",
            directory_sector, DISK_VERSION);
        return -EINVAL;
    }
    if (directory.count > BOOT_MODULES) {
        log_printf("boot: %u modules on the disk, at most %d fit\n", directory.count, BOOT_MODULES);
        return -ENOSPC;
    }
    directory.cmdline[sizeof(directory.cmdline) - 1] = 0;
    str_copy(info->cmdline, sizeof(info->cmdline), directory.cmdline);
    for (uint32_t i = 0; i < directory.count; i++) {
        error = load_module(directory_sector + 1 + i, info, place);
        if (error) {
            return error;
        }
    }
    return 0;
}
