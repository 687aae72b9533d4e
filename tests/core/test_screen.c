// The screen's cells: what is written, escape sequences, scrolling, and what is drawn.
// sources: none
#include "check.h"

// A process may not turn interrupts off: the source is included with instructions of its own.
#define VIPERVISOR_CPU_INSN_H
static uint64_t now;
static int irqs_off;

static uint64_t irq_save(void) {
    return (uint64_t)irqs_off++;
}

static void irq_restore(uint64_t flags) {
    irqs_off = (int)flags;
}

static void cpu_pause(void) {
}

static uint64_t rdtsc(void) {
    return now;
}

#include "cpu/screen.c"

#define ROWS 4u
#define COLUMNS 10u

static uint16_t seen[ROWS][COLUMNS];
static unsigned drawn, cursor_row, cursor_column;

static void draw(unsigned row, unsigned column, uint16_t drawn_cell) {
    seen[row][column] = drawn_cell;
    drawn++;
}

static void cursor(unsigned row, unsigned column) {
    cursor_row = row;
    cursor_column = column;
}

static const struct screen_glass with_cursor = {ROWS, COLUMNS, draw, cursor};
static const struct screen_glass without_cursor = {ROWS, COLUMNS, draw, NULL};

static void fresh(const struct screen_glass *on) {
    now += UINT64_C(1) << 40;
    screen_open(on);
}

static void say(const char *text) {
    screen_write(text, strlen(text));
    screen_show(false);
}

static const char *row_text(unsigned row) {
    static char text[COLUMNS + 1];
    unsigned length = 0;
    for (unsigned column = 0; column < COLUMNS; column++) {
        text[column] = (char)(seen[row][column] & 0xFF);
        length = text[column] != ' ' ? column + 1 : length;
    }
    text[length] = 0;
    return text;
}

#define SHOWS(row, text) EQUAL(strcmp(row_text(row), text), 0)
#define CURSOR(row, column)                                                                                  \
    do {                                                                                                     \
        EQUAL(cursor_row, row);                                                                              \
        EQUAL(cursor_column, column);                                                                        \
    } while (0)

CASE(nothing_without_a_glass) {
    CHECK(!screen_present());
    say("lost");
    CHECK(!screen_dirty());
}

CASE(text_and_control_characters) {
    fresh(&with_cursor);
    CHECK(screen_present());
    say("ab\tc\r\nd\b\be");
    SHOWS(0, "ab      c");
    SHOWS(1, "e");
    CURSOR(1, 1);
    EQUAL(seen[0][0], SCREEN_GREY << 8 | 'a');
    say("\x07\x01\x7F" "f");
    SHOWS(1, "ef");
    EQUAL(irqs_off, 0);
}

CASE(a_full_row_wraps_with_the_next_character) {
    fresh(&with_cursor);
    say("0123456789");
    CURSOR(0, 9);
    SHOWS(1, "");
    say("\b#");
    SHOWS(0, "01234567#9");
    say("\r0123456789x");
    SHOWS(1, "x");
    fresh(&with_cursor);
    say("0123456789\r\ny");
    SHOWS(1, "y"); // no empty row between
}

CASE(the_last_row_scrolls) {
    fresh(&with_cursor);
    say("1\r\n2\r\n3\r\n4\r\n5");
    SHOWS(0, "2");
    SHOWS(3, "5");
    say("\n6");
    SHOWS(2, "5");
    SHOWS(3, " 6");
}

CASE(a_line_editor_s_sequences) {
    fresh(&with_cursor);
    say(">>> abc\x1b[2D\x1b[K");
    SHOWS(0, ">>> a");
    CURSOR(0, 5);
    say("\x1b[C\x1b[Cz");
    SHOWS(0, ">>> a  z");
    say("\r\x1b[K.");
    SHOWS(0, ".");
    say("\x1b[3;4Hx\x1b[A\x1b[Dy\x1b[Gw\x1b[Bv");
    SHOWS(2, " v x");
    SHOWS(1, "w  y");
    say("\x1b[2;1Habcdef\x1b[2;2H\x1b[2P");
    SHOWS(1, "adef");
    say("\x1b[s\x1b[H*\x1b[u+");
    SHOWS(0, "*");
    SHOWS(1, "a+ef");
}

CASE(erasing) {
    fresh(&with_cursor);
    say("aaaa\r\nbbbb\r\ncccc\x1b[2;3H\x1b[1K");
    SHOWS(1, "   b");
    say("\x1b[J");
    SHOWS(0, "aaaa");
    SHOWS(1, "");
    SHOWS(2, "");
    say("\x1b[2;1Hbb\x1b[1J");
    SHOWS(0, "");
    SHOWS(1, "");
    say("xx\x1b[2J");
    SHOWS(1, "");
}

CASE(moves_stay_on_the_screen) {
    fresh(&with_cursor);
    say("\x1b[99;99Hz\x1b[99Aa\x1b[99Db\x1b[0;0Hc");
    SHOWS(3, "         z");
    SHOWS(0, "c        a");
    say("\x1b[999999999999999999C\x1b[999999999999B!");
    SHOWS(3, "         !");
    say("\x1b[1;1;1;1;1;1;1;1;1;1;1;1;1;1H#");
    SHOWS(0, "#        a");
}

CASE(colours) {
    fresh(&with_cursor);
    say("\x1b[31ma\x1b[1;44mb\x1b[0mc\x1b[7md\x1b[me\x1b[96mf");
    EQUAL(seen[0][0] >> 8, 0x04);
    EQUAL(seen[0][1] >> 8, 0x1C);
    EQUAL(seen[0][2] >> 8, 0x07);
    EQUAL(seen[0][3] >> 8, 0x70);
    EQUAL(seen[0][4] >> 8, 0x07);
    EQUAL(seen[0][5] >> 8, 0x0B);
}

CASE(other_sequences_and_letters_leave_no_rubbish) {
    fresh(&with_cursor);
    say("\x1b[?25l\x1b[6n\x1b[4h\x1b" "7a\xC3\xA4\xE2\x82\xAC");
    SHOWS(0, "a??");
    say("\x1b[12\r!"); // broken off
    SHOWS(0, "a?\?!");
}

CASE(only_what_changes_is_drawn) {
    fresh(&with_cursor);
    drawn = 0;
    say("abc");
    EQUAL(drawn, 3);
    say("\rabd");
    EQUAL(drawn, 4);
    screen_show(false);
    EQUAL(drawn, 4);
}

CASE(a_cursor_of_its_own_is_an_inverted_cell) {
    fresh(&without_cursor);
    say("ab");
    EQUAL(seen[0][2], 0x7000 | ' ');
    say("\b");
    EQUAL(seen[0][1], 0x7000 | 'b');
    EQUAL(seen[0][2], 0x0700 | ' ');
    say("\r\n");
    EQUAL(seen[0][1], 0x0700 | 'b');
    EQUAL(seen[1][0], 0x7000 | ' ');
    say("0123456789");
    EQUAL(seen[1][9], 0x7000 | '9');
    say("x");
    EQUAL(seen[1][9], 0x0700 | '9');
}

CASE(a_flood_is_drawn_now_and_then) {
    fresh(&with_cursor);
    say("1\r\n2\r\n3\r\n4");
    screen_write("\r\n5", 3);
    screen_show(true); // it scrolled, and the last picture is new
    SHOWS(3, "4");
    CHECK(screen_dirty());
    now += SHOW_EVERY;
    screen_show(true);
    SHOWS(3, "5");
    CHECK(!screen_dirty());
    screen_write("6", 1);
    screen_show(true); // little to draw: at once
    SHOWS(3, "56");
}
