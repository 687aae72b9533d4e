// _hv.Exit: one a vCPU, made once, is a window on the vCPU that waits: nothing is
// allocated for an exit.
#include "modhv_exit.h"

#include "cpu/percpu.h"
#include "cpu/smp.h"
#include "modhv.h"
#include "modhv_table.h"
#include "py/runtime.h"
#include "virt/guest.h"
#include "virt/run.h"

MP_REGISTER_ROOT_POINTER(mp_obj_t hv_exit_objects[128]);
_Static_assert(GUEST_MAX * GUEST_VCPUS == 128, "one root pointer a vCPU");

static struct vcpu *vcpu_of(const struct exit_object *x) {
    struct guest *g = guest_by_id(x->guest);
    if (g == NULL || x->vcpu >= g->vcpu_count
        || MP_STATE_VM(hv_exit_objects)[x->guest * GUEST_VCPUS + x->vcpu] != MP_OBJ_FROM_PTR(x)) {
        return NULL;
    }
    struct vcpu *v = g->vcpus[x->vcpu];
    return v->state == VCPU_WAITING && v->message.slots != 0 ? v : NULL;
}

static struct vcpu *waiting(const struct exit_object *x) {
    struct vcpu *v = vcpu_of(x);
    if (v == NULL) {
        mp_raise_msg(&mp_type_OSError, MP_ERROR_TEXT("this exit is over"));
    }
    return v;
}

// ---- Attributes ----

#define IS(kind) (UINT32_C(1) << EXIT_##kind)
#define ANY UINT32_MAX

enum what {
    WORD, FLAG, VALUE, GPR64, GPR32, REGISTER, RIP, KIND, RAW, SLOT, SLOTS, BEFORE, ANSWERED, FAULT, GUEST, VCPU,
    INDEX, TABLE, ARGS
};

struct attribute {
    qstr_short_t name;
    uint8_t what, index; // of the word or register
    uint32_t kinds;
};

#define R64(name, number) { MP_QSTR_##name, GPR64, number, ANY }
#define R32(name, number) { MP_QSTR_##name, GPR32, number, ANY }
#define CR(name, number) { MP_QSTR_##name, REGISTER, REG_##number, ANY }
static const struct attribute attributes[] = {
    { MP_QSTR_table, TABLE, 0, ANY },
    { MP_QSTR_slots, SLOTS, 0, ANY },
    R32(ecx, GPR_RCX), R32(eax, GPR_RAX), R32(edx, GPR_RDX), R32(ebx, GPR_RBX),
    { MP_QSTR_value, VALUE, 0, IS(RDMSR) | IS(WRMSR) | IS(IO) | IS(NESTED_FAULT) | IS(HYPERCALL) | IS(CR) | IS(DR) },
    { MP_QSTR_write, FLAG, 2, IS(RDMSR) | IS(WRMSR) | IS(IO) | IS(NESTED_FAULT) | IS(CR) | IS(DR) },
    { MP_QSTR_leaf, WORD, 0, IS(CPUID) },
    { MP_QSTR_subleaf, WORD, 1, IS(CPUID) },
    { MP_QSTR_msr, WORD, 0, IS(RDMSR) | IS(WRMSR) },
    { MP_QSTR_port, WORD, 0, IS(IO) },
    { MP_QSTR_size, WORD, 1, IS(IO) | IS(NESTED_FAULT) },
    { MP_QSTR_gpa, WORD, 0, IS(NESTED_FAULT) },
    { MP_QSTR_number, WORD, 0, IS(HYPERCALL) | IS(CR) | IS(DR) },
    { MP_QSTR_args, ARGS, 0, IS(HYPERCALL) },
    { MP_QSTR_vector, WORD, 0, IS(EXCEPTION) },
    { MP_QSTR_error, WORD, 1, IS(EXCEPTION) },
    { MP_QSTR_address, WORD, 2, IS(EXCEPTION) },
    { MP_QSTR_guest, GUEST, 0, ANY },
    { MP_QSTR_vcpu, VCPU, 0, ANY },
    { MP_QSTR_rip, RIP, 0, ANY },
    { MP_QSTR_kind, KIND, 0, ANY },
    { MP_QSTR_raw, RAW, 0, ANY },
    { MP_QSTR_slot, SLOT, 0, ANY },
    { MP_QSTR_before, BEFORE, 0, ANY },
    { MP_QSTR_fault, FAULT, 0, ANY },
    { MP_QSTR_answered, ANSWERED, 0, ANY },
    { MP_QSTR_index, INDEX, 0, ANY },
    R64(rax, GPR_RAX), R64(rcx, GPR_RCX), R64(rdx, GPR_RDX), R64(rbx, GPR_RBX), R64(rsp, GPR_RSP),
    R64(rbp, GPR_RBP), R64(rsi, GPR_RSI), R64(rdi, GPR_RDI), R64(r8, GPR_R8), R64(r9, GPR_R9),
    R64(r10, GPR_R10), R64(r11, GPR_R11), R64(r12, GPR_R12), R64(r13, GPR_R13), R64(r14, GPR_R14),
    R64(r15, GPR_R15), R32(esp, GPR_RSP), R32(ebp, GPR_RBP), R32(esi, GPR_RSI), R32(edi, GPR_RDI),
    CR(rflags, RFLAGS), CR(cr0, CR0), CR(cr2, CR2), CR(cr3, CR3), CR(cr4, CR4), CR(efer, EFER),
};

