// Accesses that Python serves or sees, out of instructions that are carried out here:
// device memory and string I/O.
//
// The emulator cannot wait in the middle of an instruction. So an access to Python ends
// the attempt without effect, and the guest executes the instruction again when the
// answer is there; the answers given so far are in a log. The log belongs to one RIP
// and is dropped when the instruction, or an element of a string, is complete.
#include "cpu/string.h"
#include "virt/claim.h"
#include "virt/emulate.h"
#include "virt/guest.h"

// From the log, or asked now.
static void access(struct vcpu *v, uint32_t kind, uint32_t slots, uint64_t at, uint8_t size, bool write,
    uint64_t *value, bool asked_core) {
    struct served *s = &v->served;
    s->asking = true;
    v->message = (struct exit_message) {
        .words = { { at, size, write, *value & UINT64_MAX >> (64 - 8 * size) } }, .slots = slots,
        .instead = slots & v->guest->claims.instead, .state = VCPU_RUNNABLE, .moved = true, .served = true,
        .asked_core = asked_core,
    };
    v->exit.kind = kind;
    for (uint32_t left = slots; left != 0; left &= left - 1) {
        __atomic_fetch_add(&v->guest->claims.claim[__builtin_ctz(left)].hits, 1, __ATOMIC_RELAXED);
    }
}

static bool in_log(struct served *s, uint64_t at, uint8_t size, bool write, uint64_t *value) {
    if (s->next < s->count) {
        const struct served_access *a = &s->log[s->next];
        if (a->at == at && a->size == size && a->write == write) {
            *value = a->value;
            s->next++;
            return true;
        }
        s->count = s->next; // another way through the same instruction
    }
    return false;
}

bool claim_memory(struct vcpu *v, void *context, uint64_t offset, uint8_t size, bool write, uint64_t *value) {
    const struct claim *c = context;
    struct claims *claims = &v->guest->claims;
    struct served *s = &v->served;
    uint64_t gpa = c->low + offset;
    if (!s->active) {
        return false;
    }
    if (s->asking || in_log(s, gpa, size, write, value)) {
        return true;
    }
    uint32_t slots = UINT32_C(1) << (c - claims->claim);
    if (!write) {
        *value = UINT64_MAX; // what nobody drives, unless the handler says more
    }
    access(v, EXIT_NESTED_FAULT, slots, gpa, size, write, value, (slots & claims->instead) == 0);
    return true;
}

// ---- Device memory that others serve: Python is told behind their answer ----

static uint32_t seen_by(const struct claims *c, uint64_t gpa) {
    uint32_t found = 0;
    for (uint32_t left = c->by_kind[CLAIM_MMIO] & ~c->instead; left != 0; left &= left - 1) {
        const struct claim *k = &c->claim[__builtin_ctz(left)];
        found |= gpa - k->low <= k->span ? left & (0 - left) : 0;
    }
    return found;
}

static void tell(struct vcpu *v, uint32_t slots, uint64_t gpa, uint8_t size, bool write, uint64_t *value) {
    struct claims *c = &v->guest->claims;
    uint32_t watched = slots & c->watched;
    if (watched != 0) {
        const struct exit_words w = { { gpa, size, write, *value & UINT64_MAX >> (64 - 8 * size) } };
        watch_put_answer(v, CLAIM_MMIO, &w, true, watched);
        for (uint32_t left = watched; left != 0; left &= left - 1) {
            __atomic_fetch_add(&c->claim[__builtin_ctz(left)].hits, 1, __ATOMIC_RELAXED);
        }
    }
    if (slots != watched && v->guest->state == GUEST_RUNNING) {
        access(v, EXIT_NESTED_FAULT, slots & ~watched, gpa, size, write, value, true);
    }
}

// `under` has answered so far; NULL: nobody.
bool claim_behind(struct vcpu *v, const struct mmio_range *under, uint64_t gpa, uint8_t size, bool write,
    uint64_t *value) {
    uint32_t slots = v->served.active ? seen_by(&v->guest->claims, gpa) : 0;
    if (slots != 0 && (v->served.asking || in_log(&v->served, gpa, size, write, value))) {
        return true;
    }
    bool answered = under != NULL && under->handler(v, under->context, gpa - under->gpa, size, write, value);
    if (slots == 0) {
        return answered;
    }
    if (!answered) {
        v->guest->unclaimed_memory++;
        *value = write ? *value : UINT64_MAX;
    }
    tell(v, slots, gpa, size, write, value);
    return true;
}

