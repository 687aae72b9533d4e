// What goes on beside Python on the control CPU: the channel, the guests' slices,
// the call of Python's event function, and idling.
#include "poll.h"

#include "channel.h"
#include "cpu/insn.h"
#include "cpu/percpu.h"
#include "cpu/smp.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "terminal.h"
#include "virt/run.h"

uint32_t port_vm_countdown = PORT_VM_HOOK_EVERY;

bool poll_background(void) {
    static bool inside;
    if (inside) {
        return false; // a slow line waits inside the channel's own poll
    }
    inside = true;
    terminal_poll();
    bool more = channel_poll();
    more |= control_poll();
    inside = false;
    return more;
}

void port_poll(void) {
    poll_background();
    event_notify();
}

// Between bytecodes: no exception may leave from here, and none does.
void port_vm_hook(void) {
    port_vm_countdown = PORT_VM_HOOK_EVERY;
    port_poll();
}

static bool something_to_do(void) {
    return terminal_has_input() || channel_has_input() || event_ready()
           || MP_STATE_VM(sched_state) == MP_SCHED_PENDING;
}

void port_wait(int64_t timeout_ms) {
    if (timeout_ms == 0 || poll_background() || something_to_do()) {
        return;
    }
    uint64_t flags = irq_save();
    // Looked at again with interrupts off: what an interrupt brought since then
    // would otherwise be slept over.
    if (!something_to_do()) {
        if (timeout_ms > 0) {
            uint64_t deadline = rdtsc() + tsc_hz / 1000 * (uint64_t)timeout_ms;
            uint64_t armed = this_cpu()->timer_deadline;
            if (armed == 0 || deadline < armed) {
                timer_arm(deadline);
            }
        }
        control_idle();
    }
    irq_restore(flags);
}
