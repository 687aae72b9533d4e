// The machine's own keyboard, behind an i8042: US layout, as the bytes that a terminal
// would send.
#ifndef VIPERVISOR_PORT_KEYBOARD_H
#define VIPERVISOR_PORT_KEYBOARD_H

#include <stdbool.h>
#include <stdint.h>

// `filter` is called for each byte; true: it is consumed and not stored. Without a
// controller nothing is ever typed.
void keyboard_init(bool (*filter)(uint8_t byte));
// Takes what the controller has; the interrupt handler, and harmless at any other time.
void keyboard_service(void);
bool keyboard_has_input(void);
int keyboard_getc(void); // -1: nothing there
// Drops all that was typed and not read; for the filter.
void keyboard_drop(void);
// Drops what was typed up to and with the first `byte`; false: there is none.
bool keyboard_drop_to(uint8_t byte);

#endif