// In the place of the handler of a range, while a claim may concern it; `context` is the range.
static bool over_device(struct vcpu *v, void *context, uint64_t offset, uint8_t size, bool write, uint64_t *value) {
    return claim_behind(v, context, ((const struct mmio_range *)context)->gpa + offset, size, write, value);
}

void claims_over_devices(struct guest *g) {
    struct claims *c = &g->claims;
    bool told = (c->by_kind[CLAIM_MMIO] & ~c->instead) != 0;
    for (uint32_t i = 0; i < MMIO_RANGES; i++) {
        struct mmio_range *r = &g->mmio.ranges[i], *under = &c->under[i];
        if (told && under->size == 0 && r->size != 0 && r->handler != claim_memory) {
            *under = *r;
            r->handler = over_device;
            r->context = under;
        } else if (!told && under->size != 0) {
            *r = *under;
            under->size = 0;
        }
    }
}

// ---- Ports, inside a string instruction ----

bool claim_port(struct vcpu *v, uint16_t port, uint8_t size, bool write, uint32_t *value) {
    struct claims *claims = &v->guest->claims;
    struct served *s = &v->served;
    uint64_t wide = *value;
    uint32_t slots = 0;
    for (uint32_t left = claims->by_kind[EXIT_IO] & ~claims->watched; left != 0; left &= left - 1) {
        const struct claim *c = &claims->claim[__builtin_ctz(left)];
        slots |= port - c->low <= c->span ? left & (0 - left) : 0;
    }
    if (slots == 0 || s->asking || in_log(s, port, size, write, &wide)) {
        *value = (uint32_t)wide;
        return slots != 0;
    }
    bool instead = (slots & claims->instead) != 0;
    if (!instead) {
        exit_port_access(v, port, size, write, value);
        wide = *value;
        if (v->guest->state != GUEST_RUNNING) {
            return true; // that was its end
        }
    }
    access(v, EXIT_IO, slots, port, size, write, &wide, !instead);
    v->exit.io.port = port;
    v->exit.io.size = size;
    v->exit.io.in = !write;
    return true;
}

void claim_commit(struct vcpu *v) {
    struct served *s = &v->served;
    s->count = s->next = 0;
    memcpy(s->gpr, v->gpr, sizeof(s->gpr));
}

bool claim_emulate(struct vcpu *v, struct exit_record *e) {
    struct served *s = &v->served;
    uint64_t rip = v->rip;
    if (s->rip != rip) {
        s->rip = rip;
        s->count = 0;
    }
    s->next = 0;
    s->active = true;
    memcpy(s->gpr, v->gpr, sizeof(s->gpr));
    e->length = e->kind == EXIT_NESTED_FAULT ? 0 : e->length;
    bool more = e->kind == EXIT_NESTED_FAULT ? emulate_mmio_any(v, e) : exit_core(v, e);
    s->active = false;
    if (s->asking) {
        s->asking = false;
        memcpy(v->gpr, s->gpr, sizeof(s->gpr));
        v->rip = rip;
        virt->uninject(v);
        struct exit_record asked = v->exit;
        asked.length = 0;
        asked.raw = e->raw;
        exit_post(v, &asked);
        return false;
    }
    if (e->length != 0 || v->rip != rip) {
        s->count = 0;
    }
    return more;
}

void claim_core_access(struct vcpu *v) {
    uint64_t *word = v->message.words.word;
    if (v->exit.kind == EXIT_IO) {
        uint32_t value = (uint32_t)word[3];
        exit_port_access(v, (uint16_t)word[0], (uint8_t)word[1], word[2] != 0, &value);
        word[3] = value;
    } else {
        v->guest->unclaimed_memory++;
        word[3] = word[2] != 0 ? word[3] : UINT64_MAX >> (64 - 8 * word[1]);
    }
}

void claim_log(struct vcpu *v) {
    struct served *s = &v->served;
    const uint64_t *word = v->message.words.word;
    if (v->message.injected || s->count == SERVED_ACCESSES) {
        s->count = 0;
        return;
    }
    s->log[s->count++] = (struct served_access) {
        .at = word[0], .value = word[3], .size = (uint8_t)word[1], .write = word[2] != 0,
    };
}
