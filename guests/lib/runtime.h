// What the start-up code and runtime.c know of each other.
#ifndef GUEST_RUNTIME_H
#define GUEST_RUNTIME_H

void runtime_main(void); // called once by start32.S or start64.S
void traps_init(void); // own IDT; nothing in 32-bit guests

#endif
