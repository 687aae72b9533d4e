#include "virt/claim.h"

#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/memory.h"
#include "cpu/string.h"
#include "virt/exit_words.h"
#include "virt/guest.h"
#include "virt/run.h"
#include "virt/x86.h"

#define HYPERCALL_PYTHON 0x1000 // numbers from here on have no answer of the core's
#define ENOSYS_RESULT 38
#define VANISHED (UINT32_C(1) << (CLAIMS - 1)) // the slot that nobody gets

// ---- The table ----

// No exit to Python for these: they are the monitor's own business.
static bool claimable(uint32_t kind) {
    return kind != EXIT_NONE && kind != EXIT_INTERRUPT && kind != EXIT_NMI && kind != EXIT_WINDOW
        && kind != EXIT_NMI_WINDOW;
}

// Faults that can be given to the guest as they came. #BP and #OF belong to an instruction
// whose length nobody told, #DF and #MC to the machine; #AC exits in any case, and no guest has
// what raises #CP.
#define CLAIMED_EXCEPTIONS (EXC_FAULTS & ~(UINT32_C(1) << EXC_AC | UINT32_C(1) << EXC_CP))

static uint32_t claimed_exceptions(const struct claims *c) {
    uint32_t vectors = 0;
    for (uint32_t left = c->by_kind[EXIT_EXCEPTION]; left != 0; left &= left - 1) {
        const struct claim *k = &c->claim[__builtin_ctz(left)];
        for (uint32_t vector = 0; vector < 32; vector++) {
            vectors |= vector - k->low <= k->span ? UINT32_C(1) << vector : 0;
        }
    }
    return vectors & CLAIMED_EXCEPTIONS;
}

void claims_apply(struct vcpu *v) {
    struct claims *c = &v->guest->claims;
    v->exceptions = claimed_exceptions(c); // from the next vcpu_load() on
    exit_handler **handlers = trace_under(v);
    for (uint32_t kind = 0; kind < EXIT_KINDS; kind++) {
        uint32_t slots = c->by_kind[kind] | c->by_kind[CLAIM_RAW];
        slots |= kind == EXIT_NESTED_FAULT ? c->by_kind[CLAIM_MMIO] : 0;
        bool claimed = claimable(kind) && slots != 0;
        c->lone[kind] = slots != 0 ? &c->claim[__builtin_ctz(slots)] : NULL;
        // Where Python only looks on, by the kind alone, there is a short way.
        bool watched = (slots & ~(c->watched & c->by_kind[kind])) == 0;
        exit_handler *handler = watched ? watch_handler(kind, (slots & (slots - 1)) == 0) : claim_exit;
        handlers[kind] = claimed ? handler : exit_core_handlers[kind];
    }
    trace_apply(v);
}

static void forget(struct guest *g, uint32_t slot) {
    struct claims *c = &g->claims;
    uint32_t bit = UINT32_C(1) << slot;
    if ((c->by_kind[CLAIM_MMIO] & c->instead & bit) != 0) {
        (void)mmio_unregister(g, c->claim[slot].low);
    }
    c->used &= ~bit;
    c->instead &= ~bit;
    c->watched &= ~bit;
    for (uint32_t kind = 0; kind < CLAIM_KINDS; kind++) {
        c->by_kind[kind] &= ~bit;
    }
}

static void apply_all(struct guest *g) {
    claims_over_devices(g);
    for (uint32_t i = 0; i < g->vcpu_count; i++) {
        struct vcpu *v = g->vcpus[i];
        claims_apply(v);
        if (v->state == VCPU_WAITING && v->message.slots != 0) {
            uint32_t left = v->message.slots & g->claims.used;
            v->message.slots = left != 0 ? left : VANISHED; // it still waits
            v->message.instead &= left;
        }
    }
}

int claim_set(struct guest *g, uint32_t slot, uint32_t kind, uint64_t low, uint64_t high, enum claim_mode mode) {
    struct claims *c = &g->claims;
    if (slot >= CLAIMS - 1 || kind >= CLAIM_KINDS || low > high || (kind < EXIT_KINDS && !claimable(kind))) {
        return -EINVAL;
    }
    int error = mode == CLAIM_WATCH ? watch_make(g) : 0;
    error = error != 0 ? error : guest_park(g);
    if (error != 0) {
        return error;
    }
    uint32_t bit = UINT32_C(1) << slot;
    forget(g, slot);
    if (kind == CLAIM_MMIO && mode == CLAIM_INSTEAD) {
        error = mmio_register(g, low, high - low + 1, claim_memory, &c->claim[slot]);
    }
    if (error != 0) {
        apply_all(g);
        guest_unpark(g);
        return error;
    }
    c->used |= bit;
    c->instead |= mode == CLAIM_INSTEAD ? bit : 0;
    c->watched |= mode == CLAIM_WATCH ? bit : 0;
    c->by_kind[kind] |= bit;
    c->claim[slot] = (struct claim) { .low = low, .span = high - low, .kind = kind,
        .mark = NOTE_MARK(kind, slot) };
    apply_all(g);
    guest_unpark(g);
    return 0;
}