static const struct attribute *attribute_of(qstr name, uint32_t kind) {
    for (size_t i = 0; i < MP_ARRAY_SIZE(attributes); i++) {
        if (attributes[i].name == name) {
            return attributes[i].kinds >> kind & 1 ? &attributes[i] : NULL;
        }
    }
    return NULL;
}

static qstr kind_name(const struct vcpu *v) {
    return v->message.served && v->exit.kind == EXIT_NESTED_FAULT ? MP_QSTR_mmio : hv_exit_name(v->exit.kind);
}

// What a read has answered or a write brought.
static uint64_t value_of(const struct vcpu *v) {
    switch (v->exit.kind) {
        case EXIT_HYPERCALL:
            return v->gpr[GPR_RAX];
        case EXIT_RDMSR:
        case EXIT_WRMSR:
            return v->message.words.word[1];
        case EXIT_CR:
        case EXIT_DR:
            return v->message.words.word[2];
        default:
            return v->message.words.word[3];
    }
}

static bool is_write(const struct vcpu *v) {
    switch (v->exit.kind) {
        case EXIT_RDMSR:
            return false;
        case EXIT_WRMSR:
            return true;
        case EXIT_CR:
        case EXIT_DR:
            return v->message.words.word[1] != CR_READ;
        default:
            return v->message.words.word[2] != 0;
    }
}

static mp_obj_t load(const struct exit_object *x, const struct attribute *a, struct vcpu *v) {
    const struct exit_message *m = &v->message;
    switch (a->what) {
        case WORD:
            return hv_number(m->words.word[a->index]);
        case FLAG:
            return mp_obj_new_bool(is_write(v));
        case VALUE:
            return hv_number(value_of(v));
        case GPR64:
            return hv_number(v->gpr[a->index]);
        case GPR32:
            return hv_number((uint32_t)v->gpr[a->index]);
        case REGISTER: {
            vcpu_take(v);
            uint64_t value = virt->reg_get(v, a->index);
            vcpu_give(v);
            return hv_number(value);
        }
        case RIP:
            return hv_number(v->rip);
        case KIND:
            return MP_OBJ_NEW_QSTR(kind_name(v));
        case RAW:
            return hv_number(v->exit.raw);
        case SLOT:
            return MP_OBJ_NEW_SMALL_INT(__builtin_ctz(m->slots));
        case SLOTS:
            return MP_OBJ_NEW_SMALL_INT(m->slots);
        case BEFORE:
            return MP_OBJ_NEW_SMALL_INT(m->instead);
        case ANSWERED:
            return mp_obj_new_bool(m->answered);
        case FAULT:
            return mp_obj_new_bool(claim_faulted(v));
        case ARGS: {
            mp_obj_t args[4];
            for (int i = 0; i < 4; i++) {
                args[i] = hv_number(m->words.word[1 + i]);
            }
            return mp_obj_new_tuple(4, args);
        }
        default:
            return mp_const_none;
    }
}

static void store(const struct attribute *a, struct vcpu *v, mp_obj_t value) {
    uint64_t n = hv_truncated(value);
    v->message.answered = true;
    switch (a->what) {
        case GPR64:
            v->gpr[a->index] = n;
            break;
        case GPR32:
            v->gpr[a->index] = (uint32_t)n;
            break;
        case RIP:
            v->rip = n;
            v->message.moved = true;
            break;
        case VALUE:
            if (claim_faulted(v)) {
                vcpu_take(v);
                claim_unfault(v);
                vcpu_give(v);
            }
            claim_set_value(v, n);
            break;
        case REGISTER: {
            vcpu_take(v);
            int error = virt->reg_set(v, a->index, n);
            vcpu_give(v);
            hv_check(error);
            break;
        }
        default:
            mp_raise_msg_varg(&mp_type_AttributeError, MP_ERROR_TEXT("x.%q cannot be set"), a->name);
    }
}

