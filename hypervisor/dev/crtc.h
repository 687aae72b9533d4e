// What text-mode programs ask of a VGA beside its memory: the CRT controller's
// registers read back, which hold the cursor, and the retrace bits come and go.
#ifndef VIPERVISOR_DEV_CRTC_H
#define VIPERVISOR_DEV_CRTC_H

#include <stdint.h>

enum { CRTC_INDEX = 0x3D4, CRTC_DATA = 0x3D5, CRTC_STATUS = 0x3DA };

#define CRTC_REGISTERS 25

struct crtc {
    uint8_t index;
    uint8_t status; // Input Status Register 1, flipped by each read
    uint8_t regs[CRTC_REGISTERS];
};

void crtc_init(struct crtc *c); // an 80 by 25 text mode
uint8_t crtc_read(struct crtc *c, uint16_t port);
void crtc_write(struct crtc *c, uint16_t port, uint8_t value);
uint32_t crtc_start(const struct crtc *c); // the cell of text memory at the screen's top left

#endif
