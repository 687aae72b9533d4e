// VGA: IBM VGA registers as FreeVGA and every PC has them; framebuffer: multiboot 2,
// section 3.6.12.
#include "cpu/display.h"

#include <stdbool.h>

#include "boot/bootinfo.h"
#include "cpu/insn.h"
#include "cpu/log.h"
#include "cpu/screen.h"
#include "font.h"

enum {
    VGA_TEXT = 0xB8000, VGA_ROWS = 25, VGA_COLUMNS = 80,
    CRTC_INDEX = 0x3D4, CRTC_DATA = 0x3D5,
    CRTC_CURSOR_START = 0x0A, CRTC_CURSOR_END = 0x0B, CRTC_CURSOR_HIGH = 0x0E, CRTC_CURSOR_LOW = 0x0F,
    CURSOR_FIRST_LINE = 14, CURSOR_LAST_LINE = 15, // of a character's 16
    PROBE_1 = 0x0741, PROBE_2 = 0x0754,
    GLYPH_WIDTH = 8,
    WIDE = 2000, // from this many pixels on a character has twice its size
};
#define FOUR_GIB (UINT64_C(1) << 32)

// ---- VGA text ----

static volatile uint16_t *const vga = (volatile uint16_t *)VGA_TEXT;

static void vga_draw(unsigned row, unsigned column, uint16_t cell) {
    vga[row * VGA_COLUMNS + column] = cell;
}

static void crtc(uint8_t index, unsigned value) {
    outb(CRTC_INDEX, index);
    outb(CRTC_DATA, (uint8_t)value);
}

static void vga_cursor(unsigned row, unsigned column) {
    unsigned place = row * VGA_COLUMNS + column;
    crtc(CRTC_CURSOR_HIGH, place >> 8);
    crtc(CRTC_CURSOR_LOW, place);
}

static const struct screen_glass vga_glass = { VGA_ROWS, VGA_COLUMNS, vga_draw, vga_cursor };

// Without a VGA nothing answers there, and nothing keeps what is written.
static bool vga_answers(void) {
    uint16_t before = vga[0];
    vga[0] = PROBE_1;
    bool good = vga[0] == PROBE_1;
    vga[0] = PROBE_2;
    good = good && vga[0] == PROBE_2;
    vga[0] = before;
    return good;
}

// ---- Framebuffer ----

static struct screen_glass pixel_glass;
static unsigned scale;
static uint32_t palette[16];

static uint32_t component(unsigned level, uint8_t position, uint8_t bits) {
    return bits == 0 ? 0 : (uint32_t)((uint64_t)level * ((UINT64_C(1) << bits) - 1) / 255) << position;
}

// The VGA's sixteen colours in the framebuffer's form.
static void make_palette(const struct boot_framebuffer *f) {
    for (unsigned colour = 0; colour < 16; colour++) {
        unsigned base = colour & SCREEN_BRIGHT ? 0x55 : 0;
        unsigned red = base + (colour & 4 ? 0xAA : 0), green = base + (colour & 2 ? 0xAA : 0);
        unsigned blue = base + (colour & 1 ? 0xAA : 0);
        palette[colour] = component(red, f->red_position, f->red_size)
            | component(green, f->green_position, f->green_size)
            | component(blue, f->blue_position, f->blue_size);
    }
}

static void pixels_draw(unsigned row, unsigned column, uint16_t cell) {
    const struct boot_framebuffer *f = &bootinfo.framebuffer;
    unsigned bytes = (f->bits + 7u) / 8;
    unsigned attribute = cell >> SCREEN_ATTRIBUTE_SHIFT, code = cell & 0xFFu;
    uint32_t fore = palette[attribute & 15], back = palette[attribute >> 4 & 15];
    const uint8_t *glyph = font[code >= FONT_FIRST && code <= FONT_LAST ? code - FONT_FIRST : '?' - FONT_FIRST];
    for (unsigned y = 0; y < FONT_HEIGHT * scale; y++) {
        uintptr_t line = (uintptr_t)f->base + (uintptr_t)(row * FONT_HEIGHT * scale + y) * f->pitch
            + (uintptr_t)column * GLYPH_WIDTH * scale * bytes;
        for (unsigned x = 0; x < GLYPH_WIDTH * scale; x++) {
            uint32_t pixel = glyph[y / scale] >> (GLYPH_WIDTH - 1 - x / scale) & 1 ? fore : back;
            if (bytes == 4) {
                ((volatile uint32_t *)line)[x] = pixel;
                continue;
            }
            for (unsigned byte = 0; byte < bytes; byte++) {
                ((volatile uint8_t *)line)[x * bytes + byte] = (uint8_t)(pixel >> 8 * byte);
            }
        }
    }
}

uint64_t display_framebuffer(size_t *size) {
    const struct boot_framebuffer *f = &bootinfo.framebuffer;
    *size = f->kind == FRAMEBUFFER_RGB ? (size_t)f->pitch * f->height : 0;
    return f->base;
}

static unsigned at_most(unsigned value, unsigned most) {
    return value < most ? value : most;
}

static void open_pixels(const struct boot_framebuffer *f) {
    scale = f->width < WIDE ? 1 : 2;
    pixel_glass.rows = at_most(f->height / (FONT_HEIGHT * scale), SCREEN_ROWS_MAX);
    pixel_glass.columns = at_most(f->width / (GLYPH_WIDTH * scale), SCREEN_COLUMNS_MAX);
    pixel_glass.draw = pixels_draw;
    if (pixel_glass.rows == 0 || pixel_glass.columns == 0) {
        return;
    }
    make_palette(f);
    // What the loader left is not all in cells.
    unsigned bytes = (f->bits + 7u) / 8;
    for (unsigned y = 0; y < f->height; y++) {
        volatile uint8_t *line = (volatile uint8_t *)(uintptr_t)(f->base + (uint64_t)y * f->pitch);
        unsigned width = f->width * bytes, x = 0;
        for (; x < width && (uintptr_t)(line + x) % 4 != 0; x++) { // a line may begin anywhere
            line[x] = 0;
        }
        for (; x + 4 <= width; x += 4) {
            *(volatile uint32_t *)(line + x) = 0;
        }
        for (; x < width; x++) {
            line[x] = 0;
        }
    }
    screen_open(&pixel_glass);
}

void display_init(void) {
    if (screen_present()) {
        return;
    }
    const struct boot_framebuffer *f = &bootinfo.framebuffer;
    static bool mapped; // called a second time: by the monitor's own page tables
    size_t size;
    uint64_t base = display_framebuffer(&size);
    if (size != 0 && (mapped || base + size <= FOUR_GIB)) {
        open_pixels(f);
    } else if (f->kind == FRAMEBUFFER_TEXT && vga_answers()) {
        crtc(CRTC_CURSOR_START, CURSOR_FIRST_LINE);
        crtc(CRTC_CURSOR_END, CURSOR_LAST_LINE);
        screen_open(&vga_glass);
    }
    mapped = true;
}
