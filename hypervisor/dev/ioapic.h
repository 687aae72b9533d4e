// The I/O APIC with 24 pins (Intel 82093AA data sheet, 290566; version 0x20 adds the
// EOI register).
#ifndef VIPERVISOR_DEV_IOAPIC_H
#define VIPERVISOR_DEV_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "dev/lapic.h"

#define IOAPIC_STATE_VERSION 1
#define IOAPIC_PINS 24
#define IOAPIC_ADDRESS UINT64_C(0xFEC00000)

enum { IOAPIC_SELECT = 0x00, IOAPIC_WINDOW = 0x10, IOAPIC_EOI = 0x40 }; // offsets in its page

struct ioapic {
    uint32_t version;
    uint32_t id;
    uint32_t select;
    uint32_t lines; // level of each wire, as the devices drive it
    uint32_t due; // pins whose message is to be sent
    uint64_t entry[IOAPIC_PINS];
};

void ioapic_init(struct ioapic *io, uint32_t id);
uint32_t ioapic_read(const struct ioapic *io, uint32_t offset);
void ioapic_write(struct ioapic *io, uint32_t offset, uint32_t value);
void ioapic_line(struct ioapic *io, uint32_t pin, bool high);
void ioapic_eoi(struct ioapic *io, uint8_t vector); // a local APIC's broadcast
// The next message to send; false: none. Call it until then whenever `due` is not 0.
bool ioapic_take(struct ioapic *io, struct apic_message *m);

#endif
