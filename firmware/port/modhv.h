// What the files of module _hv share: arguments and errors.
#ifndef VIPERVISOR_PORT_MODHV_H
#define VIPERVISOR_PORT_MODHV_H

#include <stdint.h>
#include <string.h>

#include "py/obj.h"
#include "py/smallint.h"

struct guest;
struct vcpu;

// 0 to 2^64-1, else ValueError naming `what` and the value.
uint64_t hv_u64(mp_obj_t value, const char *what);
// 0 to `max`.
uint64_t hv_range(mp_obj_t value, uint64_t max, const char *what);
// The low 64 bits of any integer: data to be written.
uint64_t hv_truncated(mp_obj_t value);
// The guest with that id, else ValueError naming the ids there are.
struct guest *hv_guest(mp_obj_t id);
struct vcpu *hv_vcpu(struct guest *g, mp_obj_t index);
// Negative errno: OSError. Else the value.
int hv_check(int result);
// A dict whose names are looked up each time they are needed: TypeError; a value, or NULL, also
// without a dict.
mp_obj_t hv_dict(mp_obj_t dict);
static inline mp_obj_t hv_named(mp_obj_t names, qstr name) {
    mp_map_elem_t *e = names == MP_OBJ_NULL ? NULL : mp_map_lookup(&((mp_obj_dict_t *)MP_OBJ_TO_PTR(names))->map,
        MP_OBJ_NEW_QSTR(name), MP_MAP_LOOKUP);
    return e == NULL ? MP_OBJ_NULL : e->value;
}
mp_obj_t hv_str(const char *s);
// An integer; most need no memory.
static inline mp_obj_t hv_number(uint64_t value) {
    return value <= (uint64_t)MP_SMALL_INT_MAX ? MP_OBJ_NEW_SMALL_INT((mp_int_t)value) : mp_obj_new_int_from_ull(value);
}
// A function of module _hv for its table.
#define HV_ENTRY(name) { MP_ROM_QSTR(MP_QSTR_##name), MP_ROM_PTR(&hv_##name##_obj) }

// Register numbers of reg_get and reg_set: enum gpr, RIP, then enum vreg.
enum { HV_RIP = 16, HV_REG_FIRST = 32 };

// Names of enum exit_kind, lower case.
qstr hv_exit_name(uint32_t kind);

#endif
