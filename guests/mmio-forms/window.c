#include "window.h"
#include "guest.h"
#include "paging.h"

enum { PORT_ECHO = 0xE0, ALL_FIRST = 0xD00, ALL_END = 0x1200 };
static uint64_t used_first = ALL_FIRST, used_end = ALL_END; // what the test may touch

static uint8_t pages[6][WINDOW_SIZE] __attribute__((aligned(4096)));
struct window window_a = { WINDOW_A, DEVICE_MEMORY, pages[0], pages[1], pages[2], { false, false } };
struct window window_b = { WINDOW_B, DEVICE_MEMORY + WINDOW_SIZE, pages[3], pages[4], pages[5], { false, false } };

bool device_present(void) {
    outl(PORT_ECHO, 0x13579BDF);
    return inl(PORT_ECHO) == 0x13579BDF;
}

uint64_t random_number(void) { // xorshift64*
    static uint64_t x = 0x9E3779B97F4A7C15ull;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    return x * 0x2545F4914F6CDD1Dull;
}

void windows_use(uint64_t around, uint64_t reach) {
    const uint64_t mask = ~(uint64_t)7;
    used_first = (around - reach) & mask;
    used_end = (around + reach) & mask;
}

void windows_init(void) {
    window_map(&window_a, MEMORY, MEMORY);
    window_map(&window_b, MEMORY, MEMORY);
}

static void copy(void *to, const void *from, uint64_t size) {
    uint64_t count = size / 8;
    __asm__ volatile ("rep movsq" : "+D" (to), "+S" (from), "+c" (count) : : "memory");
}

static uint64_t physical(const struct window *w, unsigned page) {
    return (w->mapped_device[page] ? w->device : (uint64_t)w->ram) + page * PAGE_SIZE;
}

void window_fill(struct window *w) {
    for (uint64_t i = used_first; i < used_end; i += 8) {
        *(uint64_t *)(w->initial + i) = random_number();
    }
}

void window_zero(struct window *w) {
    memset(w->initial, 0, WINDOW_SIZE);
}

// The pages as they are mapped, through their identity mapping.
static void each_page(struct window *w, uint8_t *other, bool out) {
    for (unsigned page = 0; page < 2; page++) {
        uint64_t start = page * PAGE_SIZE, first = used_first > start ? used_first - start : 0;
        uint64_t end = used_end > start + PAGE_SIZE ? PAGE_SIZE : used_end > start ? used_end - start : 0;
        if (first >= end) {
            continue;
        }
        uint8_t *at = (uint8_t *)physical(w, page) + first;
        uint8_t *there = other + page * PAGE_SIZE + first;
        copy(out ? at : there, out ? there : at, end - first);
    }
}

void window_map(struct window *w, enum backing first, enum backing second) {
    w->mapped_device[0] = first == DEVICE;
    w->mapped_device[1] = second == DEVICE;
    for (unsigned page = 0; page < 2; page++) {
        page_set(w->linear + page * PAGE_SIZE, physical(w, page) | PTE_PRESENT_WRITE_USER);
    }
    each_page(w, w->initial, true);
}

void window_keep(struct window *w) {
    each_page(w, w->due, false);
}

static uint8_t now[WINDOW_SIZE] __attribute__((aligned(4096)));

bool window_same(struct window *w) {
    each_page(w, now, false);
    return memcmp(now + used_first, w->due + used_first, used_end - used_first) == 0;
}

uint64_t window_difference(struct window *w) {
    uint64_t i = used_first;
    while (i < used_end && now[i] == w->due[i]) {
        i++;
    }
    return i;
}
