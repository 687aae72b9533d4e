#include "cpu/screen.h"

#include "cpu/insn.h"
#include "cpu/string.h"

enum {
    ESCAPE = 0x1B, DELETE = 0x7F, TAB_STOP = 8,
    UTF8_FOLLOWS = 0x80, UTF8_STARTS = 0xC0, // of a byte's two upper bits
    PARAMETERS = 8, PARAMETER_MOST = 9999,
    NOT_DRAWN = 0xFFFF, // no cell looks like this
};

// Cycles between two pictures of a flood: 10 to 40 ms, whatever the CPU.
#define SHOW_EVERY UINT64_C(40000000)

static const struct screen_glass *glass;
static uint16_t want[SCREEN_ROWS_MAX][SCREEN_COLUMNS_MAX], shown[SCREEN_ROWS_MAX][SCREEN_COLUMNS_MAX];
static bool row_dirty[SCREEN_ROWS_MAX];
static volatile bool dirty;
static bool scrolled; // since the last show
static uint64_t shown_at;
static volatile uint32_t lock;

static struct {
    unsigned row, column;
    bool at_end; // behind the last column: the next character goes to the next row
    unsigned saved_row, saved_column;
    unsigned colour, background;
    bool bright, inverse;
    enum { PLAIN, AFTER_ESCAPE, IN_SEQUENCE } state;
    bool private; // "ESC [ ?": modes that a text screen has not
    unsigned parameters[PARAMETERS], count;
} at;

static uint64_t take(void) {
    uint64_t flags = irq_save();
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE) != 0) {
        cpu_pause();
    }
    return flags;
}

static void give(uint64_t flags) {
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
    irq_restore(flags);
}

