// Executable memory for @native and @viper code, and what ends a loop in it.
#ifndef VIPERVISOR_PORT_NATIVE_H
#define VIPERVISOR_PORT_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void native_watch(void); // once: interrupts and faults inside native code
void native_init(void); // at each start of Python: the pool is empty again
size_t native_free(void);

// Called in interrupt context when a KeyboardInterrupt was made pending.
void native_interrupt(void);
// A handler begins: from time to time an interrupt looks whether it runs too long.
void native_watch_handlers(void);
bool native_watches_handlers(void);

#endif
