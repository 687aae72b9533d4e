// Ctrl-C while the event pump works. What a program gave the pump to call (a handler, a
// timer, what the host sent) is ended by it once that has run for a moment; in the pump's
// own code it waits until the pump is through, so that no event is lost half way.
#ifndef VIPERVISOR_PORT_HOLD_H
#define VIPERVISOR_PORT_HOLD_H

#include <stdbool.h>
#include <stdint.h>

struct hold {
    bool held; // no exception from outside comes now
    uint64_t since; // TSC at which the program's code began that the pump called; 0: none
};

bool hold_on(void);
struct hold hold_begin(void); // the pump's own code; returns what was before
struct hold hold_open(void); // a program's code that the pump calls
// Back to what was; a Ctrl-C that waited comes now when the pump is through.
void hold_end(struct hold before);
void hold_reset(void);

void hold_interrupt(void); // Ctrl-C; in an interrupt
bool hold_interrupted(void); // one waits
// The host gives up what it had the pump call: that is interrupted, behind the pump's own code
// where that runs now.
void hold_stop(void);
// One that waits is for a program's code after all, which has taken its time.
void hold_look(void);
// Code runs under a line that is being edited, for so long that Ctrl-C is meant for it.
bool hold_takes_its_time(void);

#endif