int claim_clear(struct guest *g, uint32_t slot) {
    if (slot >= CLAIMS || (g->claims.used >> slot & 1) == 0) {
        return -EINVAL;
    }
    int error = guest_park(g);
    if (error != 0) {
        return error;
    }
    forget(g, slot);
    apply_all(g);
    guest_unpark(g);
    return 0;
}

bool claims_drop(struct guest *g) {
    struct claims *c = &g->claims;
    bool waited = false;
    if (c->used == 0) {
        return false;
    }
    (void)guest_park(g);
    for (uint32_t slot = 0; slot < CLAIMS; slot++) {
        forget(g, slot);
    }
    claims_over_devices(g);
    for (uint32_t i = 0; i < g->vcpu_count; i++) {
        struct vcpu *v = g->vcpus[i];
        claims_apply(v);
        if (v->state != VCPU_WAITING || v->message.slots == 0 || vcpu_load(v) != 0) {
            continue;
        }
        waited = true;
        if (!v->message.asked_core && !v->message.injected) {
            claim_ask_core(v);
        }
        if (v->state == VCPU_WAITING && v->message.slots != 0) {
            claim_done(v);
        }
        vcpu_put(v);
    }
    guest_unpark(g);
    return waited;
}

void claims_free(struct guest *g) {
    watch_free(g);
}

// ---- On the vCPU's CPU ----

static inline uint32_t matching(struct claims *c, const struct exit_record *e, uint64_t about) {
    uint32_t found = 0;
    for (uint32_t left = c->by_kind[e->kind] | c->by_kind[CLAIM_RAW]; left != 0; left &= left - 1) {
        uint32_t slot = (uint32_t)__builtin_ctz(left);
        const struct claim *k = &c->claim[slot];
        uint64_t value = __builtin_expect(k->kind == CLAIM_RAW, 0) ? e->raw : about;
        if (value - k->low <= k->span) {
            found |= left & (0 - left);
            __atomic_fetch_add(&c->claim[slot].hits, 1, __ATOMIC_RELAXED);
        }
    }
    return found;
}

// The core's answer, in registers; the words show what it read.
static bool ask_core(struct vcpu *v, struct exit_record *e) {
    struct exit_message *m = &v->message;
    m->asked_core = true;
    bool more = exit_core(v, e);
    if (v->state != VCPU_RUNNABLE && v->state != VCPU_HALTED) {
        return more;
    }
    m->state = v->state;
    m->moved = e->length == 0; // it faulted, or RIP has its new place already
    exit_answer(v, e->kind, m->words.word);
    return more;
}

// Where the core has no answer, or one that ends the guest, Python is asked first.
static bool python_first(struct vcpu *v, const struct exit_record *e, const struct exit_words *w) {
    switch (e->kind) {
        case EXIT_HYPERCALL:
            return w->word[0] >= HYPERCALL_PYTHON;
        case EXIT_HLT: // guest_deaf() may find that nothing is left to wake it
            return (virt->reg_get(v, REG_RFLAGS) & (RFLAGS_IF | RFLAGS_TF)) == 0;
        case EXIT_SHUTDOWN:
        case EXIT_NESTED_MISCONFIG:
        case EXIT_ENTRY_FAILED:
        case EXIT_UNKNOWN:
            return true;
        default:
            return false;
    }
}

static __attribute__((noinline)) bool ask_python(struct vcpu *v, struct exit_record *e, uint32_t slots,
    uint32_t watched) {
    struct exit_message *m = &v->message;
    *m = (struct exit_message) { .slots = slots, .instead = slots & v->guest->claims.instead, .watched = watched,
        .state = VCPU_RUNNABLE, .length = e->length };
    exit_words(v, e, &m->words);
    if (m->instead == 0 && !python_first(v, e, &m->words)) {
        bool more = ask_core(v, e);
        if (v->state != m->state) {
            return more; // that was its end
        }
    }
    exit_post(v, e);
    return false;
}

// Watched as well: of a read, the value that the guest gets in the end.
static __attribute__((noinline)) bool core_watched(struct vcpu *v, struct exit_record *e, uint32_t watched) {
    struct exit_words w;
    bool more = exit_core(v, e), done = e->length != 0;
    exit_words(v, e, &w);
    if (done) {
        exit_answer(v, e->kind, w.word);
    }
    watch_put_answer(v, e->kind, &w, done, watched);
    return more;
}

