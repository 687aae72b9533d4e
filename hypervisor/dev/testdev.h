// A device for tests, with the ports of QEMU's pc-testdev: an echo, interrupt lines to
// raise and lower, and memory that is reached by exits only.
#ifndef VIPERVISOR_DEV_TESTDEV_H
#define VIPERVISOR_DEV_TESTDEV_H

#include <stdbool.h>
#include <stdint.h>

#define TESTDEV_MEMORY_BASE UINT64_C(0xFF000000)
#define TESTDEV_MEMORY_SIZE UINT64_C(0x10000)

enum {
    TESTDEV_ECHO = 0xE0, // reads back what was written, as a whole or in parts
    TESTDEV_FLUSH = 0xE4, // writes are taken and mean nothing
    TESTDEV_LINES = 0x2000, // one port a line: bit 0 is its level
    TESTDEV_LINE_COUNT = 24,
};

struct testdev {
    uint32_t echo;
    uint8_t memory[TESTDEV_MEMORY_SIZE];
};

// A write moved interrupt line `line` to `level`; line -1: none.
struct testdev_line {
    int line;
    bool level;
};

void testdev_reset(struct testdev *d);
// One port access of 1, 2 or 4 bytes. False: not one of its ports.
bool testdev_io(struct testdev *d, uint16_t port, uint8_t size, bool write, uint32_t *value,
    struct testdev_line *moved);
// One access within the memory, of 1, 2, 4 or 8 bytes.
void testdev_memory(struct testdev *d, uint64_t offset, uint8_t size, bool write, uint64_t *value);

#endif
