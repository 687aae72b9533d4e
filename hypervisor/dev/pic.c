// The 8259A pair. A request that goes away before the INTA cycle is gone, in edge
// mode too (data sheet, "Edge and level triggered modes").
#include "dev/pic.h"

enum { MASTER, SLAVE };

enum {
    ICW1 = 1 << 4, // command port: this is ICW1
    ICW1_IC4 = 1 << 0,
    ICW1_SNGL = 1 << 1,
    ICW2_VECTOR = 0xF8,
    ICW4_AEOI = 1 << 1,
    ICW4_SFNM = 1 << 4,
    OCW2_LEVEL = 7,
    OCW2_COMMAND_SHIFT = 5, // R SL EOI
    OCW3 = 1 << 3,          // command port: OCW3, else OCW2
    OCW3_RIS = 1 << 0,
    OCW3_RR = 1 << 1,
    OCW3_P = 1 << 2,
    OCW3_SMM = 1 << 5,
    OCW3_ESMM = 1 << 6,
    POLL_REQUEST = 0x80,
    SPURIOUS = 7,
    NONE = 8,
    ELCR_MASTER_BITS = 0xF8, // timer, keyboard and cascade are always edge
    ELCR_SLAVE_BITS = 0xDE,  // so are RTC and FPU
    BIOS_VECTOR_MASTER = 0x08,
    BIOS_VECTOR_SLAVE = 0x70,
};

// OCW2's R SL EOI bits, by the data sheet's names.
enum {
    ROTATE_AUTO_CLEAR = 0,
    EOI = 1,
    SPECIFIC_EOI = 3,
    ROTATE_AUTO_SET = 4,
    ROTATE_EOI = 5,
    SET_PRIORITY = 6,
    ROTATE_SPECIFIC_EOI = 7,
};

// Inputs in order of priority: bit 0 is the one that goes first.
static unsigned by_rank(const struct pic_chip *c, unsigned inputs) {
    unsigned first = (c->lowest + 1u) & 7;
    return (inputs | inputs << 8) >> first & 0xFF;
}

// The input of highest priority, NONE when there is none.
static unsigned highest(const struct pic_chip *c, unsigned inputs) {
    return inputs == 0 ? NONE : ((unsigned)__builtin_ctz(by_rank(c, inputs)) + c->lowest + 1) & 7;
}

// The input that the chip requests service for now, NONE when its INT is low.
static unsigned request(const struct pic_chip *c, bool master) {
    unsigned wanted = c->irr & ~(unsigned)c->imr;
    if (wanted == 0) {
        return NONE;
    }
    unsigned serving = c->isr;
    if (c->special_mask) {
        serving &= ~(unsigned)c->imr; // a masked level in service holds up nobody
    }
    if (c->fully_nested && master) {
        serving &= ~(1u << PIC_CASCADE); // the slave knows its own priorities
    }
    unsigned rank = (unsigned)__builtin_ctz(by_rank(c, wanted));
    unsigned not_below = (2u << rank) - 1; // the ranks that hold it up, its own included
    return by_rank(c, serving) & not_below ? NONE : (rank + c->lowest + 1) & 7;
}

static void refresh(struct pic *p) {
    struct pic_chip *master = &p->chip[MASTER];
    if (request(&p->chip[SLAVE], false) != NONE) {
        master->irr |= 1 << PIC_CASCADE;
    } else {
        master->irr &= (uint8_t) ~(1 << PIC_CASCADE);
    }
    p->pending = master->icw == 0 && request(master, true) != NONE;
}

void pic_init(struct pic *p) {
    *p = (struct pic){0};
    for (unsigned i = 0; i < 2; i++) {
        p->chip[i].imr = 0xFF;
        p->chip[i].lowest = 7;
    }
    p->chip[MASTER].vector = BIOS_VECTOR_MASTER;
    p->chip[SLAVE].vector = BIOS_VECTOR_SLAVE;
}

void pic_set_line(struct pic *p, uint8_t irq, bool level) {
    struct pic_chip *c = &p->chip[irq >> 3 & 1];
    uint8_t bit = (uint8_t)(1u << (irq & 7));
    if (((c->lines & bit) != 0) == level) {
        return;
    }
    c->lines ^= bit;
    if (level) {
        c->irr |= bit;
    } else {
        c->irr &= (uint8_t)~bit;
    }
    refresh(p);
}

// The acknowledged input enters service; an edge is used up, a level stays.
static void serve(struct pic_chip *c, unsigned input) {
    uint8_t bit = (uint8_t)(1u << input);
    c->irr &= (uint8_t) ~(bit & ~c->elcr);
    if (!c->auto_eoi) {
        c->isr |= bit;
    } else if (c->rotate_auto) {
        c->lowest = (uint8_t)input;
    }
}

