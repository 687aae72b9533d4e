// The guest's console: COM1, polled.
#include "guest.h"

// 16550 registers (National Semiconductor PC16550D, table II).
enum {
    UART_DATA = 0,
    UART_IER = 1,
    UART_FCR = 2,
    UART_LCR = 3,
    UART_MCR = 4,
    UART_LSR = 5,
    UART_DLL = 0,
    UART_DLM = 1,
    LCR_8N1 = 0x03,
    LCR_DLAB = 0x80,
    FCR_ENABLE_CLEAR = 0x07,
    MCR_DTR_RTS = 0x03,
    LSR_THRE = 0x20,
    LSR_TEMT = 0x40,
};

void console_init(void) {
    outb(PORT_COM1 + UART_IER, 0);
    outb(PORT_COM1 + UART_LCR, LCR_DLAB | LCR_8N1);
    outb(PORT_COM1 + UART_DLL, 1); // 115200
    outb(PORT_COM1 + UART_DLM, 0);
    outb(PORT_COM1 + UART_LCR, LCR_8N1);
    outb(PORT_COM1 + UART_FCR, FCR_ENABLE_CLEAR);
    outb(PORT_COM1 + UART_MCR, MCR_DTR_RTS);
}

// Every wait is bounded: a UART that never empties costs a character, not the guest.
static void wait_line_status(uint8_t bits) {
    for (unsigned i = 0; i < 1000000; i++) {
        if ((inb(PORT_COM1 + UART_LSR) & bits) == bits) {
            return;
        }
    }
}

static void put_raw(char c) {
    wait_line_status(LSR_THRE);
    outb(PORT_COM1 + UART_DATA, (uint8_t)c);
}

void put_char(char c) {
    if (c == '\n') {
        put_raw('\r');
    }
    put_raw(c);
}

void console_drain(void) {
    wait_line_status(LSR_TEMT);
}

static void put_string(const char *s, unsigned width) {
    size_t length = strlen(s);
    while (*s) {
        put_char(*s++);
    }
    for (; length < width; length++) {
        put_char(' ');
    }
}

// Numbers are turned into digits 32 bits at a time, so that 32-bit guests need
// no division helper of the compiler.
static void put_number(uint64_t value, unsigned base, unsigned width, char pad, bool negative) {
    char digits[24];
    unsigned count = 0;
    uint32_t high = (uint32_t)(value >> 32), low = (uint32_t)value;
    do {
        uint32_t remainder = high % base;
        high /= base;
        uint32_t quotient;
        __asm__ ("divl %4" : "=a" (quotient), "=d" (remainder)
            : "a" (low), "d" (remainder), "r" (base));
        low = quotient;
        digits[count++] = "0123456789abcdef"[remainder];
    } while (high || low);
    if (negative) {
        digits[count++] = '-';
    }
    for (unsigned i = count; i < width; i++) {
        put_char(pad);
    }
    while (count) {
        put_char(digits[--count]);
    }
}

void print(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vprint(format, args);
    va_end(args);
}

void vprint(const char *format, va_list args) {
    for (const char *f = format; *f; f++) {
        if (*f != '%') {
            put_char(*f);
            continue;
        }
        f++;
        char pad = ' ';
        unsigned width = 0, longs = 0;
        if (*f == '0') {
            pad = '0';
            f++;
        }
        for (; *f >= '0' && *f <= '9'; f++) {
            width = width * 10 + (unsigned)(*f - '0');
        }
        for (; *f == 'l'; f++) {
            longs++;
        }
        bool wide = longs == 2 || (longs == 1 && sizeof(long) == 8);
        if (*f == 's') {
            put_string(va_arg(args, const char *), width);
        } else if (*f == 'c') {
            put_char((char)va_arg(args, int));
        } else if (*f == 'd') {
            int64_t value = wide ? va_arg(args, int64_t) : va_arg(args, int);
            put_number(value < 0 ? -(uint64_t)value : (uint64_t)value, 10, width, pad, value < 0);
        } else if (*f == 'u' || *f == 'x') {
            uint64_t value = wide ? va_arg(args, uint64_t) : va_arg(args, unsigned);
            put_number(value, *f == 'x' ? 16 : 10, width, pad, false);
        } else if (*f == 'p') {
            put_number((uintptr_t)va_arg(args, void *), 16, width, pad, false);
        } else if (*f == '%') {
            put_char('%');
        }
    }
}
