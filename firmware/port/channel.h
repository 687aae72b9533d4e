// The framed channel on COM2 (docs/architecture.md, Lines).
#ifndef VIPERVISOR_PORT_CHANNEL_H
#define VIPERVISOR_PORT_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHANNEL_PAYLOAD 1024u

enum channel_type {
    CHANNEL_HELLO = 0x01,
    CHANNEL_CONSOLE_OUT = 0x02,
    CHANNEL_CONSOLE_IN = 0x03,
    CHANNEL_CONSOLE_ACK = 0x04,
    CHANNEL_EVENT = 0x05,
    CHANNEL_EXEC = 0x06,
    CHANNEL_EXEC_OUT = 0x07,
    CHANNEL_EXEC_END = 0x08,
    CHANNEL_ATTACH = 0x09,
    CHANNEL_QUIT = 0x0A,
    CHANNEL_EXEC_STOP = 0x0B,
};

// A frame that Python deals with.
struct channel_frame {
    uint8_t type, stream;
    uint16_t length;
    uint8_t payload[CHANNEL_PAYLOAD];
};

void channel_init(void);
// Takes in what came, sends guests' console output, with bounded work a call; true
// while there is a frame for Python.
bool channel_poll(void);
bool channel_has_input(void); // bytes that channel_poll() has not looked at yet
// The oldest frame for Python, NULL: none; stays valid until channel_take().
const struct channel_frame *channel_next(void);
void channel_take(void);
// Sends one frame, after all console output that was written before it. 0, -ERANGE
// (payload too long), -ETIMEDOUT (the other side reads nothing).
int channel_send(uint8_t type, uint8_t stream, const void *payload, size_t length);
// All console output so far is on its way, or the other side reads nothing.
void channel_drain(void);
// The same, and out of the UART.
void channel_flush(void);

// A guest's slot was filled: its console starts at position 0.
void channel_guest_made(uint32_t id);
// Something was typed for the guest, or read of what it wrote: its UART goes on.
struct guest;
void console_changed(struct guest *g);

#endif
