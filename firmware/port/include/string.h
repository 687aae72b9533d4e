// memcpy, memmove, memset, memcmp, strlen, strcmp and strncmp are the core's
// (hypervisor/cpu/string.h); the others are in libc.c.
#ifndef VIPERVISOR_STRING_H
#define VIPERVISOR_STRING_H
#include "cpu/string.h"
void *memchr(const void *s, int byte, size_t size);
char *strcat(char *to, const char *from);
char *strchr(const char *s, int c);
char *strcpy(char *to, const char *from);
size_t strcspn(const char *s, const char *reject);
char *strncpy(char *to, const char *from, size_t size);
char *strrchr(const char *s, int c);
size_t strspn(const char *s, const char *accept);
char *strstr(const char *s, const char *needle);
#endif
