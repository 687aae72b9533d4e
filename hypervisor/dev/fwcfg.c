#include "dev/fwcfg.h"

// Keys; all numbers are little-endian but for the directory's.
enum {
    SIGNATURE = 0x00,
    ID = 0x01,
    RAM_SIZE = 0x03,
    CPU_COUNT = 0x05,
    MAX_CPUS = 0x0F,
    FILE_DIRECTORY = 0x19,
    IRQ0_OVERRIDE = 0x8002, // of x86: the MADT moves IRQ 0 to another pin
    ID_TRADITIONAL = 1, // the port interface alone
    SIGNATURE_TEXT = 0x554D4551, // "QEMU"
    BYTES = 8,
    // The directory: the count of its entries, then those: size, key, 16 bits reserved, name.
    DIRECTORY_HEAD = 4,
    ENTRY_SIZE = 64,
    ENTRY_KEY = 4,
};

static uint32_t big_endian(const uint8_t *from, unsigned bytes) {
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value = value << 8 | from[i];
    }
    return value;
}

void fwcfg_init(struct fwcfg *f, uint16_t cpus, uint64_t memory) {
    *f = (struct fwcfg){.cpus = cpus, .memory = memory};
}

// Finds the directory or the file of `key`; returns where the last file ends.
static uint64_t find(struct fwcfg *f, uint16_t key) {
    uint64_t count = big_endian(f->files, DIRECTORY_HEAD), at = DIRECTORY_HEAD + count * ENTRY_SIZE;
    f->start = 0;
    f->end = key == FILE_DIRECTORY ? (uint32_t)at : 0;
    if (at > f->files_size) {
        return UINT64_MAX;
    }
    for (const uint8_t *entry = f->files + DIRECTORY_HEAD; count != 0; count--, entry += ENTRY_SIZE) {
        uint32_t size = big_endian(entry, DIRECTORY_HEAD);
        if (big_endian(entry + ENTRY_KEY, sizeof key) == key) {
            f->start = (uint32_t)at;
            f->end = (uint32_t)at + size;
        }
        at += size;
    }
    return at;
}

bool fwcfg_set_files(struct fwcfg *f, const uint8_t *files, uint64_t size) {
    bool good = size >= DIRECTORY_HEAD && size <= FWCFG_FILES_SIZE;
    f->files_size = good ? (uint32_t)size : 0;
    for (uint32_t i = 0; i < f->files_size; i++) {
        f->files[i] = files[i];
    }
    good = good && find(f, FILE_DIRECTORY) == size;
    f->files_size = good ? f->files_size : 0;
    fwcfg_select(f, SIGNATURE); // no longer what was searched for
    return good;
}

void fwcfg_select(struct fwcfg *f, uint16_t key) {
    f->selector = key;
    f->at = f->start = f->end = 0;
    if (f->files_size != 0) {
        (void)find(f, key);
    }
}

static uint64_t item(const struct fwcfg *f) {
    switch (f->selector) {
        case SIGNATURE:
            return SIGNATURE_TEXT;
        case ID:
            return ID_TRADITIONAL;
        case RAM_SIZE:
            return f->memory;
        case CPU_COUNT:
        case MAX_CPUS:
            return f->cpus;
        case IRQ0_OVERRIDE:
            return 1;
        default:
            return 0;
    }
}

uint8_t fwcfg_read(struct fwcfg *f) {
    if (f->start != f->end) {
        return f->start + f->at < f->end ? f->files[f->start + f->at++] : 0;
    }
    uint64_t value = item(f);
    if (f->at >= BYTES) {
        return 0;
    }
    return (uint8_t)(value >> 8 * f->at++);
}
