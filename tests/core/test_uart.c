// The 16550A: what Linux' autoconfig asks, interrupts and their priorities, FIFO,
// loopback, and a console that is full.
// sources: hypervisor/dev/uart.c hypervisor/dev/console.c
#include "check.h"
#include "dev/console.h"
#include "dev/uart.h"

static uint8_t out_bytes[CONSOLE_OUT_SIZE], in_bytes[CONSOLE_IN_SIZE];
static struct console c;
static struct uart u;

enum { IER_ALL = 0x0F, OUT2 = 8, LOOP = 0x10, NONE = 1, MSI = 0, THRI = 2, RDI = 4, RLSI = 6, TIMEOUT = 0xC };

static void start(void) {
    c = (struct console){.out = out_bytes, .in = in_bytes};
    uart_init(&u);
}

static uint8_t rd(uint8_t reg) {
    return uart_read(&u, &c, reg);
}

static void wr(uint8_t reg, uint8_t value) {
    CHECK(uart_write(&u, &c, reg, value));
}

static void type(const char *text) {
    EQUAL(console_type(&c, text, strlen(text)), strlen(text));
    uart_poll(&u, &c);
}

// The line as platform.c passes it on: 1 rose, 2 fell and rose, 3 fell, 0 nothing.
static int line_moves(void) {
    int moves = !u.changed ? 0 : u.fell ? (u.line ? 2 : 3) : 1;
    u.changed = u.fell = false;
    return moves;
}

CASE(after_reset) {
    start();
    EQUAL(rd(UART_LSR), 0x60);
    EQUAL(rd(UART_IIR), NONE);
    EQUAL(rd(UART_IER), 0);
    EQUAL(rd(UART_MCR), 0);
    EQUAL(rd(UART_MSR), 0xB0);
    CHECK(!u.line);
}

CASE(registers_keep_their_bits) {
    start();
    wr(UART_SCR, 0xA5);
    EQUAL(rd(UART_SCR), 0xA5);
    wr(UART_IER, 0xFF); // no 16750 sleep, no XScale UUE
    EQUAL(rd(UART_IER), 0x0F);
    wr(UART_MCR, 0xFF);
    EQUAL(rd(UART_MCR), 0x1F); // no auto flow control
    wr(UART_LCR, 0x93);
    EQUAL(rd(UART_LCR), 0x93);
    wr(UART_DATA, 0x0C);
    wr(UART_IER, 0x34);
    EQUAL(rd(UART_DATA), 0x0C);
    EQUAL(rd(UART_IER), 0x34);
    wr(UART_LCR, 0x13);
    EQUAL(rd(UART_IER), 0x0F);
    EQUAL(c.out_head, 0); // the divisor was not printed
    wr(UART_LSR, 0xFF);
    wr(UART_MSR, 0xFF);
    EQUAL(rd(UART_LSR), 0x60);
}

CASE(bytes_reach_the_console) {
    start();
    for (const char *s = "Linux"; *s; s++) {
        wr(UART_DATA, (uint8_t)*s);
        EQUAL(rd(UART_LSR), 0x60);
    }
    EQUAL(c.out_head, 5);
    EQUAL(memcmp(out_bytes, "Linux", 5), 0);
}

// drivers/tty/serial/8250: autoconfig() and autoconfig_16550a().
CASE(linux_autoconfig_finds_a_16550a) {
    start();
    wr(UART_IER, 0);
    EQUAL(rd(UART_IER) & 0x0F, 0);
    wr(UART_IER, 0x0F);
    EQUAL(rd(UART_IER) & 0x0F, 0x0F);
    wr(UART_IER, 0);
    wr(UART_MCR, LOOP | 0x0A); // loopback test
    EQUAL(rd(UART_MSR) & 0xF0, 0x90);
    wr(UART_MCR, 0);
    wr(UART_LCR, 0xBF);
    wr(UART_IIR, 0);
    wr(UART_LCR, 0);
    wr(UART_IIR, 1);
    EQUAL(rd(UART_IIR) >> 6, 3);
    wr(UART_LCR, 0x80); // an EFR that reads 0 would be a 16650
    CHECK(rd(UART_IIR) != 0);
    wr(UART_LCR, 0xBF);
    CHECK(rd(UART_IIR) != 0);
    wr(UART_LCR, 0);
    wr(UART_IIR, 0x21); // 64 byte FIFO: a 16750 shows bit 5
    EQUAL(rd(UART_IIR) >> 5, 6);
    wr(UART_LCR, 0x80);
    wr(UART_IIR, 0x21);
    wr(UART_LCR, 0);
    EQUAL(rd(UART_IIR) >> 5, 6);
    wr(UART_IER, 0x40); // UUE
    EQUAL(rd(UART_IER), 0);
}

