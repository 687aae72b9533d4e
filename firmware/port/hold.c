#include "hold.h"

#include "cpu/insn.h"
#include "cpu/smp.h"
#include "py/mpstate.h"
#include "py/runtime.h"
#include "shared/runtime/interrupt_char.h"

#define GRACE_MS 200 // for so long Ctrl-C is not for what the pump called

static volatile struct hold now;
static volatile bool waiting; // a Ctrl-C

bool hold_on(void) {
    return now.held;
}

bool hold_interrupted(void) {
    return waiting;
}

bool hold_takes_its_time(void) {
    return now.since != 0 && rdtsc() - now.since > tsc_hz / 1000 * GRACE_MS;
}

// The rest with interrupts off.

// What the code that ends here was not given any more: Ctrl-C waits, a handler's limit
// has come too late.
static void take_back(void) {
    mp_obj_t pending = MP_STATE_THREAD(mp_pending_exception);
    waiting |= pending == MP_OBJ_FROM_PTR(&MP_STATE_VM(mp_kbd_exception));
    MP_STATE_THREAD(mp_pending_exception) = MP_OBJ_NULL;
}

// Whoever the pump came in between takes the Ctrl-C that waits; a line that is being edited
// does not.
static void pass_on(void) {
    if (now.since == 0 ? mp_interrupt_char >= 0 : hold_takes_its_time()) {
        mp_sched_keyboard_interrupt();
        waiting = false;
    }
    waiting &= now.since != 0;
}

static struct hold change(bool held, uint64_t since) {
    struct hold before = { now.held, now.since };
    now.held = held;
    now.since = since;
    return before;
}

struct hold hold_begin(void) {
    uint64_t flags = irq_save();
    struct hold before = change(true, now.since);
    take_back();
    irq_restore(flags);
    return before;
}

struct hold hold_open(void) {
    uint64_t flags = irq_save();
    struct hold before = change(false, rdtsc());
    irq_restore(flags);
    return before;
}

void hold_end(struct hold before) {
    uint64_t flags = irq_save();
    change(before.held, before.since);
    if (before.held) {
        take_back();
    } else if (waiting) {
        pass_on();
    }
    irq_restore(flags);
}

void hold_reset(void) {
    uint64_t flags = irq_save();
    now.held = false;
    now.since = 0;
    waiting = false;
    irq_restore(flags);
}

void hold_interrupt(void) {
    if (now.held || (now.since != 0 && !hold_takes_its_time())) {
        waiting = true;
    } else {
        mp_sched_keyboard_interrupt();
    }
}

void hold_stop(void) {
    uint64_t flags = irq_save();
    if (now.held) {
        waiting |= now.since != 0; // else it has just ended by itself
    } else {
        mp_sched_keyboard_interrupt();
    }
    irq_restore(flags);
}

void hold_look(void) {
    if (waiting && !now.held && hold_takes_its_time()) {
        waiting = false;
        mp_sched_keyboard_interrupt();
    }
}
