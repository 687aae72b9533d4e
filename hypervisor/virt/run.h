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

// exits.c: one exit. The closed list is handled in C, everything else becomes a
// message to Python. True: the caller moves RIP by e->length and enters again, unless
// a request is pending or the vCPU is not VCPU_RUNNABLE any more.
bool exit_step(struct vcpu *v, struct exit_record *e, struct fetch_state f);

// The control CPU keeps v still: returns 0 once it is parked (vcpu_put done, all
// its state readable), -ETIMEDOUT when it does not answer within a second.
int vcpu_park(struct vcpu *v);
void vcpu_unpark(struct vcpu *v);
// Its CPU looks after v from now on.
void vcpu_attach(struct vcpu *v);
// v, which is parked, is its CPU's no more: after 0 that CPU does not even look at it, so
// it may be freed. -ETIMEDOUT: the CPU did not answer; vcpu_attach() takes it back.
int vcpu_detach(struct vcpu *v);

// The port calls this whenever Python has nothing to do, and now and then
// between bytecodes: drains consoles to the channel, runs slices of guests on the
// control CPU. Returns true while there is something for Python (events, input).
bool control_poll(void);
// Sleeps until an interrupt or the host TSC `deadline` (0: none), unless
// control_poll has more to do.
void control_idle(uint64_t deadline);

#endif
