// The framebuffer's glass: every form of pixel, lines longer than what is seen, and a place
// above 4 GiB.
// sources: none
#include "check.h"

#include <stdint.h>
#include <stdlib.h>

// A process has no ports: the source is included with instructions of its own.
#define VIPERVISOR_CPU_INSN_H
static void outb(uint16_t port, uint8_t value) {
    (void)port;
    (void)value;
}

#include "cpu/display.c"

struct bootinfo bootinfo;
static const struct screen_glass *opened;

bool screen_present(void) {
    return opened != NULL;
}

void screen_open(const struct screen_glass *glass) {
    opened = glass;
}

enum { HEIGHT = FONT_HEIGHT * 3 + 5, PADDING = 12, UNTOUCHED = 0xA5 };

static uint8_t *memory;
static size_t bytes_there;

static void framebuffer(unsigned bits, unsigned width, unsigned padding) {
    bool small = bits < 24;
    unsigned pitch = width * ((bits + 7) / 8) + padding;
    bytes_there = (size_t)pitch * HEIGHT;
    free(memory);
    memory = malloc(bytes_there); // exactly: the sanitizer sees a byte too far
    memset(memory, UNTOUCHED, bytes_there);
    bootinfo.framebuffer = (struct boot_framebuffer) {
        .base = (uintptr_t)memory, .pitch = pitch, .width = width, .height = HEIGHT,
        .kind = FRAMEBUFFER_RGB, .bits = (uint8_t)bits,
        .red_size = small ? 5 : 8, .green_size = small ? (uint8_t)(bits == 16 ? 6 : 5) : 8,
        .blue_size = small ? 5 : 8, .green_position = small ? 5 : 8,
        .red_position = bits == 16 ? 11 : small ? 10 : 16,
    };
    opened = NULL;
}

static uint32_t pixel(unsigned x, unsigned y) {
    const struct boot_framebuffer *f = &bootinfo.framebuffer;
    unsigned size = (f->bits + 7u) / 8;
    uint32_t value = 0;
    memcpy(&value, memory + (size_t)y * f->pitch + x * size, size);
    return value;
}

static void padding_is_untouched(void) {
    const struct boot_framebuffer *f = &bootinfo.framebuffer;
    unsigned seen = f->width * ((f->bits + 7u) / 8), changed = 0;
    for (unsigned y = 0; y < f->height; y++) {
        for (unsigned x = seen; x < f->pitch; x++) {
            changed += memory[(size_t)y * f->pitch + x] != UNTOUCHED;
        }
    }
    EQUAL(changed, 0);
}

// A cell's pixels are the letter's, in the two colours, and no other pixel is changed.
static void shows(unsigned row, unsigned column, char letter, uint32_t fore, uint32_t back, unsigned size) {
    const struct boot_framebuffer *f = &bootinfo.framebuffer;
    unsigned wrong = 0, top = row * FONT_HEIGHT * size, left = column * GLYPH_WIDTH * size;
    for (unsigned y = 0; y < f->height; y++) {
        for (unsigned x = 0; x < f->width; x++) {
            uint32_t want = 0;
            if (y >= top && y < top + FONT_HEIGHT * size && x >= left && x < left + GLYPH_WIDTH * size) {
                unsigned bit = GLYPH_WIDTH - 1 - (x - left) / size;
                want = font[letter - FONT_FIRST][(y - top) / size] >> bit & 1 ? fore : back;
            }
            wrong += pixel(x, y) != want;
        }
    }
    EQUAL(wrong, 0);
    padding_is_untouched();
}

// Bright red on blue, in the last cell of a screen of three by ten.
static void variant(unsigned bits, unsigned padding, uint32_t fore, uint32_t back) {
    framebuffer(bits, 10 * GLYPH_WIDTH, padding);
    display_init();
    CHECK(opened != NULL);
    EQUAL(opened->rows, 3);
    EQUAL(opened->columns, 10);
    opened->draw(2, 9, (SCREEN_BRIGHT | 4) << SCREEN_ATTRIBUTE_SHIFT | 1 << 12 | 'R');
    shows(2, 9, 'R', fore, back, 1);
}

CASE(above_4_gib_it_waits_for_the_monitors_own_tables) {
    framebuffer(32, 10 * GLYPH_WIDTH, 0);
    CHECK((uintptr_t)memory >= FOUR_GIB); // as a process' memory is
    display_init();
    CHECK(opened == NULL);
    EQUAL(memory[0], UNTOUCHED);
    size_t size;
    EQUAL(display_framebuffer(&size), (uintptr_t)memory); // what paging maps
    EQUAL(size, bytes_there);
    display_init();
    CHECK(opened != NULL);
    EQUAL(pixel(0, 0), 0);
}

CASE(pixels_of_32_bits) {
    variant(32, 0, 0xFF5555, 0x0000AA);
    variant(32, PADDING, 0xFF5555, 0x0000AA);
}

CASE(pixels_of_24_bits) {
    variant(24, 0, 0xFF5555, 0x0000AA);
    variant(24, PADDING + 1, 0xFF5555, 0x0000AA); // lines at odd addresses
}

CASE(pixels_of_16_bits) {
    variant(16, 0, 31 << 11 | 21 << 5 | 10, 20);
    variant(16, PADDING, 31 << 11 | 21 << 5 | 10, 20);
}

CASE(pixels_of_15_bits) {
    variant(15, PADDING, 31 << 10 | 10 << 5 | 10, 20);
}

CASE(a_width_that_is_no_whole_number_of_cells_or_words) {
    framebuffer(24, 10 * GLYPH_WIDTH + 3, PADDING);
    display_init();
    EQUAL(opened->columns, 10);
    opened->draw(0, 0, SCREEN_GREY << SCREEN_ATTRIBUTE_SHIFT | '#');
    shows(0, 0, '#', 0xAAAAAA, 0, 1);
}

CASE(a_wide_screen_has_letters_of_twice_the_size) {
    framebuffer(16, WIDE, PADDING);
    display_init();
    EQUAL(opened->rows, 1);
    EQUAL(opened->columns, WIDE / 2 / GLYPH_WIDTH < SCREEN_COLUMNS_MAX ? WIDE / 2 / GLYPH_WIDTH : SCREEN_COLUMNS_MAX);
    opened->draw(0, 1, 15 << SCREEN_ATTRIBUTE_SHIFT | 'W');
    shows(0, 1, 'W', 0xFFFF, 0, 2);
}

CASE(too_few_lines_for_a_row_are_no_screen) {
    framebuffer(32, 10 * GLYPH_WIDTH, 0);
    bootinfo.framebuffer.height = FONT_HEIGHT - 1;
    display_init();
    CHECK(opened == NULL);
    EQUAL(memory[0], UNTOUCHED);
    free(memory);
    memory = NULL;
}
