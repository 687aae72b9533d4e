#include "dev/fwcfg.h"

// Keys; all numbers are little-endian but for the directory's, which holds no file.
enum {
    SIGNATURE = 0x00,
    ID = 0x01,
    RAM_SIZE = 0x03,
    CPU_COUNT = 0x05,
    MAX_CPUS = 0x0F,
    FILE_DIRECTORY = 0x19,
    ID_TRADITIONAL = 1, // the port interface alone
    SIGNATURE_TEXT = 0x554D4551, // "QEMU"
    BYTES = 8,
};

void fwcfg_init(struct fwcfg *f, uint16_t cpus, uint64_t memory) {
    *f = (struct fwcfg){.cpus = cpus, .memory = memory};
}

void fwcfg_select(struct fwcfg *f, uint16_t key) {
    f->selector = key;
    f->at = 0;
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
        case FILE_DIRECTORY: // the count of its entries
        default:
            return 0;
    }
}

uint8_t fwcfg_read(struct fwcfg *f) {
    uint64_t value = item(f);
    if (f->at >= BYTES) {
        return 0;
    }
    return (uint8_t)(value >> 8 * f->at++);
}
