// A guest's console: what it wrote, kept in a ring with absolute positions so
// that several readers (channel, prompt) follow it, and what was typed for it.
//
// One producer (the CPU that runs the guest) and one consumer side (the control
// CPU): no lock. Positions count bytes since the guest was made.
#ifndef VIPERVISOR_DEV_CONSOLE_H
#define VIPERVISOR_DEV_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONSOLE_OUT_SIZE 65536u // powers of two
#define CONSOLE_IN_SIZE 4096u

struct console {
    volatile uint64_t out_head; // next position to be written
    volatile uint64_t out_tail; // first position the slowest must-not-lose reader still needs
    volatile uint64_t in_head, in_tail;
    uint64_t channel_at; // the channel's reading position
    volatile bool elsewhere; // what is typed goes to a device in Python, not to COM1 here
    volatile bool held; // a must-not-lose reader is attached: a full ring stalls the UART
    uint8_t *out; // CONSOLE_OUT_SIZE
    uint8_t *in; // CONSOLE_IN_SIZE
};

// Producer side. False: the ring is full and held; try later.
bool console_put(struct console *c, uint8_t byte);
// Below this much room the guest is told to wait. It is well above nothing, since
// drivers give up waiting (Linux after 10 ms a byte) and write all the same.
#define CONSOLE_OUT_RESERVE 4096u
static inline bool console_full(const struct console *c) {
    return c->held && c->out_head - c->out_tail >= CONSOLE_OUT_SIZE - 1 - CONSOLE_OUT_RESERVE;
}
int console_getc(struct console *c); // next typed byte, -1: none
bool console_has_input(const struct console *c);

static inline bool console_has_input_for_com1(const struct console *c) {
    return !c->elsewhere && console_has_input(c);
}

// console_put where console_full has just said no.
static inline void console_put_room(struct console *c, uint8_t value) {
    uint64_t head = c->out_head;
    c->out[head % CONSOLE_OUT_SIZE] = value;
    __atomic_store_n(&c->out_head, head + 1, __ATOMIC_RELEASE);
}

// Control side. Copies up to size bytes from *position on, moves *position; a
// position that fell out of the ring is moved up to the oldest byte kept.
size_t console_read(const struct console *c, uint64_t *position, void *to, size_t size);
size_t console_type(struct console *c, const void *from, size_t size); // accepted bytes

#endif
