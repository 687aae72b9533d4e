// _hv: what happened, what is sent, what is printed.
#include "capture.h"
#include "channel.h"
#include "cpu/insn.h"
#include "cpu/smp.h"
#include "hold.h"
#include "line_edit.h"
#include "modhv.h"
#include "modhv_table.h"
#include "poll.h"
#include "port.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "reserve.h"
#include "shared/runtime/pyexec.h"
#include "terminal.h"
#include "virt/guest.h"

// ---- What happened ----

// Messages that event() has returned and answer() has not ended yet.
static uint8_t reported[GUEST_MAX]; // bit: vCPU
// Told since event() last returned None: one message a vCPU a round, so a guest that
// exits all the time leaves bytecodes to the prompt.
static uint8_t told[GUEST_MAX];
_Static_assert(GUEST_VCPUS <= 8, "one bit a vCPU in `reported`");

void event_answered(const struct vcpu *v) {
    reported[v->guest->id] &= (uint8_t)~(1u << v->index);
}

void event_guest_made(uint32_t id) {
    reported[id] = 0;
}

static struct vcpu *waiting_vcpu(const struct guest *g) {
    for (uint32_t i = 0; i < g->vcpu_count; i++) {
        if (g->vcpus[i]->state == VCPU_WAITING && !((reported[g->id] | told[g->id]) & (1u << i))) {
            return g->vcpus[i];
        }
    }
    return NULL;
}

static uint64_t alarm_at; // host TSC, 0: none
static bool reserve_taken; // for what is captured, not for the prompt's program

static bool alarm_due(void) {
    return alarm_at != 0 && rdtsc() >= alarm_at;
}

bool event_ready(void) {
    if (channel_next() != NULL || alarm_due()) {
        return true;
    }
    for (uint32_t i = 0; i < GUEST_MAX; i++) {
        const struct guest *g = &guests[i];
        if (g->state != GUEST_FREE && g->events != 0
            && ((g->events & ~(uint32_t)GUEST_EVENT_MESSAGE) != 0 || waiting_vcpu(g) != NULL)) {
            return true;
        }
    }
    return false;
}

static mp_obj_t channel_event(const struct channel_frame *f) {
    mp_obj_t fields[4] = {
        MP_OBJ_NEW_QSTR(MP_QSTR_channel), MP_OBJ_NEW_SMALL_INT(f->type), MP_OBJ_NEW_SMALL_INT(f->stream),
        mp_obj_new_bytes(f->payload, f->length),
    };
    mp_obj_t event = mp_obj_new_tuple(4, fields);
    channel_take(); // not before: the heap may be full
    return event;
}

// What the core cannot answer itself, as Python needs it.
static mp_obj_t message_detail(const struct vcpu *v) {
    const uint64_t *word = v->message.words.word;
    mp_obj_t f[EXIT_WORDS];
    size_t n = v->exit.kind == EXIT_HYPERCALL ? EXIT_WORDS : v->exit.kind == EXIT_IO ? 4 : 2;
    for (size_t i = 0; i < n; i++) {
        f[i] = hv_number(word[i]);
    }
    if (v->exit.kind == EXIT_IO) {
        f[2] = mp_obj_new_bool(word[2] != 0);
    } else if (v->exit.kind == EXIT_NESTED_FAULT) {
        f[1] = MP_OBJ_NEW_SMALL_INT(v->exit.nested.access);
    }
    return mp_obj_new_tuple(n, f);
}

// What answers messages is called here, as notify()'s dict has it now; without one, or when it
// fails, there is an event.
static mp_obj_t message_serve(size_t n, const mp_obj_t *fields) {
    mp_obj_t function = hv_named(MP_STATE_VM(hv_message_names), MP_QSTR_message);
    if (function == MP_OBJ_NULL) {
        return mp_obj_new_tuple(n, fields);
    }
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        mp_call_function_n_kw(function, n - 1, 0, fields + 1);
        nlr_pop();
        return mp_const_none;
    }
    mp_obj_t raised[2] = { MP_OBJ_NEW_QSTR(MP_QSTR_raised), MP_OBJ_FROM_PTR(nlr.ret_val) };
    return mp_obj_new_tuple(2, raised);
}

