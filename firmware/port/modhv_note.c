// _hv: notes of exits, out of the ring of a guest's watches and out of traces.
#include "modhv.h"
#include "modhv_table.h"
#include "py/runtime.h"
#include "virt/guest.h"

// (first, kind, vcpu, rip, tsc, words, done, entered)
static mp_obj_t noted(mp_obj_t first, const struct exit_note *n) {
    mp_obj_t words[EXIT_WORDS];
    for (size_t i = 0; i < EXIT_WORDS; i++) {
        words[i] = hv_number(n->words.word[i]);
    }
    mp_obj_t fields[] = {
        first, MP_OBJ_NEW_QSTR(n->kind == CLAIM_MMIO ? MP_QSTR_mmio : hv_exit_name(n->kind)),
        MP_OBJ_NEW_SMALL_INT(n->vcpu), hv_number(n->rip), hv_number((uint64_t)n->tsc_high << 32 | n->tsc_low),
        mp_obj_new_tuple(EXIT_WORDS, words), mp_obj_new_bool(n->done), hv_number(n->entered),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(fields), fields);
}

// watch_read(id, limit) -> (drops, [(slot, kind, vcpu, rip, tsc, words, done, entered), ...])
static mp_obj_t hv_watch_read(mp_obj_t id, mp_obj_t limit_in) {
    struct guest *g = hv_guest(id);
    uint32_t limit = (uint32_t)hv_range(limit_in, WATCH_RECORDS, "limit");
    uint64_t drops = 0, since;
    mp_obj_t list = mp_obj_new_list(0, NULL);
    struct exit_note r;
    bool more = true;
    for (uint32_t i = 0; i < limit && more; i++) {
        more = watch_read(g, &r, &since);
        drops += since;
        if (more) {
            mp_obj_list_append(list, noted(MP_OBJ_NEW_SMALL_INT(r.slot), &r));
        }
    }
    const struct watch *ring = g->claims.watch;
    if (ring != NULL && ring->head != ring->tail) {
        guest_notify(g, GUEST_EVENT_WATCH); // more than `limit`
    }
    mp_obj_t both[2] = { hv_number(drops), list };
    return mp_obj_new_tuple(2, both);
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_watch_read_obj, hv_watch_read);

static const struct vcpu *vcpu_of(mp_obj_t id, mp_obj_t vcpu) {
    return hv_vcpu(hv_guest(id), vcpu);
}

// trace(id, vcpu, size): notes that it keeps; 0 ends it, None gives its memory back as well.
static mp_obj_t hv_trace(mp_obj_t id, mp_obj_t vcpu, mp_obj_t size_in) {
    const struct vcpu *v = vcpu_of(id, vcpu);
    uint32_t size = size_in == mp_const_none ? 0 : (uint32_t)hv_range(size_in, TRACE_MOST, "size");
    hv_check(size_in == mp_const_none ? trace_clear(v->guest, v->index)
        : size == 0 ? trace_off(v->guest, v->index) : trace_on(v->guest, v->index, size));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_3(hv_trace_obj, hv_trace);

// trace_info(id, vcpu) -> (on, size, notes written)
static mp_obj_t hv_trace_info(mp_obj_t id, mp_obj_t vcpu) {
    const struct vcpu *v = vcpu_of(id, vcpu);
    const struct trace *t = v->guest->traces[v->index];
    mp_obj_t fields[] = { mp_obj_new_bool(t != NULL && t->on), hv_number(t != NULL ? t->mask + 1 : 0),
        hv_number(t != NULL ? t->head : 0) };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(fields), fields);
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_trace_info_obj, hv_trace_info);

// trace_read(id, vcpu, number) -> the note with that number as watch_read has it; None: it was
// overwritten, or is not yet written.
static mp_obj_t hv_trace_read(mp_obj_t id, mp_obj_t vcpu, mp_obj_t number_in) {
    const struct vcpu *v = vcpu_of(id, vcpu);
    const struct trace *t = v->guest->traces[v->index];
    struct exit_note n;
    if (t == NULL || !trace_read(t, hv_u64(number_in, "number"), &n)) {
        return mp_const_none;
    }
    return noted(number_in, &n);
}
MP_DEFINE_CONST_FUN_OBJ_3(hv_trace_read_obj, hv_trace_read);
