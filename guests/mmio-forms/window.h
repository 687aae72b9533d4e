// Windows of two pages whose backing changes: RAM, or the test device's memory.
#ifndef MMIO_FORMS_WINDOW_H
#define MMIO_FORMS_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

enum backing { MEMORY, DEVICE };

#define WINDOW_A 0x80010000ull
#define WINDOW_B 0x80020000ull
#define WINDOW_SIZE 0x2000
#define DEVICE_MEMORY 0xFF000000ull

// One window: its RAM, its device memory, what it held at first, what the CPU made of it.
struct window {
    uint64_t linear, device;
    uint8_t *ram, *initial, *due;
    bool mapped_device[2];
};
extern struct window window_a, window_b;

bool device_present(void);
void windows_init(void);
// What follows touches no more than `reach` bytes on either side of an offset.
void windows_use(uint64_t around, uint64_t reach);
uint64_t random_number(void);
void window_fill(struct window *w); // new random contents
void window_zero(struct window *w); // or zeros
// Maps the pages and puts the initial contents there.
void window_map(struct window *w, enum backing first, enum backing second);
void window_keep(struct window *w); // what it holds now is what was due
bool window_same(struct window *w);
uint64_t window_difference(struct window *w); // the offset

#endif
