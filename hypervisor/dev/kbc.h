// An i8042 keyboard controller with nothing plugged in: enough for A20, reset and
// for drivers to find out quickly that there is no keyboard.
#ifndef VIPERVISOR_DEV_KBC_H
#define VIPERVISOR_DEV_KBC_H

#include <stdbool.h>
#include <stdint.h>

enum { KBC_DATA = 0x60, KBC_COMMAND = 0x64 };

struct kbc {
    uint8_t command_byte;
    uint8_t output_port; // bit 0 reset (low active), bit 1 A20
    uint8_t data;        // the answer of the last command
    bool full;           // data waits
    bool line;           // IRQ 1
    uint8_t pending;     // command whose parameter comes next, 0: none
    uint8_t stale;       // bytes of 0xFF still to be read, see kbc.c
};

void kbc_init(struct kbc *k);
uint8_t kbc_read(struct kbc *k, uint16_t port);
bool kbc_write(struct kbc *k, uint16_t port, uint8_t value); // true: the CPU is reset

#endif
