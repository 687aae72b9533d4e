#include "cpu/string.h"

#include <stdbool.h>

// "rep movsb/stosb": one instruction on hardware with fast strings, and what the
// emulators run fastest too. Large zeroing has its own loop in memory.c.

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    void *destination = to;
    __asm__ volatile ("rep movsb" : "+D" (destination), "+S" (from), "+c" (size) : : "memory");
    return to;
}

void *memmove(void *to, const void *from, size_t size) {
    if ((const char *)to <= (const char *)from || (const char *)to >= (const char *)from + size) {
        return memcpy(to, from, size);
    }
    char *destination = (char *)to + size;
    const char *source = (const char *)from + size;
    while (size-- > 0) {
        *--destination = *--source;
        __asm__ volatile ("" : : : "memory"); // keeps gcc from calling memmove here
    }
    return to;
}

void *memset(void *to, int byte, size_t size) {
    void *destination = to;
    __asm__ volatile ("rep stosb" : "+D" (destination), "+c" (size) : "a" (byte) : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t size) {
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < size; i++) {
        if (x[i] != y[i]) {
            return x[i] - y[i];
        }
    }
    return 0;
}

size_t strlen(const char *s) {
    size_t length = 0;
    while (s[length] != 0) {
        length++;
        __asm__ volatile ("" : : : "memory"); // keeps gcc from calling strlen here
    }
    return length;
}

int strcmp(const char *a, const char *b) {
    while (*a != 0 && *a == *b) {
        a++;
        b++;
    }
    return (unsigned char)*a - (unsigned char)*b;
}

int strncmp(const char *a, const char *b, size_t size) {
    for (; size > 0; size--, a++, b++) {
        if (*a != *b || *a == 0) {
            return (unsigned char)*a - (unsigned char)*b;
        }
    }
    return 0;
}

bool str_copy(char *to, size_t size, const char *from) {
    size_t length = strlen(from);
    bool fits = length < size;
    if (!fits) {
        length = size - 1;
    }
    memcpy(to, from, length);
    to[length] = 0;
    return fits;
}