// serial8250_do_startup(): THRE must be told again when IER enables it again.
CASE(linux_thre_test) {
    start();
    wr(UART_IIR, 1);
    wr(UART_MCR, OUT2);
    wr(UART_IER, THRI);
    EQUAL(rd(UART_IIR), 0xC0 | THRI);
    EQUAL(rd(UART_IIR), 0xC0 | NONE); // the read cleared it
    wr(UART_IER, 0);
    wr(UART_IER, THRI);
    EQUAL(rd(UART_IIR), 0xC0 | THRI);
    wr(UART_IER, THRI); // no change: not again
    EQUAL(rd(UART_IIR), 0xC0 | NONE);
    EQUAL(rd(UART_LSR), 0x60);
}

// size_fifo(): how much the receiver holds in loopback.
CASE(linux_fifo_size_is_16) {
    start();
    wr(UART_IIR, 0x07);
    wr(UART_MCR, LOOP);
    for (unsigned i = 0; i < 256; i++) {
        wr(UART_DATA, (uint8_t)i);
    }
    unsigned count = 0;
    while (rd(UART_LSR) & 1) {
        EQUAL(rd(UART_DATA), count);
        CHECK(++count < 256);
    }
    EQUAL(count, 16);
    EQUAL(c.out_head, 0);
}

CASE(each_write_makes_a_fresh_edge) {
    start();
    wr(UART_IIR, 1);
    wr(UART_MCR, OUT2);
    wr(UART_IER, THRI);
    EQUAL(line_moves(), 1);
    wr(UART_DATA, 'a'); // without an IIR read in between
    EQUAL(line_moves(), 2);
    EQUAL(rd(UART_IIR), 0xC0 | THRI);
    EQUAL(line_moves(), 3);
    wr(UART_DATA, 'b');
    EQUAL(line_moves(), 1);
    EQUAL(rd(UART_IIR), 0xC0 | THRI);
    wr(UART_IER, 0);
    line_moves();
    wr(UART_DATA, 'c');
    EQUAL(line_moves(), 0);
    CHECK(!u.line);
}

CASE(out2_gates_the_line) {
    start();
    wr(UART_IER, THRI);
    CHECK(!u.line);
    EQUAL(rd(UART_IIR), THRI); // told all the same
    wr(UART_DATA, 0);
    wr(UART_MCR, OUT2);
    CHECK(u.line);
    wr(UART_MCR, OUT2 | LOOP); // the pin is high in loopback
    CHECK(!u.line);
    wr(UART_MCR, OUT2);
    CHECK(u.line);
    wr(UART_MCR, 0x07);
    CHECK(!u.line);
}

CASE(priorities) {
    start();
    wr(UART_IIR, 0xC1); // trigger 14
    wr(UART_MCR, LOOP);
    wr(UART_IER, IER_ALL);
    rd(UART_MSR);
    wr(UART_MCR, LOOP | 2); // CTS rises
    wr(UART_DATA, 'x');
    wr(UART_LCR, 0x40);                  // break
    EQUAL(rd(UART_IIR), 0xC0 | TIMEOUT); // the break is not at the top yet
    EQUAL(rd(UART_LSR) & 0x91, 0x81);    // an error somewhere in the FIFO
    EQUAL(rd(UART_DATA), 'x');
    EQUAL(rd(UART_IIR), 0xC0 | RLSI);
    EQUAL(rd(UART_LSR), 0xF1);
    EQUAL(rd(UART_LSR), 0x61); // told once
    EQUAL(rd(UART_IIR), 0xC0 | TIMEOUT);
    EQUAL(rd(UART_DATA), 0);
    EQUAL(rd(UART_IIR), 0xC0 | THRI);
    EQUAL(rd(UART_IIR), 0xC0 | MSI);
    EQUAL(rd(UART_MSR), 0x11);
    EQUAL(rd(UART_IIR), 0xC0 | NONE);
}

