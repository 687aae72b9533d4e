// The run loop, parking, and the control CPU's side of it.
#ifndef VIPERVISOR_VIRT_RUN_H
#define VIPERVISOR_VIRT_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/vcpu.h"

struct guest;

// Timer and kick interrupts; before any CPU is started.
void run_init(void);

// Main of every CPU but the control CPU; never returns.
_Noreturn void cpu_main(void);

// Runs v until a request, the end of its guest or a message to Python.
void vcpu_run(struct vcpu *v);

// exits.c: one exit. The closed list is handled in C (RIP moved where it should be),
// everything else becomes a message to Python. True: enter again, unless a request is
// pending or the vCPU is not VCPU_RUNNABLE any more, which entry itself looks at.
bool exit_step(struct vcpu *v, struct exit_record *e);

// The control CPU keeps v still: returns 0 once it is parked (vcpu_put done, all
// its state readable), -ETIMEDOUT when it does not answer within a second.
int vcpu_park(struct vcpu *v);
void vcpu_unpark(struct vcpu *v);

// The port calls this whenever Python has nothing to do, and now and then
// between bytecodes: drains consoles to the channel, runs slices of guests on the
// control CPU. Returns true while there is something for Python (events, input).
bool control_poll(void);
// Sleeps until an interrupt or the host TSC `deadline` (0: none), unless
// control_poll has more to do.
void control_idle(uint64_t deadline);

#endif
