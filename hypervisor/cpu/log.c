#include "cpu/log.h"

#include <stdbool.h>
#include <stdint.h>

#include "cpu/insn.h"
#include "cpu/screen.h"

enum {
    COM1 = 0x3F8,
    UART_DATA = 0, UART_IER = 1, UART_FCR = 2, UART_LCR = 3, UART_MCR = 4, UART_LSR = 5, UART_SCR = 7,
    LCR_8N1 = 0x03, LCR_DLAB = 0x80,
    FCR_ENABLE_CLEAR = 0x07,
    MCR_DTR_RTS_OUT2 = 0x0B,
    LSR_THRE = 0x20, LSR_TEMT = 0x40,
    DEBUG_PORT = 0xE9,
    // A UART that never becomes ready must not hang the boot: polls before giving up.
    UART_PATIENCE = 1000000,
};

static bool have_uart;
static volatile uint32_t log_lock;

void log_init(void) {
    // The scratch register tells whether a UART is there at all (none reads ones).
    outb(COM1 + UART_SCR, 0x5A);
    have_uart = inb(COM1 + UART_SCR) == 0x5A;
    if (!have_uart) {
        return;
    }
    outb(COM1 + UART_IER, 0);
    outb(COM1 + UART_LCR, LCR_DLAB);
    outb(COM1 + UART_DATA, 1); // 115200 baud
    outb(COM1 + UART_IER, 0);
    outb(COM1 + UART_LCR, LCR_8N1);
    outb(COM1 + UART_FCR, FCR_ENABLE_CLEAR);
    outb(COM1 + UART_MCR, MCR_DTR_RTS_OUT2);
}

static void log_putc(char c) {
    outb(DEBUG_PORT, (uint8_t)c);
    if (!have_uart) {
        return;
    }
    for (int i = 0; i < UART_PATIENCE; i++) {
        if ((inb(COM1 + UART_LSR) & LSR_THRE) != 0) {
            outb(COM1 + UART_DATA, (uint8_t)c);
            return;
        }
    }
    have_uart = false;
}

static void log_line(const char *text) {
    uint64_t flags = irq_save();
    while (__atomic_exchange_n(&log_lock, 1, __ATOMIC_ACQUIRE) != 0) {
        cpu_pause();
    }
    for (; *text != 0; text++) {
        if (*text == '\n') {
            log_putc('\r');
            screen_write("\r", 1);
        }
        log_putc(*text);
        screen_write(text, 1);
    }
    screen_show(false);
    __atomic_store_n(&log_lock, 0, __ATOMIC_RELEASE);
    irq_restore(flags);
}

void log_printf(const char *format, ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    fmt_vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    log_line(line);
}

void log_flush(void) {
    for (int i = 0; have_uart && i < UART_PATIENCE; i++) {
        if ((inb(COM1 + UART_LSR) & LSR_TEMT) != 0) {
            return;
        }
    }
}

void log_take_over(void) {
    __atomic_store_n(&log_lock, 0, __ATOMIC_RELEASE);
    screen_break_lock();
}

void panic(const char *format, ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    irq_disable();
    fmt_vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    log_take_over();
    log_line("\nvipervisor: panic: ");
    log_line(line);
    log_line("\nvipervisor: the machine is stopped; reset it to go on\n");
    log_flush();
    for (;;) {
        __asm__ volatile ("cli; hlt");
    }
}
