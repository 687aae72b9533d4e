// _hv: which exits are for Python.
#include "cpu/err.h"
#include "modhv.h"
#include "modhv_table.h"
#include "py/runtime.h"
#include "virt/guest.h"

static uint32_t kind_of(mp_obj_t name_in) {
    qstr name = mp_obj_str_get_qstr(name_in);
    if (name == MP_QSTR_raw) {
        return CLAIM_RAW;
    }
    if (name == MP_QSTR_mmio) {
        return CLAIM_MMIO;
    }
    for (uint32_t kind = EXIT_NONE + 1; kind < EXIT_KINDS; kind++) {
        if (hv_exit_name(kind) == name) {
            return kind;
        }
    }
    mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("no exit kind %q"), name);
}

// claim(id, slot, kind, low, high, mode)
static mp_obj_t hv_claim(size_t n_args, const mp_obj_t *args) {
    struct guest *g = hv_guest(args[0]);
    uint32_t slot = (uint32_t)hv_range(args[1], CLAIMS - 2, "slot");
    qstr mode = mp_obj_str_get_qstr(args[5]);
    if (mode != MP_QSTR_after && mode != MP_QSTR_instead && mode != MP_QSTR_watch) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("no mode %q; there are after, instead, watch"), mode);
    }
    uint32_t kind = kind_of(args[2]);
    uint64_t low = hv_u64(args[3], "low"), high = hv_u64(args[4], "high");
    if (kind == CLAIM_MMIO && hv_within_memory(g, low, high)) {
        hv_check(-EEXIST);
    }
    hv_check(claim_set(g, slot, kind, low, high,
        mode == MP_QSTR_after ? CLAIM_AFTER : mode == MP_QSTR_instead ? CLAIM_INSTEAD : CLAIM_WATCH));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(hv_claim_obj, 6, 6, hv_claim);

static mp_obj_t hv_unclaim(mp_obj_t id, mp_obj_t slot) {
    hv_check(claim_clear(hv_guest(id), (uint32_t)hv_range(slot, CLAIMS - 2, "slot")));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_unclaim_obj, hv_unclaim);

static mp_obj_t hv_claim_hits(mp_obj_t id, mp_obj_t slot) {
    return hv_number(hv_guest(id)->claims.claim[hv_range(slot, CLAIMS - 2, "slot")].hits);
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_claim_hits_obj, hv_claim_hits);
