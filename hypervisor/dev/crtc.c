#include "dev/crtc.h"

enum {
    INDEX_BITS = 0x3F,
    ONES = 0xFF,
    START_HIGH = 0x0C, START_LOW = 0x0D,
    STATUS_BLANK = 1 << 0,   // display disabled
    STATUS_RETRACE = 1 << 3, // vertical retrace
};

// Mode 3 as the VGA's own BIOS leaves it: 80 columns, 25 rows of 16 lines, the cursor
// on lines 13 and 14 of its cell.
static const uint8_t mode_3[CRTC_REGISTERS] = {
    0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0x00, 0x4F, 0x0D, 0x0E, 0x00,
    0x00, 0x00, 0x00, 0x9C, 0x8E, 0x8F, 0x28, 0x1F, 0x96, 0xB9, 0xA3, 0xFF,
};

void crtc_init(struct crtc *c) {
    *c = (struct crtc){.index = 0};
    for (unsigned i = 0; i < CRTC_REGISTERS; i++) {
        c->regs[i] = mode_3[i];
    }
}

uint8_t crtc_read(struct crtc *c, uint16_t port) {
    switch (port) {
        case CRTC_INDEX:
            return c->index;
        case CRTC_DATA:
            return c->index < CRTC_REGISTERS ? c->regs[c->index] : ONES;
        default: // a program that waits for the retrace, or for its end, goes on
            c->status ^= STATUS_BLANK | STATUS_RETRACE;
            return c->status;
    }
}

void crtc_write(struct crtc *c, uint16_t port, uint8_t value) {
    if (port == CRTC_INDEX) {
        c->index = value & INDEX_BITS;
    } else if (port == CRTC_DATA && c->index < CRTC_REGISTERS) {
        c->regs[c->index] = value;
    }
}

uint32_t crtc_start(const struct crtc *c) {
    return (uint32_t)c->regs[START_HIGH] << 8 | c->regs[START_LOW];
}
