// The 16550A at COM1. National Semiconductor PC16550D data sheet.
//
// A byte written goes to the console at once. The console's back-pressure shows as
// THRE staying clear, as if the line were slow.
#ifndef VIPERVISOR_DEV_UART_H
#define VIPERVISOR_DEV_UART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dev/console.h"

#define UART_FIFO 16

// Registers, as offsets from the base port.
enum {
    UART_DATA = 0, // RBR, THR; DLL with DLAB
    UART_IER = 1,  // DLM with DLAB
    UART_IIR = 2,  // FCR when written
    UART_LCR = 3,
    UART_MCR = 4,
    UART_LSR = 5,
    UART_MSR = 6,
    UART_SCR = 7,
};

struct uart {
    uint8_t ier, lcr, mcr, msr, scr, dll, dlm;
    bool fifo;
    uint8_t trigger; // received bytes that make an interrupt
    uint8_t overrun; // LSR_OE or 0
    bool thre_latch; // THRE is to be reported as an interrupt
    bool stalled;    // the console asks to wait: THRE is clear
    bool line;       // INTR as it reaches the interrupt controller
    bool fell;       // the line was low since `changed` was last taken
    bool changed;    // the line moved: platform.c passes it on
    uint8_t rx_first, rx_count;
    uint8_t rx[UART_FIFO];
    uint8_t rx_error[UART_FIFO]; // LSR bits that belong to the byte
};

_Static_assert(offsetof(struct uart, ier) == 0 && offsetof(struct uart, lcr) == 1 && offsetof(struct uart, mcr) == 2,
    "uart_write_polled reads the three at once");

void uart_init(struct uart *u);
uint8_t uart_read(struct uart *u, struct console *c, uint8_t reg);
// False: the console is full to the last byte and nothing was done.
bool uart_write(struct uart *u, struct console *c, uint8_t reg, uint8_t value);
// The hot write: a byte to THR by a polling driver, which moves no line. False: it is
// not that simple, ask uart_write.
static inline bool uart_write_polled(const struct uart *u, struct console *c, uint8_t value) {
    // IER, LCR (DLAB) and MCR (loopback) at once.
    const uint32_t busy = 0xFF | 0x80 << 8 | 0x10 << 16;
    uint32_t registers;
    __builtin_memcpy(&registers, u, sizeof registers);
    if ((registers & busy) != 0 || u->stalled || console_full(c)) {
        return false;
    }
    console_put_room(c, value);
    return true;
}
// Moves typed bytes in and looks whether the console has room again.
void uart_poll(struct uart *u, struct console *c);

#endif
