// The rest of the C library that MicroPython and its libraries call; the
// memory functions are the core's.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/log.h"

int __popcountdi2(int64_t x);

void abort(void) {
    panic("abort() called by MicroPython");
}

#ifndef NDEBUG
void port_assert_failed(const char *file, int line, const char *condition) {
    panic("%s:%d: assertion failed: %s", file, line, condition);
}
#endif

void *memchr(const void *s, int byte, size_t size) {
    const unsigned char *p = s;
    for (size_t i = 0; i < size; i++) {
        if (p[i] == (unsigned char)byte) {
            return (void *)(uintptr_t)(p + i);
        }
    }
    return NULL;
}

char *strcpy(char *to, const char *from) {
    memcpy(to, from, strlen(from) + 1);
    return to;
}

char *strcat(char *to, const char *from) {
    strcpy(to + strlen(to), from);
    return to;
}

char *strncpy(char *to, const char *from, size_t size) {
    size_t i = 0;
    for (; i < size && from[i] != 0; i++) {
        to[i] = from[i];
    }
    for (; i < size; i++) {
        to[i] = 0;
    }
    return to;
}

char *strchr(const char *s, int c) {
    return memchr(s, c, strlen(s) + 1);
}

char *strrchr(const char *s, int c) {
    for (size_t i = strlen(s) + 1; i-- > 0;) {
        if (s[i] == (char)c) {
            return (char *)(uintptr_t)(s + i);
        }
    }
    return NULL;
}

size_t strspn(const char *s, const char *accept) {
    size_t n = 0;
    while (s[n] != 0 && strchr(accept, s[n]) != NULL) {
        n++;
    }
    return n;
}

size_t strcspn(const char *s, const char *reject) {
    size_t n = 0;
    while (s[n] != 0 && strchr(reject, s[n]) == NULL) {
        n++;
    }
    return n;
}

char *strstr(const char *s, const char *needle) {
    size_t length = strlen(needle);
    for (; strlen(s) >= length; s++) {
        if (memcmp(s, needle, length) == 0) {
            return (char *)(uintptr_t)s;
        }
        if (*s == 0) {
            break;
        }
    }
    return NULL;
}

// -ffreestanding turns the builtins of these names off, and libm_dbl leaves them out.
double fabs(double x) {
    return __builtin_fabs(x);
}

double copysign(double magnitude, double sign) {
    return __builtin_copysign(magnitude, sign);
}

double nan(const char *tag) {
    return __builtin_nan("");
}

// gcc calls it for __builtin_popcountll where the CPU's own cannot be assumed.
int __popcountdi2(int64_t x) {
    uint64_t v = (uint64_t)x;
    v -= (v >> 1) & UINT64_C(0x5555555555555555);
    v = (v & UINT64_C(0x3333333333333333)) + ((v >> 2) & UINT64_C(0x3333333333333333));
    v = (v + (v >> 4)) & UINT64_C(0x0F0F0F0F0F0F0F0F);
    return (int)((v * UINT64_C(0x0101010101010101)) >> 56);
}
