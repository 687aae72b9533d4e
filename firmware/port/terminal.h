// The prompt's line: COM1, and the machine's own screen and keyboard.
#ifndef VIPERVISOR_PORT_TERMINAL_H
#define VIPERVISOR_PORT_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void terminal_init(void);
int terminal_getc(void); // -1: nothing typed
bool terminal_has_input(void);
// Everything gets out, however long it takes; without a UART and a screen it goes to the
// log.
void terminal_write(const char *text, size_t size);
void terminal_flush(void);
// Services UART and keyboard, for machines whose interrupts never come, and the screen.
void terminal_poll(void);
// Before the CPU sleeps: what was written is seen.
void terminal_idle(void);

#endif
