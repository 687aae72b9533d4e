#include "virt/trace.h"

#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/memory.h"
#include "virt/claim.h"
#include "virt/guest.h"

static size_t pages(uint32_t size) {
    return (sizeof(struct trace) + size * sizeof(struct exit_note) + PAGE_SIZE - 1) / PAGE_SIZE;
}

static void give_back(struct trace *t) {
    if (t != NULL) {
        page_free(t, pages((uint32_t)t->mask + 1));
    }
}

static void answered(const struct vcpu *v, struct exit_note *n) {
    note_answer(n, v, n->kind);
    n->done = true;
}

// A note is published before its exit is answered: that may be the guest's end. A reader on
// the control CPU sees by `sequence` when the note is overwritten beneath it.
static bool trace_exit(struct vcpu *v, struct exit_record *e) {
    struct trace *t = v->guest->traces[v->index];
    struct exit_note *n = &t->notes[t->head & t->mask];
    uint32_t kind = e->kind;
    __atomic_store_n(&n->sequence, 0, __ATOMIC_RELAXED);
    barrier();
    note_exit(n, v, kind); // not yet done
    note_words(n, v, e, kind);
    n->entered = 0;
    __atomic_store_n(&n->sequence, t->head + 1, __ATOMIC_RELEASE);
    t->head++;
    v->traced = n;
    bool more = t->under[kind](v, e);
    if (more) {
        if (e->length != 0) {
            answered(v, n);
        }
        n->entered = rdtsc();
    }
    return more;
}

// Requests were served, the vCPU slept, or Python has answered: it goes on only now.
void trace_entry(struct vcpu *v) {
    struct exit_note *n = v->traced;
    if (!n->done && v->rip != n->rip) {
        answered(v, n);
    }
    n->entered = rdtsc();
}

exit_handler **trace_under(struct vcpu *v) {
    struct trace *t = v->guest->traces[v->index];
    return t != NULL && t->on ? t->under : v->handlers;
}

void trace_apply(struct vcpu *v) {
    if (trace_under(v) == v->handlers) {
        v->traced = NULL;
        return;
    }
    for (uint32_t kind = 0; kind < EXIT_KINDS; kind++) {
        v->handlers[kind] = trace_exit;
    }
}

// `t` in the place of the vCPU's trace, on or off.
static int change(struct guest *g, uint32_t vcpu, struct trace *t, bool on) {
    int error = guest_park(g);
    if (error != 0) {
        return error;
    }
    struct trace *before = g->traces[vcpu];
    g->traces[vcpu] = t;
    if (t != before) {
        g->vcpus[vcpu]->traced = NULL;
    }
    if (t != NULL) {
        t->on = on;
    }
    claims_apply(g->vcpus[vcpu]);
    guest_unpark(g);
    if (t != before) {
        give_back(before);
    }
    return 0;
}

int trace_on(struct guest *g, uint32_t vcpu, uint32_t size) {
    struct trace *t = g->traces[vcpu];
    if (size < TRACE_LEAST || size > TRACE_MOST || (size & (size - 1)) != 0) {
        return -EINVAL;
    }
    if (t != NULL && t->mask == size - 1) {
        return change(g, vcpu, t, true);
    }
    t = page_alloc(pages(size));
    if (t == NULL) {
        return -ENOMEM;
    }
    t->mask = size - 1;
    int error = change(g, vcpu, t, true);
    if (error != 0) {
        give_back(t);
    }
    return error;
}

int trace_off(struct guest *g, uint32_t vcpu) {
    return change(g, vcpu, g->traces[vcpu], false);
}

int trace_clear(struct guest *g, uint32_t vcpu) {
    return change(g, vcpu, NULL, false);
}

void trace_free(struct guest *g) {
    for (uint32_t i = 0; i < GUEST_VCPUS; i++) {
        give_back(g->traces[i]);
        g->traces[i] = NULL;
    }
}

bool trace_read(const struct trace *t, uint64_t number, struct exit_note *to) {
    const struct exit_note *n = &t->notes[number & t->mask];
    if (__atomic_load_n(&n->sequence, __ATOMIC_ACQUIRE) != number + 1) {
        return false;
    }
    *to = note_finished(n);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&n->sequence, __ATOMIC_RELAXED) == number + 1;
}
