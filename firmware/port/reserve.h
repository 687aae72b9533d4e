// Memory for what comes after a MemoryError.
#ifndef VIPERVISOR_PORT_RESERVE_H
#define VIPERVISOR_PORT_RESERVE_H

#include <stdbool.h>

// A program begins: keeps some of the heap back from it, when there is plenty. False: nothing
// is kept, or was already, for the program that this one comes in between.
bool reserve_take(void);
// It has ended: its traceback, the next line and the event pump have that memory.
void reserve_drop(void);
// A program of the prompt ended with `error` (NULL: none): says what to do when it was a
// MemoryError and the heap is still full.
void reserve_explain(void *error);

#endif
