// The 8259 pair and the PIT's channel 0, as a PC's firmware would set them up.
#include "guest.h"
#include "traps.h"

// Intel 8259A data sheet: initialisation command words.
enum {
    PIC1_COMMAND = 0x20,
    PIC1_DATA = 0x21,
    PIC2_COMMAND = 0xA0,
    PIC2_DATA = 0xA1,
    ICW1_INIT_ICW4 = 0x11,
    ICW3_SLAVE_ON_2 = 0x04,
    ICW3_ID_2 = 0x02,
    ICW4_8086 = 0x01,
    PIT_HZ = 1193182,
    PIT_CHANNEL0 = 0x40,
    PIT_COMMAND = 0x43,
    PIT_CH0_LOHI_MODE2 = 0x34,
};

void irq_init(void) {
    outb(PIC1_COMMAND, ICW1_INIT_ICW4);
    outb(PIC2_COMMAND, ICW1_INIT_ICW4);
    outb(PIC1_DATA, IRQ_BASE);
    outb(PIC2_DATA, IRQ_BASE + 8);
    outb(PIC1_DATA, ICW3_SLAVE_ON_2);
    outb(PIC2_DATA, ICW3_ID_2);
    outb(PIC1_DATA, ICW4_8086);
    outb(PIC2_DATA, ICW4_8086);
    outb(PIC1_DATA, 0xFF);
    outb(PIC2_DATA, 0xFF);
}

void irq_unmask(unsigned line) {
    uint16_t port = line < 8 ? PIC1_DATA : PIC2_DATA;
    outb(port, (uint8_t)(inb(port) & ~(1u << (line & 7))));
}

void irq_mask(unsigned line) {
    uint16_t port = line < 8 ? PIC1_DATA : PIC2_DATA;
    outb(port, (uint8_t)(inb(port) | 1u << (line & 7)));
}

void pit_periodic(unsigned hz) {
    uint32_t count = PIT_HZ / hz;
    outb(PIT_COMMAND, PIT_CH0_LOHI_MODE2);
    outb(PIT_CHANNEL0, (uint8_t)count);
    outb(PIT_CHANNEL0, (uint8_t)(count >> 8));
}
