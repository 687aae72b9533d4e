// The two 8259A interrupt controllers of a PC with their ELCR.
// Intel 8259A data sheet (231468); edge/level registers: 82371AB (PIIX4) 4.2.
#ifndef VIPERVISOR_DEV_PIC_H
#define VIPERVISOR_DEV_PIC_H

#include <stdbool.h>
#include <stdint.h>

#define PIC_CASCADE 2 // the master's input that the slave drives

enum {
    PIC_MASTER_COMMAND = 0x20,
    PIC_MASTER_DATA = 0x21,
    PIC_SLAVE_COMMAND = 0xA0,
    PIC_SLAVE_DATA = 0xA1,
    PIC_ELCR_MASTER = 0x4D0,
    PIC_ELCR_SLAVE = 0x4D1,
};

struct pic_chip {
    uint8_t irr, isr, imr;
    uint8_t lines;                     // level of each input
    uint8_t elcr;                      // 1: level triggered
    uint8_t vector;                    // ICW2
    uint8_t lowest;                    // input with the lowest priority
    uint8_t icw;                       // the ICW that the next data write is; 0: initialised
    bool single, icw4_comes;           // ICW1
    bool auto_eoi, fully_nested;       // ICW4: AEOI, SFNM
    bool rotate_auto;                  // rotate in automatic EOI mode
    bool special_mask, read_isr, poll; // OCW3
};

struct pic {
    struct pic_chip chip[2]; // master, slave
    bool pending;            // INTR to the CPU; kept up to date by every call
};

void pic_init(struct pic *p);
uint8_t pic_read(struct pic *p, uint16_t port);
void pic_write(struct pic *p, uint16_t port, uint8_t value);
void pic_set_line(struct pic *p, uint8_t irq, bool level);
uint8_t pic_ack(struct pic *p); // INTA cycle: the vector, spurious 7 when nothing is left

static inline bool pic_pending(const struct pic *p) {
    return p->pending;
}

// The request is latched and not yet acknowledged: another edge would vanish.
static inline bool pic_latched(const struct pic *p, uint8_t irq) {
    return p->chip[irq >> 3].irr >> (irq & 7) & 1;
}

static inline bool pic_masked(const struct pic *p, uint8_t irq) {
    return p->chip[irq >> 3].imr >> (irq & 7) & 1;
}

#endif
