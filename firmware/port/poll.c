// What goes on beside Python on the control CPU: the channel, the guests' slices,
// the call of Python's event function, and idling.
#include "poll.h"

#include "channel.h"
#include "cpu/insn.h"
#include "cpu/smp.h"
#include "hold.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "terminal.h"
#include "virt/guest.h"
#include "virt/run.h"

uint32_t port_vm_countdown = PORT_VM_HOOK_EVERY;

// Between bytecodes guests on this CPU get at most as much time as Python.
#define PYTHON_SHARE_US 4000
// How often an idle control CPU looks at the consoles of guests that run elsewhere:
// nobody wakes it for a byte.
#define LOOK_EVERY_US 20000

static bool inside; // a slow line waits inside the channel's own poll
static uint64_t slices_ended;

bool poll_inside(void) {
    return inside;
}

bool poll_background(void) {
    if (inside) {
        return false;
    }
    inside = true;
    terminal_poll();
    bool more = channel_poll();
    more |= control_poll();
    slices_ended = rdtsc();
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
    if (rdtsc() - slices_ended >= ns_to_tsc(UINT64_C(1000) * PYTHON_SHARE_US)) {
        poll_background();
    } else if (!inside) {
        inside = true;
        channel_poll();
        inside = false;
    }
    exit_check_limit();
    hold_look();
    event_notify();
}

static bool something_to_do(void) {
    return terminal_has_input() || channel_has_input() || event_ready()
           || MP_STATE_VM(sched_state) == MP_SCHED_PENDING;
}

static bool guests_run(void) {
    for (uint32_t i = 0; i < GUEST_MAX; i++) {
        if (guests[i].state == GUEST_RUNNING) {
            return true;
        }
    }
    return false;
}

static uint64_t sooner(uint64_t deadline, uint64_t other) { // 0: never
    return deadline == 0 || (other != 0 && other < deadline) ? other : deadline;
}

void port_wait(int64_t timeout_ms) {
    if (timeout_ms == 0 || poll_background() || something_to_do()) {
        return;
    }
    terminal_idle();
    uint64_t flags = irq_save();
    // Looked at again with interrupts off: what an interrupt brought since then
    // would otherwise be slept over.
    if (!something_to_do()) {
        uint64_t deadline = timeout_ms > 0 ? rdtsc() + ns_to_tsc((uint64_t)timeout_ms * 1000000) : 0;
        deadline = sooner(deadline, event_alarm());
        if (guests_run()) {
            deadline = sooner(deadline, rdtsc() + ns_to_tsc(UINT64_C(1000) * LOOK_EVERY_US));
        }
        control_idle(deadline);
    }
    irq_restore(flags);
}
