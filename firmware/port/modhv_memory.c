// _hv: guest-physical memory and consoles.
#include "boot/bootinfo.h"
#include "channel.h"
#include "modhv.h"
#include "modhv_table.h"
#include "py/runtime.h"
#include "virt/guest.h"

// Accesses there are no exits.
bool hv_within_memory(const struct guest *g, uint64_t low, uint64_t high) {
    for (uint32_t i = 0; i < g->region_count; i++) {
        const struct guest_region *r = &g->regions[i];
        if (low - r->gpa < r->size && high - r->gpa < r->size) {
            return true;
        }
    }
    return false;
}

static mp_obj_t hv_guest_read(mp_obj_t id, mp_obj_t gpa, mp_obj_t size_in) {
    struct guest *g = hv_guest(id);
    size_t size = hv_range(size_in, INT32_MAX, "size");
    vstr_t bytes;
    vstr_init_len(&bytes, size);
    hv_check(guest_read(g, hv_u64(gpa, "gpa"), bytes.buf, size));
    return mp_obj_new_bytes_from_vstr(&bytes);
}
MP_DEFINE_CONST_FUN_OBJ_3(hv_guest_read_obj, hv_guest_read);

static mp_obj_t hv_guest_write(mp_obj_t id, mp_obj_t gpa, mp_obj_t buffer) {
    mp_buffer_info_t b;
    mp_get_buffer_raise(buffer, &b, MP_BUFFER_READ);
    hv_check(guest_write(hv_guest(id), hv_u64(gpa, "gpa"), b.buf, b.len));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_3(hv_guest_write_obj, hv_guest_write);

// guest_load_module(id, gpa, name, offset, size)
static mp_obj_t hv_guest_load_module(size_t n_args, const mp_obj_t *args) {
    struct guest *g = hv_guest(args[0]);
    uint64_t gpa = hv_u64(args[1], "gpa");
    const struct boot_module *m = hv_boot_module(args[2]);
    uint64_t offset = hv_range(args[3], m->size, "offset");
    uint64_t size = hv_range(args[4], m->size - offset, "size");
    hv_check(guest_write(g, gpa, (const void *)(uintptr_t)(m->base + offset), size));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(hv_guest_load_module_obj, 5, 5, hv_guest_load_module);

// console_read(id, position, limit) -> (bytes, next position)
static mp_obj_t hv_console_read(mp_obj_t id, mp_obj_t position_in, mp_obj_t limit_in) {
    struct guest *g = hv_guest(id);
    uint64_t position = hv_u64(position_in, "position");
    size_t limit = hv_range(limit_in, INT32_MAX, "limit");
    if (limit > CONSOLE_OUT_SIZE) {
        limit = CONSOLE_OUT_SIZE;
    }
    vstr_t bytes;
    vstr_init_len(&bytes, limit);
    bytes.len = console_read(&g->console, &position, bytes.buf, limit);
    mp_obj_t fields[2] = { mp_obj_new_bytes_from_vstr(&bytes), hv_number(position) };
    return mp_obj_new_tuple(2, fields);
}
MP_DEFINE_CONST_FUN_OBJ_3(hv_console_read_obj, hv_console_read);

static mp_obj_t hv_console_write(mp_obj_t id, mp_obj_t buffer) {
    struct guest *g = hv_guest(id);
    mp_buffer_info_t b;
    mp_get_buffer_raise(buffer, &b, MP_BUFFER_READ);
    size_t accepted = console_type(&g->console, b.buf, b.len);
    console_changed(g);
    return mp_obj_new_int_from_uint(accepted);
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_console_write_obj, hv_console_write);