static mp_obj_t message_event(struct guest *g, struct vcpu *v) {
    mp_obj_t details = v->message.slots == 0 ? message_detail(v) : mp_const_none;
    reported[g->id] |= (uint8_t)(1u << v->index);
    told[g->id] |= (uint8_t)(1u << v->index);
    if (v->message.slots != 0) {
        return exit_serve(v);
    }
    mp_obj_t fields[5] = {
        MP_OBJ_NEW_QSTR(MP_QSTR_message), MP_OBJ_NEW_SMALL_INT(g->id), MP_OBJ_NEW_SMALL_INT(v->index),
        MP_OBJ_NEW_QSTR(hv_exit_name(v->exit.kind)), details,
    };
    return message_serve(MP_ARRAY_SIZE(fields), fields);
}

static mp_obj_t guest_event(struct guest *g, uint32_t flag, qstr name) {
    mp_obj_t fields[2] = { MP_OBJ_NEW_QSTR(name), MP_OBJ_NEW_SMALL_INT(g->id) };
    mp_obj_t event = mp_obj_new_tuple(2, fields);
    __atomic_and_fetch(&g->events, ~flag, __ATOMIC_ACQ_REL);
    return event;
}

static mp_obj_t hv_event(void) {
    const struct channel_frame *f = channel_next();
    if (f != NULL) {
        return channel_event(f);
    }
    for (uint32_t i = 0; i < GUEST_MAX; i++) {
        struct guest *g = &guests[i];
        if (g->state == GUEST_FREE || g->events == 0) {
            continue;
        }
        if (g->events & GUEST_EVENT_STATE) {
            return guest_event(g, GUEST_EVENT_STATE, MP_QSTR_state);
        }
        if (g->events & GUEST_EVENT_WATCH) {
            return guest_event(g, GUEST_EVENT_WATCH, MP_QSTR_watch);
        }
        if (g->events & GUEST_EVENT_CONSOLE) {
            return guest_event(g, GUEST_EVENT_CONSOLE, MP_QSTR_console);
        }
        // The flag first, then the search: a vCPU that waits from now on sets it again.
        __atomic_and_fetch(&g->events, (uint32_t)~GUEST_EVENT_MESSAGE, __ATOMIC_ACQ_REL);
        struct vcpu *v = waiting_vcpu(g);
        if (v != NULL) {
            mp_obj_t event = message_event(g, v);
            if (waiting_vcpu(g) != NULL) {
                __atomic_or_fetch(&g->events, (uint32_t)GUEST_EVENT_MESSAGE, __ATOMIC_ACQ_REL);
            }
            if (event != mp_const_none) {
                return event;
            }
            i--; // its handler has answered: what else is there?
        }
    }
    // The round is over; who exited again meanwhile comes in the next.
    for (uint32_t i = 0; i < GUEST_MAX; i++) {
        if (told[i] != 0) {
            told[i] = 0;
            if (waiting_vcpu(&guests[i]) != NULL) {
                __atomic_or_fetch(&guests[i].events, (uint32_t)GUEST_EVENT_MESSAGE, __ATOMIC_ACQ_REL);
            }
        }
    }
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_event_obj, hv_event);

// ---- Telling Python ----