uint8_t pic_ack(struct pic *p) {
    struct pic_chip *master = &p->chip[MASTER], *slave = &p->chip[SLAVE];
    unsigned input = request(master, true);
    uint8_t vector;
    if (input == NONE) {
        return (uint8_t)(master->vector + SPURIOUS);
    }
    serve(master, input);
    if (input == PIC_CASCADE) {
        unsigned second = request(slave, false);
        vector = (uint8_t)(slave->vector + (second == NONE ? SPURIOUS : second));
        if (second != NONE) {
            serve(slave, second);
        }
    } else {
        vector = (uint8_t)(master->vector + input);
    }
    refresh(p);
    return vector;
}

// The poll command's read is an INTA cycle for this chip alone.
static uint8_t poll(struct pic_chip *c, bool master) {
    unsigned input = request(c, master);
    c->poll = false;
    if (input == NONE) {
        return 0;
    }
    serve(c, input);
    return (uint8_t)(POLL_REQUEST | input);
}

uint8_t pic_read(struct pic *p, uint16_t port) {
    if (port == PIC_ELCR_MASTER || port == PIC_ELCR_SLAVE) {
        return p->chip[port - PIC_ELCR_MASTER].elcr;
    }
    unsigned index = port >= PIC_SLAVE_COMMAND ? SLAVE : MASTER;
    struct pic_chip *c = &p->chip[index];
    if (c->poll) {
        uint8_t value = poll(c, index == MASTER);
        refresh(p);
        return value;
    }
    if (port & 1) {
        return c->imr;
    }
    return c->read_isr ? c->isr : c->irr;
}

static void end_of_interrupt(struct pic_chip *c, unsigned input, bool rotate) {
    if (input == NONE) {
        return;
    }
    c->isr &= (uint8_t) ~(1u << input);
    if (rotate) {
        c->lowest = (uint8_t)input;
    }
}

static void write_ocw2(struct pic_chip *c, uint8_t value) {
    unsigned level = value & OCW2_LEVEL, command = value >> OCW2_COMMAND_SHIFT;
    // A non-specific EOI passes over levels that special mask mode hides.
    unsigned serving = c->special_mask ? c->isr & ~(unsigned)c->imr : c->isr;
    switch (command) {
        case EOI:
        case ROTATE_EOI:
            end_of_interrupt(c, highest(c, serving), command == ROTATE_EOI);
            break;
        case SPECIFIC_EOI:
        case ROTATE_SPECIFIC_EOI:
            end_of_interrupt(c, level, command == ROTATE_SPECIFIC_EOI);
            break;
        case SET_PRIORITY:
            c->lowest = (uint8_t)level;
            break;
        case ROTATE_AUTO_CLEAR:
        case ROTATE_AUTO_SET:
            c->rotate_auto = command == ROTATE_AUTO_SET;
            break;
        default: // R SL EOI = 010: no operation
            break;
    }
}

static void write_ocw3(struct pic_chip *c, uint8_t value) {
    if (value & OCW3_ESMM) {
        c->special_mask = value & OCW3_SMM;
    }
    if (value & OCW3_RR) {
        c->read_isr = value & OCW3_RIS;
    }
    c->poll = value & OCW3_P;
}

static void write_icw1(struct pic_chip *c, uint8_t value) {
    c->irr &= c->elcr; // an edge must come anew
    c->isr = c->imr = 0;
    c->lowest = 7;
    c->special_mask = c->read_isr = c->poll = false;
    c->auto_eoi = c->fully_nested = c->rotate_auto = false;
    c->single = value & ICW1_SNGL;
    c->icw4_comes = value & ICW1_IC4;
    c->icw = 2;
}

static void write_data(struct pic_chip *c, uint8_t value) {
    switch (c->icw) {
        case 2:
            c->vector = value & ICW2_VECTOR;
            c->icw = c->single ? (c->icw4_comes ? 4 : 0) : 3;
            break;
        case 3: // who hangs where is soldered on a PC
            c->icw = c->icw4_comes ? 4 : 0;
            break;
        case 4:
            c->auto_eoi = value & ICW4_AEOI;
            c->fully_nested = value & ICW4_SFNM;
            c->icw = 0;
            break;
        default:
            c->imr = value;
            break;
    }
}

static void write_elcr(struct pic_chip *c, uint8_t value) {
    uint8_t to_level = (uint8_t)(value & ~c->elcr);
    c->elcr = value;
    c->irr |= c->lines & to_level; // a level that is high asks at once
}

void pic_write(struct pic *p, uint16_t port, uint8_t value) {
    if (port == PIC_ELCR_MASTER) {
        write_elcr(&p->chip[MASTER], value & ELCR_MASTER_BITS);
    } else if (port == PIC_ELCR_SLAVE) {
        write_elcr(&p->chip[SLAVE], value & ELCR_SLAVE_BITS);
    } else {
        struct pic_chip *c = &p->chip[port >= PIC_SLAVE_COMMAND ? SLAVE : MASTER];
        if (port & 1) {
            write_data(c, value);
        } else if (value & ICW1) {
            write_icw1(c, value);
        } else if (value & OCW3) {
            write_ocw3(c, value);
        } else {
            write_ocw2(c, value);
        }
    }
    refresh(p);
}
