// What goes on beside Python on the control CPU.
#ifndef VIPERVISOR_PORT_POLL_H
#define VIPERVISOR_PORT_POLL_H

#include <stdbool.h>
#include <stdint.h>

// Channel frames and guests' slices: C only, callable from anywhere but interrupt
// context; true while there is something for Python.
bool poll_background(void);
bool poll_inside(void); // it is going on

// modhv_event.c: is there something that event() would return?
bool event_ready(void);
// Calls the function given to _hv.notify() when there is.
void event_notify(void);
void event_reset(void); // at each start of Python
// modhv_handler.c: ends a handler that runs too long, between bytecodes. Native code has
// none: there an interrupt asks the others, which allocate nothing but exit_raise_late.
void exit_check_limit(void);
bool exit_serving(void);
bool exit_late(void);
_Noreturn void exit_raise_late(void);
uint64_t event_alarm(void); // host TSC at which Python wants to be called; 0: none

#endif