void screen_break_lock(void) {
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

bool screen_present(void) {
    return glass != NULL;
}

bool screen_dirty(void) {
    return dirty;
}

// ---- Cells ----

static uint16_t cell(unsigned code) {
    unsigned fore = at.colour | (at.bright ? SCREEN_BRIGHT : 0u);
    unsigned attribute = at.inverse ? at.background | at.colour << 4 : fore | at.background << 4;
    return (uint16_t)(attribute << SCREEN_ATTRIBUTE_SHIFT | code);
}

static uint16_t blank(void) {
    return (uint16_t)((at.background << 4 | SCREEN_GREY) << SCREEN_ATTRIBUTE_SHIFT | ' ');
}

static void touch(unsigned row) {
    row_dirty[row] = true;
    dirty = true;
}

static void erase(unsigned row, unsigned from, unsigned to) {
    for (unsigned column = from; column < to; column++) {
        want[row][column] = blank();
    }
    touch(row);
}

static void line_feed(void) {
    if (at.row + 1 < glass->rows) {
        at.row++;
        return;
    }
    memmove(want[0], want[1], sizeof(want[0]) * (glass->rows - 1));
    for (unsigned row = 0; row < glass->rows; row++) {
        touch(row);
    }
    scrolled = true;
    erase(glass->rows - 1, 0, glass->columns);
}

static void put(unsigned code) {
    if (at.at_end) {
        at.at_end = false;
        at.column = 0;
        touch(at.row);
        line_feed();
    }
    want[at.row][at.column] = cell(code);
    touch(at.row);
    if (at.column + 1 == glass->columns) {
        at.at_end = true;
    } else {
        at.column++;
    }
}

static void go(unsigned row, unsigned column) {
    touch(at.row);
    at.row = row < glass->rows ? row : glass->rows - 1;
    at.column = column < glass->columns ? column : glass->columns - 1;
    at.at_end = false;
    touch(at.row);
}

// ---- Escape sequences (ECMA-48, section 8.3) ----

// A parameter; none and 0 are `otherwise`.
static unsigned parameter(unsigned index, unsigned otherwise) {
    return index < at.count && at.parameters[index] != 0 ? at.parameters[index] : otherwise;
}

static unsigned less(unsigned value, unsigned by) {
    return value > by ? value - by : 0;
}

static void set_colours(void) {
    // ECMA-48 counts red, green, blue from bit 0, the VGA blue, green, red.
    static const uint8_t vga[8] = { 0, 4, 2, 6, 1, 5, 3, 7 };
    for (unsigned i = 0; i < (at.count == 0 ? 1 : at.count); i++) {
        unsigned p = parameter(i, 0);
        if (p == 0) {
            at.colour = SCREEN_GREY;
            at.background = SCREEN_BLACK;
            at.bright = at.inverse = false;
        } else if (p == 1) {
            at.bright = true;
        } else if (p == 22) {
            at.bright = false;
        } else if (p == 7 || p == 27) {
            at.inverse = p == 7;
        } else if (p >= 30 && p <= 37) {
            at.colour = vga[p - 30];
        } else if (p == 39) {
            at.colour = SCREEN_GREY;
        } else if (p >= 40 && p <= 47) {
            at.background = vga[p - 40];
        } else if (p == 49) {
            at.background = SCREEN_BLACK;
        } else if (p >= 90 && p <= 97) {
            at.colour = vga[p - 90];
            at.bright = true;
        }
    }
}

static void erase_line(unsigned what) {
    unsigned from = what == 0 ? at.column : 0;
    erase(at.row, from, what == 1 ? at.column + 1 : glass->columns);
}

static void erase_screen(unsigned what) {
    unsigned first = what == 0 ? at.row + 1 : 0, end = what == 1 ? at.row : glass->rows;
    if (what < 2) {
        erase_line(what);
    }
    for (unsigned row = first; row < end; row++) {
        erase(row, 0, glass->columns);
    }
}

static void delete_characters(unsigned count) {
    unsigned left = glass->columns - at.column;
    count = count < left ? count : left;
    uint16_t *here = &want[at.row][at.column];
    memmove(here, here + count, (left - count) * sizeof(*here));
    erase(at.row, glass->columns - count, glass->columns);
}

static void sequence(char final) {
    unsigned n = parameter(0, 1);
    switch (final) {
        case 'A':
            go(less(at.row, n), at.column);
            break;
        case 'B':
            go(at.row + n, at.column);
            break;
        case 'C':
            go(at.row, at.column + n);
            break;
        case 'D':
            go(at.row, less(at.column, n));
            break;
        case 'G':
            go(at.row, n - 1);
            break;
        case 'H':
        case 'f':
            go(n - 1, parameter(1, 1) - 1);
            break;
        case 'J':
            erase_screen(parameter(0, 0));
            break;
        case 'K':
            erase_line(parameter(0, 0));
            break;
        case 'P':
            delete_characters(n);
            break;
        case 'm':
            set_colours();
            break;
        case 's':
            at.saved_row = at.row;
            at.saved_column = at.column;
            break;
        case 'u':
            go(at.saved_row, at.saved_column);
            break;
        default:
            break; // what a text screen cannot do
    }
}

static void in_sequence(uint8_t c) {
    if (c >= '0' && c <= '9') {
        at.count = at.count == 0 ? 1 : at.count;
        unsigned *p = &at.parameters[at.count - 1];
        *p = *p * 10 + (c - '0');
        *p = *p > PARAMETER_MOST ? PARAMETER_MOST : *p;
    } else if (c == ';') {
        at.count = at.count == 0 ? 2 : at.count + 1;
        if (at.count > PARAMETERS) {
            at.count = PARAMETERS;
        }
        at.parameters[at.count - 1] = 0;
    } else if (c >= '<' && c <= '?') {
        at.private = true;
    } else if (c >= '@' && c < DELETE) {
        at.state = PLAIN;
        if (!at.private) {
            sequence((char)c);
        }
    } else if (c >= DELETE || c < ' ') {
        at.state = PLAIN; // no sequence after all
    }
}

static void plain(uint8_t c) {
    switch (c) {
        case '\n':
            touch(at.row);
            at.at_end = false;
            line_feed();
            touch(at.row);
            break;
        case '\r':
            go(at.row, 0);
            break;
        case '\b':
            go(at.row, less(at.column, 1));
            break;
        case '\t':
            go(at.row, (at.column / TAB_STOP + 1) * TAB_STOP);
            break;
        case ESCAPE:
            at.state = AFTER_ESCAPE;
            break;
        default:
            if (c >= UTF8_STARTS) {
                put('?'); // and the bytes that follow it are skipped
            } else if (c >= ' ' && c < DELETE) {
                put(c);
            }
            break;
    }
}

void screen_write(const char *text, size_t size) {
    if (glass == NULL) {
        return;
    }
    uint64_t flags = take();
    for (size_t i = 0; i < size; i++) {
        uint8_t c = (uint8_t)text[i];
        if (at.state == AFTER_ESCAPE) {
            at.state = c == '[' ? IN_SEQUENCE : PLAIN;
            at.private = false;
            at.count = 0;
            at.parameters[0] = 0;
        } else if (at.state == IN_SEQUENCE) {
            in_sequence(c);
        } else {
            plain(c);
        }
    }
    give(flags);
}

// ---- The glass ----

void screen_open(const struct screen_glass *new_glass) {
    uint64_t flags = take();
    glass = new_glass;
    at.row = at.column = at.saved_row = at.saved_column = 0;
    at.at_end = at.bright = at.inverse = false;
    at.state = PLAIN;
    at.colour = SCREEN_GREY;
    at.background = SCREEN_BLACK;
    for (unsigned row = 0; glass != NULL && row < glass->rows; row++) {
        for (unsigned column = 0; column < glass->columns; column++) {
            shown[row][column] = NOT_DRAWN;
        }
        erase(row, 0, glass->columns);
    }
    give(flags);
    screen_show(false);
}

static uint16_t inverted(uint16_t cell_) {
    unsigned attribute = cell_ >> SCREEN_ATTRIBUTE_SHIFT;
    attribute = (attribute >> 4 & 7u) | (attribute << 4 & 0x70u);
    return (uint16_t)(attribute << SCREEN_ATTRIBUTE_SHIFT | (cell_ & 0xFFu));
}

static void show_row(unsigned row) {
    for (unsigned column = 0; column < glass->columns; column++) {
        uint16_t new = want[row][column];
        if (glass->cursor == NULL && row == at.row && column == at.column) {
            new = inverted(new);
        }
        if (new != shown[row][column]) {
            shown[row][column] = new;
            glass->draw(row, column, new);
        }
    }
}

void screen_show(bool due) {
    if (glass == NULL || !dirty) {
        return;
    }
    if (due && scrolled && rdtsc() - shown_at < SHOW_EVERY) {
        return;
    }
    // A row at a time: interrupts are off meanwhile, and drawing can be slow.
    for (unsigned row = 0; row < glass->rows; row++) {
        uint64_t flags = take();
        if (row == 0) {
            dirty = false;
            scrolled = false;
        }
        if (row_dirty[row]) {
            row_dirty[row] = false;
            show_row(row);
        }
        if (row + 1 == glass->rows && glass->cursor != NULL) {
            glass->cursor(at.row, at.column);
        }
        give(flags);
    }
    shown_at = rdtsc();
}