CASE(received_data_interrupts) {
    start();
    wr(UART_MCR, OUT2);
    wr(UART_IER, 1);
    line_moves();
    type("a");
    EQUAL(line_moves(), 1);
    EQUAL(rd(UART_IIR), RDI);
    EQUAL(rd(UART_LSR), 0x61);
    EQUAL(rd(UART_DATA), 'a');
    EQUAL(line_moves(), 3);
    EQUAL(rd(UART_LSR), 0x60);
    EQUAL(rd(UART_IIR), NONE);
}

CASE(without_a_fifo_each_byte_is_an_edge) {
    start();
    wr(UART_MCR, OUT2);
    wr(UART_IER, 1);
    type("abc");
    EQUAL(line_moves(), 1);
    EQUAL(rd(UART_DATA), 'a');
    EQUAL(line_moves(), 2);
    EQUAL(rd(UART_DATA), 'b');
    EQUAL(line_moves(), 2);
    EQUAL(rd(UART_DATA), 'c');
    EQUAL(line_moves(), 3);
}

CASE(trigger_levels) {
    static const uint8_t levels[] = {1, 4, 8, 14};
    for (unsigned i = 0; i < 4; i++) {
        start();
        wr(UART_IER, 1);
        wr(UART_IIR, (uint8_t)(i << 6 | 1));
        for (unsigned n = 1; n <= 16; n++) {
            type("x");
            EQUAL(rd(UART_IIR), 0xC0 | (n >= levels[i] ? RDI : TIMEOUT));
        }
    }
}

CASE(a_long_line_comes_whole_and_in_order) {
    start();
    wr(UART_IIR, 1);
    wr(UART_MCR, OUT2);
    wr(UART_IER, 1);
    char text[601];
    for (unsigned i = 0; i < 600; i++) {
        text[i] = (char)('a' + i % 26);
    }
    text[600] = 0;
    type(text);
    for (unsigned i = 0; i < 600; i++) {
        EQUAL(rd(UART_LSR), 0x61);
        EQUAL(rd(UART_DATA), (uint8_t)text[i]);
        if (i % 16 == 15 && i < 599) {
            CHECK(line_moves() == 2); // fell before the refill
        }
    }
    EQUAL(rd(UART_LSR), 0x60);
    CHECK(!u.line);
}

CASE(polling_reader_needs_no_help) {
    start();
    console_type(&c, "k", 1); // nobody calls uart_poll
    EQUAL(rd(UART_LSR), 0x61);
    EQUAL(rd(UART_DATA), 'k');
}

CASE(fcr_clears) {
    start();
    wr(UART_IIR, 1);
    type("abc");
    wr(UART_IIR, 0x03);
    EQUAL(rd(UART_LSR), 0x60);
    type("d");
    wr(UART_IIR, 0x02); // enable bit clear: FIFOs off, contents gone
    EQUAL(rd(UART_LSR), 0x60);
    EQUAL(rd(UART_IIR) & 0xC0, 0);
    type("e");
    wr(UART_IIR, 0x05); // clearing the transmitter leaves the receiver; enabling does not
    EQUAL(rd(UART_LSR), 0x60);
    type("f");
    wr(UART_IIR, 0x05);
    EQUAL(rd(UART_LSR), 0x61);
}

CASE(overrun) {
    start();
    wr(UART_MCR, LOOP);
    wr(UART_IER, 4);
    wr(UART_DATA, 'a');
    EQUAL(rd(UART_LSR), 0x61);
    wr(UART_DATA, 'b'); // without a FIFO the newer byte stays
    EQUAL(rd(UART_IIR), RLSI);
    EQUAL(rd(UART_LSR), 0x63);
    EQUAL(rd(UART_LSR), 0x61);
    EQUAL(rd(UART_DATA), 'b');
    wr(UART_IIR, 1);
    for (unsigned i = 0; i < 17; i++) {
        wr(UART_DATA, (uint8_t)i);
    }
    EQUAL(rd(UART_LSR), 0x63);
    EQUAL(rd(UART_DATA), 0); // with one the older bytes stay
}

CASE(typing_never_overruns) {
    start();
    wr(UART_IIR, 1);
    type("0123456789abcdefghij");
    EQUAL(rd(UART_LSR), 0x61);
    EQUAL(u.rx_count, 16);
}

CASE(loopback_cuts_the_line) {
    start();
    wr(UART_IIR, 1);
    wr(UART_MCR, LOOP);
    type("q");
    EQUAL(rd(UART_LSR), 0x60); // waits
    wr(UART_DATA, 'w');
    EQUAL(rd(UART_LSR), 0x61);
    EQUAL(rd(UART_DATA), 'w');
    EQUAL(c.out_head, 0);
    wr(UART_MCR, OUT2);
    EQUAL(rd(UART_LSR), 0x61);
    EQUAL(rd(UART_DATA), 'q');
}

