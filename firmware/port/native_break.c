// Ctrl-C and hv.handler_limit inside @native and @viper code, and faults in Python.
//
// Native code never looks for pending exceptions, so when the interrupted instruction
// lies in it, the interrupt returns to a function that raises. When it lies in C
// that native code has called, that must not be done; then PIT channel 0 looks again
// some milliseconds later, until the exception is gone.
//
// A fault while Python follows an address that a program gave it (a viper pointer,
// uctypes) becomes OSError(EFAULT): the guests have nothing to do with it.
//
// The link puts the frozen modules, whose native code is all of their text, between
// two marks and everything else of the firmware behind them (port.mk).
#include "native.h"

#include "cpu/insn.h"
#include "cpu/memory.h"
#include "cpu/smp.h"
#include "cpu/string.h"
#include "cpu/trap.h"
#include "hold.h"
#include "poll.h"
#include "py/mperrno.h"
#include "py/mpstate.h"
#include "py/runtime.h"

enum {
    PIT_CHANNEL0 = 0x40,
    PIT_COMMAND = 0x43,
    PIT_CH0_LOHI_MODE0 = 0x30, // interrupt once, on terminal count
    PIT_HZ = 1193182,
    PIT_IRQ = 0,
    LOOK_AGAIN = PIT_HZ / 200, // 5 ms
    LOOK_AFTER_HANDLERS = PIT_HZ / 20, // 50 ms
    EXCEPTION_GP = 13,
    EXCEPTION_PF = 14,
};

extern const char firmware_frozen_start[], firmware_text_start[], __text_end[];

#define RFLAGS_IF (UINT64_C(1) << 9)

static uintptr_t pool_start, pool_end;
static bool pit_ready;
static volatile bool handlers_watched; // the PIT will look at the handler that runs then

static bool within(uint64_t rip, const void *start, const void *end) {
    return rip >= (uintptr_t)start && rip < (uintptr_t)end;
}

static bool in_native_code(uint64_t rip) {
    return (rip >= pool_start && rip < pool_end) || within(rip, firmware_frozen_start, firmware_text_start);
}

static bool in_firmware(uint64_t rip) {
    return within(rip, firmware_text_start, __text_end);
}

// The core's memory functions on the firmware's behalf: they keep nothing on the
// stack, so their return address lies on top.
static bool copies_for_firmware(const struct trap_frame *frame) {
    enum { LONGEST = 64 };
    const void *const functions[] = { memcpy, memmove, memset, memcmp };
    uint64_t caller;
    for (unsigned i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        if (within(frame->rip, functions[i], (const char *)functions[i] + LONGEST)
            && probe_read(frame->rsp, sizeof(caller), &caller)) {
            return in_firmware(caller);
        }
    }
    return false;
}

static _Noreturn void raise_pending(void) {
    mp_obj_t exception = MP_STATE_THREAD(mp_pending_exception);
    MP_STATE_THREAD(mp_pending_exception) = MP_OBJ_NULL;
    if (exception == MP_OBJ_NULL) {
        exception = mp_obj_new_exception(&mp_type_KeyboardInterrupt);
    }
    nlr_raise(exception);
}

static _Noreturn void raise_fault(void) {
    mp_raise_OSError(MP_EFAULT);
}

// The frame returns to `target` as if native code had called it. What native code
// had in registers is lost, as with any exception; its stack is above.
static void redirect(struct trap_frame *frame, void (*target)(void)) {
    frame->rip = (uintptr_t)target;
    frame->rsp = (frame->rsp & ~UINT64_C(15)) - 8;
}

static void look_after(uint32_t pit_ticks) {
    outb(PIT_COMMAND, PIT_CH0_LOHI_MODE0);
    outb(PIT_CHANNEL0, pit_ticks & 0xFF);
    outb(PIT_CHANNEL0, (uint8_t)(pit_ticks >> 8));
}

void native_watch_handlers(void) {
    if (pit_ready && !handlers_watched) {
        uint64_t flags = irq_save();
        handlers_watched = true;
        look_after(LOOK_AFTER_HANDLERS);
        irq_restore(flags);
    }
}

bool native_watches_handlers(void) {
    return handlers_watched;
}

void native_interrupt(void) {
    if (irq_frame == NULL) {
        return;
    }
    handlers_watched = false;
    hold_look();
    bool pending = MP_STATE_THREAD(mp_pending_exception) != MP_OBJ_NULL, late = exit_late();
    if ((pending || late) && in_native_code(irq_frame->rip)) {
        redirect(irq_frame, pending ? raise_pending : exit_raise_late);
    } else if (pit_ready && (pending || late || hold_interrupted())) {
        look_after(LOOK_AGAIN);
    } else if (pit_ready && exit_serving()) {
        handlers_watched = true;
        look_after(LOOK_AFTER_HANDLERS);
    }
}

static bool recover(struct trap_frame *frame) {
    bool bad_address = frame->vector == EXCEPTION_GP || frame->vector == EXCEPTION_PF;
    // Not in an interrupt, not while the heap is being swept, and not where nothing
    // would catch: those are faults of the monitor itself.
    bool python = irq_frame == NULL && !poll_inside() && MP_STATE_THREAD(gc_lock_depth) == 0
                  && MP_STATE_THREAD(nlr_top) != NULL;
    if (!bad_address || !python) {
        return false;
    }
    if (!in_native_code(frame->rip) && !in_firmware(frame->rip) && !copies_for_firmware(frame)) {
        return false;
    }
    frame->rflags |= RFLAGS_IF; // nothing would turn interrupts on again
    redirect(frame, raise_fault);
    return true;
}

void native_watch(void) {
    size_t size;
    pool_start = (uintptr_t)exec_pool(&size);
    pool_end = pool_start + size;
    pit_ready = isa_irq_enable(PIT_IRQ, native_interrupt) == 0;
    trap_recover = recover;
}
