// _hv: looking into a guest's translation and control structures, its interrupt lines
// and what it shares.
#include "cpu/err.h"
#include "modhv.h"
#include "modhv_table.h"
#include "py/runtime.h"
#include "virt/decode.h"
#include "virt/guest.h"
#include "virt/nested.h"

// Zydis is the core's; its headers are not on this path.
const char *ZydisMnemonicGetString(int mnemonic);

// guest_line(id, irq, level)
static mp_obj_t hv_guest_line(mp_obj_t id, mp_obj_t irq, mp_obj_t level) {
    hv_check(guest_line(hv_guest(id), (uint32_t)hv_range(irq, 23, "irq"), mp_obj_is_true(level)));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_3(hv_guest_line_obj, hv_guest_line);

// guest_share(from, gpa, size, to, gpa of it there)
static mp_obj_t hv_guest_share(size_t n_args, const mp_obj_t *args) {
    hv_check(guest_share(hv_guest(args[0]), hv_u64(args[1], "gpa"), hv_u64(args[2], "size"), hv_guest(args[3]),
        hv_u64(args[4], "gpa")));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(hv_guest_share_obj, 5, 5, hv_guest_share);

// guest_walk(id, vcpu, gva, access) -> (gpa or None, error or None, ((gpa of entry, entry), ...)):
// the guest's own tables, root first. `error` is a page fault's error code, or a text.
static mp_obj_t hv_guest_walk(size_t n_args, const mp_obj_t *args) {
    struct vcpu *v = hv_vcpu(hv_guest(args[0]), args[1]);
    uint64_t gva = hv_u64(args[2], "address"), gpa = 0;
    uint32_t access = (uint32_t)hv_range(args[3], ACCESS_READ | ACCESS_WRITE | ACCESS_FETCH | ACCESS_USER, "access");
    struct walk_context c;
    struct walk_fault fault;
    struct walk_level levels[WALK_LEVELS];
    int count = 0;
    vcpu_take(v);
    walk_context(v, &c);
    vcpu_give(v);
    int error = guest_walk(&c, gva, access, false, &gpa, &fault, levels, &count);
    mp_obj_t rows[WALK_LEVELS];
    for (int i = 0; i < count; i++) {
        mp_obj_t row[2] = { hv_number(levels[i].gpa), hv_number(levels[i].value) };
        rows[i] = mp_obj_new_tuple(2, row);
    }
    mp_obj_t why = error == 0 ? mp_const_none : fault.hole ? MP_OBJ_NEW_QSTR(MP_QSTR_hole)
        : fault.non_canonical ? MP_OBJ_NEW_QSTR(MP_QSTR_noncanonical) : error == -EAGAIN
        ? MP_OBJ_NEW_QSTR(MP_QSTR_changing) : hv_number(fault.error);
    mp_obj_t fields[3] = { error == 0 ? hv_number(gpa) : mp_const_none, why, mp_obj_new_tuple((size_t)count, rows) };
    return mp_obj_new_tuple(3, fields);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(hv_guest_walk_obj, 4, 4, hv_guest_walk);

// nested_walk(id, gpa) -> (entry, level) of the page that maps it; level 0: none
static mp_obj_t hv_nested_walk(mp_obj_t id, mp_obj_t gpa) {
    const struct guest *g = hv_guest(id);
    int level = 0;
    uint64_t entry = nested_lookup(virt->nested, g->nested_root, hv_u64(gpa, "gpa"), &level);
    mp_obj_t fields[2] = { hv_number(entry), MP_OBJ_NEW_SMALL_INT(level) };
    return mp_obj_new_tuple(2, fields);
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_nested_walk_obj, hv_nested_walk);

// field_get(id, vcpu, field): eight bytes at an offset of the VMCB, or a field of the VMCS
static mp_obj_t hv_field_get(mp_obj_t id, mp_obj_t index, mp_obj_t field) {
    struct vcpu *v = hv_vcpu(hv_guest(id), index);
    uint32_t n = (uint32_t)hv_range(field, UINT32_MAX, "field");
    uint64_t value = 0;
    vcpu_take(v);
    int error = virt->field_get(v, n, &value);
    vcpu_give(v);
    if (error != 0) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("this CPU has no field 0x%x"), (unsigned)n);
    }
    return hv_number(value);
}
MP_DEFINE_CONST_FUN_OBJ_3(hv_field_get_obj, hv_field_get);

// decode(bits, bytes) -> (length, mnemonic) of the instruction there; None: no instruction
static mp_obj_t hv_decode(mp_obj_t bits, mp_obj_t buffer) {
    mp_buffer_info_t b;
    mp_get_buffer_raise(buffer, &b, MP_BUFFER_READ);
    mp_int_t n = mp_obj_get_int(bits);
    struct insn insn;
    if (insn_decode(n == 64 ? INSN_LONG_64 : n == 32 ? INSN_LEGACY_32 : INSN_LEGACY_16, b.buf, b.len, &insn) != 0) {
        return mp_const_none;
    }
    const char *name = ZydisMnemonicGetString(insn.mnemonic);
    mp_obj_t fields[2] = { MP_OBJ_NEW_SMALL_INT(insn.length), hv_str(name != NULL ? name : "?") };
    return mp_obj_new_tuple(2, fields);
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_decode_obj, hv_decode);

// explain(id, vcpu): the entry rule of the manual that the vCPU's state breaks, in words
static mp_obj_t hv_explain(mp_obj_t id, mp_obj_t index) {
    struct vcpu *v = hv_vcpu(hv_guest(id), index);
    char text[160] = "";
    vcpu_take(v);
    virt->explain(v, text, sizeof(text));
    vcpu_give(v);
    return hv_str(text);
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_explain_obj, hv_explain);