static void exit_attr(mp_obj_t self, qstr name, mp_obj_t *dest) {
    const struct exit_object *x = MP_OBJ_TO_PTR(self);
    // These need no exit.
    mp_obj_t own = name == MP_QSTR_table ? x->table : name == MP_QSTR_guest ? x->guest_object
        : name == MP_QSTR_vcpu ? x->vcpu_object : name == MP_QSTR_index ? MP_OBJ_NEW_SMALL_INT(x->vcpu) : MP_OBJ_NULL;
    if (own != MP_OBJ_NULL) {
        if (dest[0] == MP_OBJ_NULL) {
            dest[0] = own;
        }
        return;
    }
    const struct vcpu *now = vcpu_of(x);
    const struct attribute *a = attribute_of(name, now != NULL ? now->exit.kind : 0);
    if (a == NULL) {
        if (dest[0] == MP_OBJ_NULL) {
            dest[1] = MP_OBJ_SENTINEL; // a method
        }
    } else if (dest[0] == MP_OBJ_NULL) {
        dest[0] = load(x, a, waiting(x));
    } else if (dest[1] != MP_OBJ_NULL) {
        store(a, waiting(x), dest[1]);
        dest[0] = MP_OBJ_NULL;
    }
}

// ---- Methods ----

// inject(vector, error=None): an exception in place of the instruction.
static mp_obj_t exit_inject_event(size_t n_args, const mp_obj_t *args) {
    struct vcpu *v = waiting(MP_OBJ_TO_PTR(args[0]));
    uint8_t vector = (uint8_t)hv_range(args[1], 31, "vector");
    bool has_error = n_args > 2 && args[2] != mp_const_none;
    uint32_t error = has_error ? (uint32_t)hv_range(args[2], UINT32_MAX, "error code") : 0;
    vcpu_take(v);
    claim_inject(v, vector, has_error, error);
    vcpu_give(v);
    v->message.answered = true;
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(exit_inject_obj, 2, 3, exit_inject_event);

static mp_obj_t exit_skip(mp_obj_t self) {
    waiting(MP_OBJ_TO_PTR(self))->message.answered = true;
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(exit_skip_obj, exit_skip);

// core(): the core's answer now, in place of Python's.
static mp_obj_t exit_ask_core(mp_obj_t self) {
    struct vcpu *v = waiting(MP_OBJ_TO_PTR(self));
    if (!v->message.asked_core && !v->message.injected) {
        vcpu_take(v);
        claim_ask_core(v);
        vcpu_give(v);
        v->message.answered = true;
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(exit_core_obj, exit_ask_core);

void exit_answered(struct vcpu *v) {
    event_answered(v);
    if (claim_done_needs_load(v)) {
        vcpu_take(v);
        claim_done(v);
        vcpu_give(v);
    } else {
        claim_done(v);
        if (v->cpu != CPU_CONTROL) {
            cpu_kick(&cpus[v->cpu]);
        }
    }
}

// Registers that are set, and skip(), wake nobody: the sleep or the end is the core's to say.
static bool halts(const struct vcpu *v) {
    return v->exit.kind == EXIT_HLT && v->message.instead == 0 && !v->message.injected;
}

// done() -> whether the exit was answered: the vCPU goes on. False where a handler that
// must answer did not, which leaves it waiting.
mp_obj_t exit_done(mp_obj_t self) {
    struct vcpu *v = vcpu_of(MP_OBJ_TO_PTR(self));
    handler_ends();
    if (v == NULL) {
        return mp_const_true; // it ended meanwhile
    }
    struct exit_message *m = &v->message;
    if (!m->asked_core && (!m->answered || halts(v))) {
        uint32_t must = IS(CPUID) | IS(EXCEPTION) | IS(RDMSR) | IS(HYPERCALL)
            | (is_write(v) ? 0 : IS(IO) | IS(NESTED_FAULT));
        if (m->instead == 0) { // Python was only asked first
            bool moved = m->moved; // a RIP that was set stays
            exit_ask_core(self);
            if (vcpu_of(MP_OBJ_TO_PTR(self)) == NULL) {
                return mp_const_true;
            }
            m->moved = m->moved || moved;
        } else if (must >> v->exit.kind & 1) {
            return mp_const_false;
        }
    }
    exit_answered(v);
    return mp_const_true;
}
static MP_DEFINE_CONST_FUN_OBJ_1(exit_done_obj, exit_done);

static mp_obj_t exit_waits(mp_obj_t self) {
    return mp_obj_new_bool(vcpu_of(MP_OBJ_TO_PTR(self)) != NULL);
}
static MP_DEFINE_CONST_FUN_OBJ_1(exit_waits_obj, exit_waits);

// untimed(): the handler goes on later (async), its time is its own.
static mp_obj_t exit_untimed(mp_obj_t self) {
    handler_ends();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(exit_untimed_obj, exit_untimed);

static mp_obj_t exit_pause(mp_obj_t self) {
    const struct exit_object *x = MP_OBJ_TO_PTR(self);
    waiting(x);
    hv_check(guest_pause(&guests[x->guest]));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(exit_pause_obj, exit_pause);

static mp_obj_t exit_stop(mp_obj_t self) {
    const struct exit_object *x = MP_OBJ_TO_PTR(self);
    waiting(x);
    hv_check(guest_stop(&guests[x->guest]));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(exit_stop_obj, exit_stop);

static const mp_rom_map_elem_t exit_methods_table[] = {
    { MP_ROM_QSTR(MP_QSTR_done), MP_ROM_PTR(&exit_done_obj) },
    { MP_ROM_QSTR(MP_QSTR_skip), MP_ROM_PTR(&exit_skip_obj) },
    { MP_ROM_QSTR(MP_QSTR_inject), MP_ROM_PTR(&exit_inject_obj) },
    { MP_ROM_QSTR(MP_QSTR_core), MP_ROM_PTR(&exit_core_obj) },
    { MP_ROM_QSTR(MP_QSTR_pause), MP_ROM_PTR(&exit_pause_obj) },
    { MP_ROM_QSTR(MP_QSTR_stop), MP_ROM_PTR(&exit_stop_obj) },
    { MP_ROM_QSTR(MP_QSTR_waits), MP_ROM_PTR(&exit_waits_obj) },
    { MP_ROM_QSTR(MP_QSTR_untimed), MP_ROM_PTR(&exit_untimed_obj) },
};
static MP_DEFINE_CONST_DICT(exit_methods, exit_methods_table);

static void exit_print(const mp_print_t *print, mp_obj_t self, mp_print_kind_t kind) {
    const struct exit_object *x = MP_OBJ_TO_PTR(self);
    const struct vcpu *v = vcpu_of(x);
    (void)kind;
    if (v == NULL) {
        mp_print_str(print, "<exit, over>");
        return;
    }
    mp_printf(print, "<%q exit of %s vcpu %u at 0x%lx", kind_name(v), v->guest->name,
        (unsigned)v->index, v->rip);
    for (size_t i = 0; i < MP_ARRAY_SIZE(attributes); i++) {
        const struct attribute *a = &attributes[i];
        if (a->kinds != ANY && (a->kinds >> v->exit.kind & 1) && a->what != ARGS) {
            mp_printf(print, " %q=", a->name);
            if (a->what == FLAG) {
                mp_print_str(print, is_write(v) ? "True" : "False");
            } else {
                mp_printf(print, "0x%lx", a->what == VALUE ? value_of(v) : v->message.words.word[a->index]);
            }
        }
    }
    mp_print_str(print, ">");
}

// Exit(guest id, vcpu number, guest, vcpu, table)
static mp_obj_t exit_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 5, 5, false);
    const struct vcpu *v = hv_vcpu(hv_guest(args[0]), args[1]);
    struct exit_object *x = mp_obj_malloc(struct exit_object, type);
    x->guest = v->guest->id;
    x->vcpu = v->index;
    x->guest_object = args[2];
    x->vcpu_object = args[3];
    x->table = args[4];
    MP_STATE_VM(hv_exit_objects)[x->guest * GUEST_VCPUS + x->vcpu] = MP_OBJ_FROM_PTR(x);
    return MP_OBJ_FROM_PTR(x);
}

MP_DEFINE_CONST_OBJ_TYPE(hv_exit_type, MP_QSTR_Exit, MP_TYPE_FLAG_NONE, make_new, exit_make_new, attr, exit_attr,
    print, exit_print, locals_dict, &exit_methods);
