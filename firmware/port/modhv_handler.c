// _hv: handlers of exits in Python: called, and ended when they take too long.
#include "channel.h"
#include "cpu/insn.h"
#include "cpu/smp.h"
#include "hold.h"
#include "modhv.h"
#include "modhv_exit.h"
#include "modhv_table.h"
#include "native.h"
#include "poll.h"
#include "py/runtime.h"
#include "virt/guest.h"
#include "virt/run.h"

MP_REGISTER_ROOT_POINTER(mp_obj_t hv_names);

// Host TSC at which the present handler was told its exit, and how long it may take as
// last looked up: in an interrupt nothing is looked up.
static volatile uint64_t handler_since, handler_ticks;

void exit_reset(void) {
    for (size_t i = 0; i < MP_ARRAY_SIZE(MP_STATE_VM(hv_exit_objects)); i++) {
        MP_STATE_VM(hv_exit_objects)[i] = MP_OBJ_NULL;
    }
    MP_STATE_VM(hv_names) = MP_OBJ_NULL;
    handler_since = 0;
    for (uint32_t i = 0; i < GUEST_MAX; i++) {
        struct guest *g = guest_by_id(i);
        if (g != NULL) {
            g->console.elsewhere = false; // its UART in Python is gone, too
            console_changed(g);
        }
        if (g != NULL && claims_drop(g) && guest_pause(g) == 0) {
            static const char why[] = "its exit's handler went when Python started anew";
            memcpy(g->note, why, sizeof(why));
        }
    }
}

#define NO_NUMBER 0

// hv.handler_limit in ticks; 0 there means none.
static uint64_t limit(void) {
    mp_obj_t ms = hv_named(MP_STATE_VM(hv_names), MP_QSTR_handler_limit);
    if (ms != MP_OBJ_NULL && !mp_obj_is_int(ms)) {
        return NO_NUMBER;
    }
    if (ms == MP_OBJ_NULL || !mp_obj_is_small_int(ms) || MP_OBJ_SMALL_INT_VALUE(ms) <= 0
        || MP_OBJ_SMALL_INT_VALUE(ms) > UINT32_MAX) { // as good as none, and its ticks might not fit
        return UINT64_MAX;
    }
    return ns_to_tsc((uint64_t)MP_OBJ_SMALL_INT_VALUE(ms) * 1000000);
}

static mp_obj_t too_long(void) {
    handler_since = 0;
    return mp_obj_new_exception_msg(&mp_type_KeyboardInterrupt,
        MP_ERROR_TEXT("the handler ran longer than hv.handler_limit"));
}

void handler_ends(void) {
    handler_since = 0;
}

bool exit_serving(void) {
    return handler_since != 0;
}

bool exit_late(void) {
    return handler_since != 0 && !hold_on() && rdtsc() - handler_since > handler_ticks;
}

void exit_raise_late(void) {
    nlr_raise(too_long());
}

// Between bytecodes: a handler that runs too long is ended by an exception that
// `except Exception` does not stop.
void exit_check_limit(void) {
    if (handler_since != 0) {
        uint64_t ticks = limit();
        if (ticks != NO_NUMBER) { // else it is the next handler that does not begin
            handler_ticks = ticks;
        }
        if (exit_late()) {
            mp_sched_exception(too_long());
        }
    }
}

// False: without a limit that is a number none runs.
static bool handler_begins(void) {
    handler_since = rdtsc();
    if (!native_watches_handlers()) {
        handler_ticks = limit();
        native_watch_handlers();
    } else if (handler_ticks == NO_NUMBER) { // perhaps it was set right since
        handler_ticks = limit();
    }
    return handler_ticks != NO_NUMBER;
}

static mp_obj_t told(qstr what, const struct exit_object *x, mp_obj_t more) {
    mp_obj_t fields[3] = { MP_OBJ_NEW_QSTR(what), MP_OBJ_FROM_PTR(x), more };
    return mp_obj_new_tuple(3, fields);
}

// Calls the one handler of a claimed exit and lets the vCPU go on: None. What is not
// so simple is an event for Python: ("failed", x, exception), ("later", x, what the
// handler returned), ("unanswered", x, None), ("several", x, None).
mp_obj_t exit_serve(const struct vcpu *v) {
    mp_obj_t object = MP_STATE_VM(hv_exit_objects)[v->guest->id * GUEST_VCPUS + v->index];
    const struct exit_object *x = MP_OBJ_TO_PTR(object);
    uint32_t slots = v->message.slots;
    if (object == MP_OBJ_NULL) {
        return mp_const_none; // nobody claims before its Exit is made
    }
    if (!handler_begins()) {
        handler_ends();
        return told(MP_QSTR_failed, x, mp_obj_new_exception_msg(&mp_type_TypeError,
            MP_ERROR_TEXT("hv.handler_limit is no number of milliseconds; write hv.handler_limit = 1000")));
    }
    if ((slots & (slots - 1)) != 0) {
        return told(MP_QSTR_several, x, mp_const_none);
    }
    size_t count;
    mp_obj_t *table, result = mp_const_none;
    mp_obj_get_array(x->table, &count, &table);
    nlr_buf_t nlr;
    struct hold before = hold_open();
    if (nlr_push(&nlr) == 0) {
        result = mp_call_function_1(table[(size_t)__builtin_ctz(slots) % count], object);
        nlr_pop();
        hold_end(before);
    } else {
        hold_end(before);
        handler_ends();
        return told(MP_QSTR_failed, x, MP_OBJ_FROM_PTR(nlr.ret_val));
    }
    if (result != mp_const_none) {
        return told(MP_QSTR_later, x, result);
    }
    return exit_done(object) == mp_const_true ? mp_const_none : told(MP_QSTR_unanswered, x, mp_const_none);
}

// The dict in which `handler_limit` (milliseconds) is looked up.
static mp_obj_t hv_handler_names(mp_obj_t dict) {
    MP_STATE_VM(hv_names) = hv_dict(dict);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(hv_handler_names_obj, hv_handler_names);
