// Ctrl-C and faults inside @native and @viper code.
//
// Such code never looks for pending exceptions, so when the interrupted instruction
// lies in it, the interrupt returns to a function that raises. When it lies in C
// that native code has called, that must not be done; then PIT channel 0 looks again
// some milliseconds later, until the exception is gone.
#include "native.h"

#include "cpu/insn.h"
#include "cpu/memory.h"
#include "cpu/smp.h"
#include "cpu/trap.h"
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
    EXCEPTION_GP = 13,
    EXCEPTION_PF = 14,
};

static uintptr_t code_start, code_end;
static bool pit_ready;

static bool in_native_code(uint64_t rip) {
    return rip >= code_start && rip < code_end;
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

static void look_again(void) {
    outb(PIT_COMMAND, PIT_CH0_LOHI_MODE0);
    outb(PIT_CHANNEL0, LOOK_AGAIN & 0xFF);
    outb(PIT_CHANNEL0, LOOK_AGAIN >> 8);
}

void native_interrupt(void) {
    if (irq_frame == NULL || MP_STATE_THREAD(mp_pending_exception) == MP_OBJ_NULL) {
        return;
    }
    if (in_native_code(irq_frame->rip)) {
        redirect(irq_frame, raise_pending);
    } else if (pit_ready) {
        look_again();
    }
}

static bool recover(struct trap_frame *frame) {
    if ((frame->vector != EXCEPTION_GP && frame->vector != EXCEPTION_PF) || !in_native_code(frame->rip)) {
        return false;
    }
    redirect(frame, raise_fault);
    return true;
}

void native_watch(void) {
    size_t size;
    code_start = (uintptr_t)exec_pool(&size);
    code_end = code_start + size;
    pit_ready = isa_irq_enable(PIT_IRQ, native_interrupt) == 0;
    trap_recover = recover;
}
