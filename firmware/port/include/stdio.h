#ifndef VIPERVISOR_STDIO_H
#define VIPERVISOR_STDIO_H
#include <stdarg.h>
#include <stddef.h>
#define SEEK_SET 0
#define SEEK_CUR 1
#define SEEK_END 2
int printf(const char *format, ...);
int vprintf(const char *format, va_list args);
int putchar(int c);
int puts(const char *s);
int snprintf(char *buffer, size_t size, const char *format, ...);
int vsnprintf(char *buffer, size_t size, const char *format, va_list args);
#endif
