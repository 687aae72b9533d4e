// _hv: registers of a vCPU that stands still, and answers to its messages.
#include "cpu/err.h"
#include "modhv.h"
#include "modhv_table.h"
#include "py/mperrno.h"
#include "py/runtime.h"
#include "virt/guest.h"
#include "virt/run.h"

static _Noreturn void raise_running(const struct guest *g) {
    vstr_t text;
    mp_print_t print;
    vstr_init_print(&text, 96, &print);
    mp_printf(&print, "%s is running; pause() it first, or look at it in `with %s.paused():`", g->name, g->name);
    mp_obj_t fields[2] = { MP_OBJ_NEW_SMALL_INT(MP_EBUSY), mp_obj_new_str_from_vstr(&text) };
    nlr_raise(mp_obj_new_exception_args(&mp_type_OSError, 2, fields));
}

// The vCPU onto this CPU, so that all its state can be read and changed. Nothing may
// raise between take() and give().
void vcpu_take(struct vcpu *v) {
    if (v->guest->state == GUEST_RUNNING && v->state != VCPU_WAITING) {
        raise_running(v->guest);
    }
    hv_check(vcpu_park(v));
    int error = vcpu_load(v);
    if (error != 0) {
        if (v->guest->state == GUEST_RUNNING) {
            vcpu_unpark(v);
        }
        hv_check(error);
    }
}

void vcpu_give(struct vcpu *v) {
    vcpu_put(v);
    if (v->guest->state == GUEST_RUNNING) {
        vcpu_unpark(v);
    }
}

// ---- Registers ----

static uint64_t register_number(mp_obj_t reg) {
    uint64_t n = hv_u64(reg, "register");
    if (n > HV_RIP && (n < HV_REG_FIRST || n >= HV_REG_FIRST + REG_COUNT)) {
        mp_raise_msg_varg(&mp_type_ValueError,
            MP_ERROR_TEXT("no register %u; there are RAX (0) to R15, RIP and REG_*"), (unsigned)n);
    }
    return n;
}

static mp_obj_t hv_reg_get(mp_obj_t id, mp_obj_t index, mp_obj_t reg) {
    struct vcpu *v = hv_vcpu(hv_guest(id), index);
    uint64_t n = register_number(reg);
    vcpu_take(v);
    uint64_t value = n < GPR_COUNT ? v->gpr[n] : n == HV_RIP ? v->rip : virt->reg_get(v, n - HV_REG_FIRST);
    vcpu_give(v);
    return hv_number(value);
}
MP_DEFINE_CONST_FUN_OBJ_3(hv_reg_get_obj, hv_reg_get);

// reg_set(id, vcpu, reg, value)
static mp_obj_t hv_reg_set(size_t n_args, const mp_obj_t *args) {
    struct vcpu *v = hv_vcpu(hv_guest(args[0]), args[1]);
    uint64_t n = register_number(args[2]);
    uint64_t value = hv_u64(args[3], "value");
    int error = 0;
    vcpu_take(v);
    if (n < GPR_COUNT) {
        v->gpr[n] = value;
    } else if (n == HV_RIP) {
        v->rip = value;
    } else {
        error = virt->reg_set(v, n - HV_REG_FIRST, value);
    }
    vcpu_give(v);
    if (error == -EINVAL) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("the register cannot hold 0x%lx"), value);
    }
    hv_check(error);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(hv_reg_set_obj, 4, 4, hv_reg_set);

// -> (selector, base, limit, attributes)
static mp_obj_t hv_seg_get(mp_obj_t id, mp_obj_t index, mp_obj_t seg) {
    struct vcpu *v = hv_vcpu(hv_guest(id), index);
    enum vseg n = (enum vseg)hv_range(seg, SEG_COUNT - 1, "segment");
    struct segment s;
    vcpu_take(v);
    virt->seg_get(v, n, &s);
    vcpu_give(v);
    mp_obj_t fields[4] = {
        MP_OBJ_NEW_SMALL_INT(s.selector), hv_number(s.base), hv_number(s.limit),
        hv_number(s.attributes),
    };
    return mp_obj_new_tuple(4, fields);
}
MP_DEFINE_CONST_FUN_OBJ_3(hv_seg_get_obj, hv_seg_get);

// seg_set(id, vcpu, seg, selector, base, limit, attributes)
static mp_obj_t hv_seg_set(size_t n_args, const mp_obj_t *args) {
    struct vcpu *v = hv_vcpu(hv_guest(args[0]), args[1]);
    enum vseg n = (enum vseg)hv_range(args[2], SEG_COUNT - 1, "segment");
    struct segment s = {
        .selector = (uint16_t)hv_range(args[3], UINT16_MAX, "selector"),
        .base = hv_u64(args[4], "base"),
        .limit = (uint32_t)hv_range(args[5], UINT32_MAX, "limit"),
        .attributes = (uint32_t)hv_range(args[6], UINT32_MAX, "attributes"),
    };
    vcpu_take(v);
    int error = virt->seg_set(v, n, &s);
    vcpu_give(v);
    if (error == -EINVAL) {
        mp_raise_ValueError(MP_ERROR_TEXT("the segment register cannot hold that"));
    }
    hv_check(error);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(hv_seg_set_obj, 7, 7, hv_seg_set);

// ---- Answers ----

enum action { ACTION_DONE, ACTION_CRASH, ACTION_UD, ACTION_GP };

static enum action action_of(mp_obj_t name) {
    static const char *const names[] = { "done", "crash", "ud", "gp" };
    const char *s = mp_obj_str_get_str(name);
    for (unsigned i = 0; i < MP_ARRAY_SIZE(names); i++) {
        if (strcmp(s, names[i]) == 0) {
            return (enum action)i;
        }
    }
    mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("no action %s; there are done, crash, ud, gp"), s);
}

// answer(id, vcpu, action, value): value is the result of "done"; a text with "crash"
// goes into the crash record.
static mp_obj_t hv_answer(size_t n_args, const mp_obj_t *args) {
    struct guest *g = hv_guest(args[0]);
    struct vcpu *v = hv_vcpu(g, args[1]);
    enum action action = action_of(args[2]);
    const char *why = mp_obj_is_str(args[3]) ? mp_obj_str_get_str(args[3]) : "no handler answered its exit";
    uint64_t value = action == ACTION_DONE ? hv_truncated(args[3]) : 0;
    if (v->state != VCPU_WAITING || v->message.slots != 0) {
        hv_check(-ENOENT); // there is no message of that vCPU, or Exit.done() ends it
    }
    if (action == ACTION_DONE) {
        claim_set_value(v, value);
        exit_answered(v);
        return mp_const_none;
    }
    vcpu_take(v);
    event_answered(v);
    v->state = VCPU_RUNNABLE;
    if (action == ACTION_CRASH) {
        guest_crash(v, &v->exit, "%s", why);
    } else {
        vcpu_inject_exception(v, action == ACTION_UD ? EXC_UD : EXC_GP, action == ACTION_GP, 0);
    }
    vcpu_give(v);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(hv_answer_obj, 4, 4, hv_answer);