bool claim_exit(struct vcpu *v, struct exit_record *e) {
    struct claims *c = &v->guest->claims;
    if (e->length == EXIT_LENGTH_LATER) {
        e->length = 0;
    }
    if (__builtin_expect(e->kind == EXIT_HYPERCALL && e->hypercall.cpl != 0, 0)) {
        return exit_core(v, e);
    }
    if (__builtin_expect(e->kind == EXIT_IO && e->io.string, 0)) {
        return claim_emulate(v, e); // element by element
    }
    uint32_t slots = matching(c, e, exit_first_word(v, e, e->kind));
    bool devices = e->kind == EXIT_NESTED_FAULT && c->by_kind[CLAIM_MMIO] != 0;
    uint32_t watched = slots & c->watched;
    slots &= ~watched;
    if (watched != 0 && !exit_is_answered(e, e->kind)) {
        watch_put(v, e, watched);
        watched = 0;
    }
    if (slots != 0) {
        return ask_python(v, e, slots, watched);
    }
    if (watched != 0) {
        return core_watched(v, e, watched);
    }
    return devices ? claim_emulate(v, e) : exit_core(v, e);
}

// ---- Answers, on the control CPU ----

void claim_set_value(struct vcpu *v, uint64_t value) {
    const struct exit_record *e = &v->exit;
    switch (e->kind) {
        case EXIT_HYPERCALL:
            v->gpr[GPR_RAX] = value;
            break;
        case EXIT_RDMSR:
            v->gpr[GPR_RAX] = (uint32_t)value;
            v->gpr[GPR_RDX] = value >> 32;
            v->message.words.word[1] = value;
            break;
        case EXIT_NESTED_FAULT:
            v->message.words.word[3] = value;
            break;
        case EXIT_IO:
            if (v->message.served) {
                v->message.words.word[3] = value;
                break;
            }
            if (e->io.in && e->io.size == 4) {
                v->gpr[GPR_RAX] = (uint32_t)value;
            } else if (e->io.in) {
                uint64_t mask = e->io.size == 1 ? UINT8_MAX : UINT16_MAX;
                v->gpr[GPR_RAX] = (v->gpr[GPR_RAX] & ~mask) | (value & mask);
            }
            v->message.words.word[3] = value & UINT64_MAX >> (64 - 8 * e->io.size);
            break;
        default:
            break;
    }
}

void claim_ask_core(struct vcpu *v) {
    if (v->message.served) {
        v->message.asked_core = true;
        claim_core_access(v);
        return;
    }
    if (v->exit.kind == EXIT_HYPERCALL && v->message.words.word[0] >= HYPERCALL_PYTHON) {
        v->gpr[GPR_RAX] = 0 - (uint64_t)ENOSYS_RESULT;
        v->message.asked_core = true;
        return;
    }
    v->state = VCPU_RUNNABLE;
    (void)ask_core(v, &v->exit);
    if (v->state == v->message.state) {
        v->state = VCPU_WAITING;
    }
}

bool claim_faulted(const struct vcpu *v) {
    uint32_t kind = v->exit.kind;
    return v->message.asked_core && v->message.moved && (kind == EXIT_RDMSR || kind == EXIT_WRMSR);
}

void claim_unfault(struct vcpu *v) {
    virt->uninject(v);
    v->exit.length = v->message.length;
    v->message.moved = false;
}

void claim_inject(struct vcpu *v, uint8_t vector, bool has_error, uint32_t error) {
    virt->uninject(v);
    if (v->exit.kind == EXIT_EXCEPTION && vector == EXC_PF && v->exit.exception.vector == EXC_PF) {
        virt->reg_set(v, REG_CR2, v->exit.exception.address);
    }
    vcpu_inject_exception(v, vector, has_error, error);
    v->message.injected = v->message.moved = true;
    v->message.state = VCPU_RUNNABLE;
}

bool claim_done_needs_load(const struct vcpu *v) {
    return !v->message.moved && (uint32_t)(v->rip + v->exit.length) < v->exit.length;
}

void claim_done(struct vcpu *v) {
    struct exit_message *m = &v->message;
    if (m->served) {
        claim_log(v);
    }
    if (m->watched != 0) {
        bool done = !m->injected && !claim_faulted(v);
        if (done) {
            exit_answer(v, v->exit.kind, m->words.word);
        }
        watch_put_answer(v, v->exit.kind, &m->words, done, m->watched);
    }
    if (!m->moved && v->exit.length != 0) {
        vcpu_skip(v, v->exit.length);
    }
    m->slots = 0;
    __atomic_store_n(&v->state, m->state, __ATOMIC_RELEASE);
}
