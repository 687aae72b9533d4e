// The machine's own screen as text cells: what is written to it, with the escape
// sequences that a line editor and a shell use, and what of it still has to be drawn.
#ifndef VIPERVISOR_CPU_SCREEN_H
#define VIPERVISOR_CPU_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCREEN_ROWS_MAX 100u
#define SCREEN_COLUMNS_MAX 256u
#define SCREEN_NO_CURSOR UINT16_MAX

// A cell: the character's code, and the VGA's attribute byte above it.
enum { SCREEN_GREY = 0x07, SCREEN_BLACK = 0x00, SCREEN_BRIGHT = 0x08, SCREEN_ATTRIBUTE_SHIFT = 8 };

// What cells are drawn on.
struct screen_glass {
    unsigned rows, columns;
    void (*draw)(unsigned row, unsigned column, uint16_t cell);
    // Where the cursor is from now on; NULL: it is drawn as an inverted cell.
    void (*cursor)(unsigned row, unsigned column);
};

// From now on everything written appears on `glass`, which is cleared; without one
// (the beginning) what is written is dropped.
void screen_open(const struct screen_glass *glass);
bool screen_present(void);

// Any CPU, any context. Characters are ASCII, others are shown as "?"; a line feed does
// not return the carriage.
void screen_write(const char *text, size_t size);
// Draws what has changed since the last time. With `due`, only when that is little or
// some time ago: a flood of lines is not drawn line by line.
void screen_show(bool due);
// Something waits to be drawn.
bool screen_dirty(void);
// For a panic: whoever holds the screen does not go on.
void screen_break_lock(void);

#endif
