// A small printf for the core: no allocation, no floating point.
#include <stdbool.h>
#include <stdint.h>

#include "cpu/log.h"
#include "cpu/string.h"

struct sink {
    char *buffer;
    size_t size, length;
};

static void put(struct sink *s, char c) {
    if (s->length + 1 < s->size) {
        s->buffer[s->length] = c;
    }
    s->length++;
}

static void put_number(struct sink *s, uint64_t value, unsigned base, bool negative, int width, bool zeros) {
    char digits[24];
    int count = 0;
    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    int pad = width - count - (negative ? 1 : 0);
    if (negative && zeros) {
        put(s, '-');
    }
    while (pad-- > 0) {
        put(s, zeros ? '0' : ' ');
    }
    if (negative && !zeros) {
        put(s, '-');
    }
    while (count > 0) {
        put(s, digits[--count]);
    }
}

static void put_string(struct sink *s, const char *text, int width, bool left) {
    int length = (int)strlen(text);
    for (int i = length; !left && i < width; i++) {
        put(s, ' ');
    }
    for (const char *c = text; *c != 0; c++) {
        put(s, *c);
    }
    for (int i = length; left && i < width; i++) {
        put(s, ' ');
    }
}

int fmt_vsnprintf(char *buffer, size_t size, const char *format, va_list args) {
    struct sink s = { buffer, size, 0 };
    for (; *format != 0; format++) {
        if (*format != '%') {
            put(&s, *format);
            continue;
        }
        format++;
        bool zeros = false, left = false;
        for (; *format == '0' || *format == '-'; format++) {
            zeros |= *format == '0';
            left |= *format == '-';
        }
        int width = 0;
        for (; *format >= '0' && *format <= '9'; format++) {
            width = width * 10 + (*format - '0');
        }
        int longs = 0;
        for (; *format == 'l' || *format == 'z'; format++) {
            longs++;
        }
        switch (*format) {
            case 'd': {
                int64_t value = longs > 0 ? va_arg(args, int64_t) : va_arg(args, int);
                bool negative = value < 0;
                put_number(&s, negative ? 0 - (uint64_t)value : (uint64_t)value, 10, negative, width, zeros);
                break;
            }
            case 'u':
            case 'x': {
                uint64_t value = longs > 0 ? va_arg(args, uint64_t) : va_arg(args, unsigned);
                put_number(&s, value, *format == 'x' ? 16 : 10, false, width, zeros);
                break;
            }
            case 'p':
                put_string(&s, "0x", 0, false);
                put_number(&s, (uintptr_t)va_arg(args, void *), 16, false, 0, false);
                break;
            case 'c':
                put(&s, (char)va_arg(args, int));
                break;
            case 's': {
                const char *text = va_arg(args, const char *);
                put_string(&s, text != NULL ? text : "(null)", width, left);
                break;
            }
            case '%':
                put(&s, '%');
                break;
            default: // a format this printf does not know: show it rather than guess
                put(&s, '%');
                put(&s, *format);
                if (*format == 0) {
                    format--;
                }
                break;
        }
    }
    if (size > 0) {
        buffer[s.length < size ? s.length : size - 1] = 0;
    }
    return (int)s.length;
}

int fmt_snprintf(char *buffer, size_t size, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int length = fmt_vsnprintf(buffer, size, format, args);
    va_end(args);
    return length;
}
