// Early text output: COM1, debug port 0xE9 and the text screen, polled, usable
// from the first instruction of C on. Once the prompt owns COM1, log lines go to
// the same place between two lines of the prompt.
#ifndef VIPERVISOR_CPU_LOG_H
#define VIPERVISOR_CPU_LOG_H

#include <stdarg.h>
#include <stddef.h>

void log_init(void);

// %s %c %d %u %x with l/ll, %p, width and zero padding; nothing else.
void log_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Before last words: whoever holds an output may be us, and does not go on.
void log_take_over(void);

// Waits until the UART has sent everything: call it before the power goes.
void log_flush(void);

// As snprintf, with the formats of log_printf. Returns the length it would have had.
int fmt_vsnprintf(char *buffer, size_t size, const char *format, va_list args);
int fmt_snprintf(char *buffer, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

// Says why on every output and stops the machine. For faults of the monitor only:
// whatever a guest does ends in that guest's crash record instead.
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
