// The memory and string functions that gcc may call and the core uses. No libc.
#ifndef VIPERVISOR_CPU_STRING_H
#define VIPERVISOR_CPU_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t size);
// Copies at most size - 1 bytes and always ends with a NUL; true when all fitted.
_Bool str_copy(char *to, size_t size, const char *from);

#endif
