// An interrupt-driven 16550 with a ring for each way.
#ifndef VIPERVISOR_PORT_SERIAL_H
#define VIPERVISOR_PORT_SERIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERIAL_COM1 0x3F8
#define SERIAL_COM2 0x2F8
#define SERIAL_COM1_IRQ 4
#define SERIAL_COM2_IRQ 3

struct serial {
    uint16_t port;
    bool present;
    bool rx_stopped; // the receive ring is full: the sender waits in the UART
    bool tx_busy; // the transmit interrupt is on
    uint32_t rx_size, tx_size; // powers of two
    uint8_t *rx, *tx;
    // Positions count bytes since boot; the interrupt handler moves rx_head and tx_tail.
    volatile uint32_t rx_head, rx_tail, tx_head, tx_tail;
    // Called for each byte received; true: it is consumed and not stored.
    bool (*filter)(uint8_t byte);
};

// 115200 8N1, FIFOs on. Without a UART at the port `present` stays false, nothing
// is ever received and what is written is dropped.
void serial_init(struct serial *s, uint8_t irq, void (*handler)(void));
// Moves bytes both ways; the interrupt handler, and harmless at any other time.
void serial_service(struct serial *s);

static inline bool serial_has_input(const struct serial *s) {
    return s->rx_head != s->rx_tail;
}
int serial_getc(struct serial *s); // -1: nothing there
// Drops all that was received and not read; for the filter.
void serial_drop(struct serial *s);
// Drops what was received up to and with the first `byte`; false: there is none.
bool serial_drop_to(struct serial *s, uint8_t byte);
uint32_t serial_tx_room(const struct serial *s);
// Queues at most tx_room bytes; returns how many.
size_t serial_queue(struct serial *s, const uint8_t *data, size_t size);
// Waits until the last bit has left the UART, at most `ms`.
void serial_flush(struct serial *s, uint32_t ms);

#endif