// notify(function, names=None): names["message"] takes messages.
static mp_obj_t hv_notify(size_t n_args, const mp_obj_t *args) {
    mp_obj_t names = n_args > 1 && args[1] != mp_const_none ? hv_dict(args[1]) : MP_OBJ_NULL;
    MP_STATE_VM(hv_notify_function) = args[0] == mp_const_none ? MP_OBJ_NULL : args[0];
    MP_STATE_VM(hv_message_names) = names;
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(hv_notify_obj, 1, 2, hv_notify);
MP_REGISTER_ROOT_POINTER(mp_obj_t hv_notify_function);
MP_REGISTER_ROOT_POINTER(mp_obj_t hv_message_names);

uint64_t event_alarm(void) {
    return alarm_at;
}

// The function given to notify() is called after `ms`, also when nothing happened.
static mp_obj_t hv_alarm(mp_obj_t ms) {
    alarm_at = rdtsc() + ns_to_tsc(hv_range(ms, UINT32_MAX, "milliseconds") * 1000000) + 1;
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(hv_alarm_obj, hv_alarm);

void event_reset(void) {
    alarm_at = 0;
    reserve_taken = false;
    MP_STATE_VM(hv_notify_function) = MP_STATE_VM(hv_message_names) = MP_OBJ_NULL;
    hold_reset();
    // A message whose handler is gone is told to the next one.
    memset(reported, 0, sizeof(reported));
    memset(told, 0, sizeof(told));
    exit_reset();
    for (uint32_t i = 0; i < GUEST_MAX; i++) {
        if (guests[i].state != GUEST_FREE) {
            __atomic_or_fetch(&guests[i].events, (uint32_t)GUEST_EVENT_MESSAGE, __ATOMIC_ACQ_REL);
        }
    }
}

static mp_obj_t notify_inner(mp_obj_t function) {
    mp_obj_t event;
    while ((event = hv_event()) != mp_const_none) { // most exits are answered in there
        mp_call_function_1(function, event);
    }
    if (alarm_due()) {
        alarm_at = 0;
        mp_call_function_1(function, mp_const_none);
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(notify_inner_obj, notify_inner);

// Called between bytecodes and when idle. Not through the scheduler's queue: while
// that runs something the VM does not look at pending exceptions, and Ctrl-C could
// not end a handler. Exceptions are printed and go no further.
void event_notify(void) {
    static bool inside;
    mp_obj_t function = MP_STATE_VM(hv_notify_function);
    if (inside || function == MP_OBJ_NULL || MP_STATE_VM(sched_state) < 0 || !event_ready()) {
        return;
    }
    inside = true;
    struct hold before = hold_begin();
    mp_call_function_1_protected(MP_OBJ_FROM_PTR(&notify_inner_obj), function);
    inside = false;
    hold_end(before);
}

static mp_obj_t call_between(struct hold before, size_t n_args, const mp_obj_t *args) {
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        mp_obj_t result = mp_call_function_n_kw(args[0], n_args - 1, 0, args + 1);
        nlr_pop();
        hold_end(before);
        return result;
    }
    hold_end(before);
    nlr_jump(nlr.ret_val);
}

// uninterrupted(function, *args): no Ctrl-C comes before it is through.
static mp_obj_t hv_uninterrupted(size_t n_args, const mp_obj_t *args) {
    return call_between(hold_begin(), n_args, args);
}
MP_DEFINE_CONST_FUN_OBJ_VAR(hv_uninterrupted_obj, 1, hv_uninterrupted);

// interruptible(function, *args): what a program wrote, called from there.
static mp_obj_t hv_interruptible(size_t n_args, const mp_obj_t *args) {
    return call_between(hold_open(), n_args, args);
}
MP_DEFINE_CONST_FUN_OBJ_VAR(hv_interruptible_obj, 1, hv_interruptible);

// ---- The channel and the prompt ----

static mp_obj_t hv_channel_send(mp_obj_t type, mp_obj_t stream, mp_obj_t buffer) {
    mp_buffer_info_t b;
    mp_get_buffer_raise(buffer, &b, MP_BUFFER_READ);
    if (b.len > CHANNEL_PAYLOAD) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("payload of %u bytes is longer than %u"),
            (unsigned)b.len, CHANNEL_PAYLOAD);
    }
    hv_check(channel_send((uint8_t)hv_range(type, UINT8_MAX, "type"),
        (uint8_t)hv_range(stream, UINT8_MAX, "stream"), b.buf, b.len));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_3(hv_channel_send_obj, hv_channel_send);

static mp_obj_t hv_capture(mp_obj_t stream) {
    mp_int_t n = mp_obj_get_int(stream);
    if (n < -1 || n > UINT8_MAX) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("stream %d is outside -1 to 255"), (int)n);
    }
    capture_set((int)n);
    if (n >= 0) {
        reserve_taken |= reserve_take();
    } else if (reserve_taken) {
        reserve_taken = false;
        reserve_drop();
    }
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(hv_capture_obj, hv_capture);

static mp_obj_t hv_raw_repl(void) {
    return mp_obj_new_bool(pyexec_mode_kind == PYEXEC_MODE_RAW_REPL);
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_raw_repl_obj, hv_raw_repl);

// Prints a line between two lines of the prompt: what is being typed is drawn again.
// Nothing while raw REPL is active, whose output belongs to a program; False then.
static mp_obj_t hv_notice(mp_obj_t text) {
    if (pyexec_mode_kind == PYEXEC_MODE_RAW_REPL) {
        return mp_const_false;
    }
    size_t size;
    const char *s = mp_obj_str_get_data(text, &size);
    int captured = capture_stream(); // a notice is no output of what the host runs
    capture_set(-1);
    line_edit_hide();
    mp_hal_stdout_tx_strn_cooked(s, size);
    mp_hal_stdout_tx_str("\r\n");
    line_edit_show();
    capture_set(captured);
    return mp_const_true;
}
MP_DEFINE_CONST_FUN_OBJ_1(hv_notice_obj, hv_notice);

static mp_obj_t hv_first_start(void) {
    return mp_obj_new_bool(port_first_start);
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_first_start_obj, hv_first_start);
