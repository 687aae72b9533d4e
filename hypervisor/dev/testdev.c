#include "dev/testdev.h"

enum { ECHO_SIZE = 4 };

void testdev_reset(struct testdev *d) {
    *d = (struct testdev){0};
}

static void echo(struct testdev *d, unsigned offset, uint8_t size, bool write, uint32_t *value) {
    unsigned shift = 8 * offset;
    uint32_t mask = (size == ECHO_SIZE ? UINT32_MAX : (UINT32_C(1) << 8 * size) - 1) << shift;
    if (write) {
        d->echo = (d->echo & ~mask) | (*value << shift & mask);
    } else {
        *value = (d->echo & mask) >> shift;
    }
}

bool testdev_io(struct testdev *d, uint16_t port, uint8_t size, bool write, uint32_t *value,
    struct testdev_line *moved) {
    moved->line = -1;
    if (port >= TESTDEV_ECHO && port + size <= TESTDEV_ECHO + ECHO_SIZE) {
        echo(d, port - TESTDEV_ECHO, size, write, value);
        return true;
    }
    if (port == TESTDEV_FLUSH && write) {
        return true;
    }
    if (port >= TESTDEV_LINES && port < TESTDEV_LINES + TESTDEV_LINE_COUNT && write) {
        *moved = (struct testdev_line){port - TESTDEV_LINES, *value & 1};
        return true;
    }
    return false;
}

void testdev_memory(struct testdev *d, uint64_t offset, uint8_t size, bool write, uint64_t *value) {
    if (offset > TESTDEV_MEMORY_SIZE - size) {
        *value = write ? *value : UINT64_MAX;
        return;
    }
    uint8_t *at = &d->memory[offset];
#define MOVE(type) { \
        typedef type number __attribute__((aligned(1), may_alias)); \
        if (write) { \
            *(volatile number *)at = (type)*value; \
        } else { \
            *value = *(volatile number *)at; \
        } \
        break; \
    }
    switch (size) {
        case 1: MOVE(uint8_t)
        case 2: MOVE(uint16_t)
        case 4: MOVE(uint32_t)
        default: MOVE(uint64_t)
    }
#undef MOVE
}