CASE(modem_lines_in_loopback) {
    static const uint8_t lines[4] = {0x20, 0x10, 0x40, 0x80}; // DTR RTS OUT1 OUT2
    static const uint8_t deltas[4] = {2, 1, 4, 8};
    start();
    wr(UART_MCR, LOOP);
    EQUAL(rd(UART_MSR), 0x0B); // DCD, DSR and CTS fell; RI did not
    EQUAL(rd(UART_MSR), 0x00);
    for (unsigned i = 0; i < 4; i++) {
        wr(UART_MCR, (uint8_t)(LOOP | 1u << i));
        EQUAL(rd(UART_MSR), lines[i] | (i == 2 ? 0 : deltas[i])); // RI tells no rise
        EQUAL(rd(UART_MSR), lines[i]);
        wr(UART_MCR, LOOP);
        EQUAL(rd(UART_MSR), deltas[i]);
    }
    wr(UART_IER, 8);
    wr(UART_MCR, LOOP | 1);
    EQUAL(rd(UART_IIR), MSI);
    rd(UART_MSR);
    EQUAL(rd(UART_IIR), NONE);
}

CASE(full_console_holds_thre) {
    start();
    wr(UART_IIR, 1);
    wr(UART_MCR, OUT2);
    c.held = true;
    wr(UART_IER, THRI);
    line_moves();
    unsigned sent = 0;
    while (rd(UART_LSR) & 0x20) {
        wr(UART_DATA, 'x');
        CHECK(++sent < CONSOLE_OUT_SIZE);
    }
    CHECK(u.stalled);
    EQUAL(rd(UART_LSR) & 0x60, 0);
    EQUAL(rd(UART_IIR), 0xC0 | NONE);
    CHECK(!u.line);
    wr(UART_IER, 0);
    wr(UART_IER, THRI); // no THRE, no interrupt
    CHECK(!u.line);
    line_moves();
    uart_poll(&u, &c);
    EQUAL(line_moves(), 0);
    c.out_tail = c.out_head;
    uart_poll(&u, &c);
    EQUAL(line_moves(), 1);
    EQUAL(rd(UART_IIR), 0xC0 | THRI);
    EQUAL(rd(UART_LSR), 0x60);
}

CASE(polling_writer_sees_room_again) {
    start();
    c.held = true;
    while (rd(UART_LSR) & 0x20) {
        wr(UART_DATA, 'x');
    }
    c.out_tail += 10000;
    EQUAL(rd(UART_LSR), 0x60); // nobody called uart_poll
}

CASE(last_byte_of_room_then_refused) {
    start();
    c.held = true;
    unsigned sent = 0;
    while (uart_write(&u, &c, UART_DATA, (uint8_t)sent)) { // a writer that never looks
        CHECK(++sent <= CONSOLE_OUT_SIZE);
    }
    EQUAL(sent, CONSOLE_OUT_SIZE - 1);
    struct uart before = u;
    CHECK(!uart_write(&u, &c, UART_DATA, 0));
    EQUAL(memcmp(&before, &u, sizeof u), 0); // nothing was done
    c.out_tail = 1;
    CHECK(uart_write(&u, &c, UART_DATA, (uint8_t)sent));
}

CASE(line_always_equals_the_registers) {
    uint64_t seed = 7;
    start();
    bool line = false;
    for (unsigned i = 0; i < 200000; i++) {
        uint8_t reg = (uint8_t)check_random(&seed, 8);
        if (check_random(&seed, 2)) {
            rd(reg);
        } else {
            uint8_t value = (uint8_t)check_random(&seed, 256);
            wr(reg, reg == UART_LCR ? value & 0x7F : value);
        }
        if (check_random(&seed, 20) == 0) {
            type("z");
            (void)console_getc(&c); // keep the ring from filling
        }
        // A copy tells without side effects on the original.
        struct uart copy = u;
        copy.lcr = 0;
        bool asks = !(uart_read(&copy, &c, UART_IIR) & NONE);
        EQUAL(u.line, asks && (u.mcr & (OUT2 | LOOP)) == OUT2);
        if (u.changed) { // a change is never missed
            line = u.line;
            u.changed = u.fell = false;
        }
        EQUAL(line, u.line);
    }
}
