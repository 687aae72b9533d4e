// machine.mem8, mem16, mem32 and mem64: memory and device registers of the machine.
// An access that faults raises OSError(EFAULT); MicroPython's own objects would
// fault in the middle of the interpreter.
#include "cpu/trap.h"
#include "modhv.h"
#include "py/mperrno.h"
#include "py/obj.h"
#include "py/runtime.h"

struct machine_mem {
    mp_obj_base_t base;
    unsigned size;
};

static void mem_print(const mp_print_t *print, mp_obj_t self_in, mp_print_kind_t kind) {
    struct machine_mem *self = MP_OBJ_TO_PTR(self_in);
    mp_printf(print, "<%u-bit memory>", 8 * self->size);
}

static mp_obj_t mem_subscr(mp_obj_t self_in, mp_obj_t index, mp_obj_t value) {
    struct machine_mem *self = MP_OBJ_TO_PTR(self_in);
    if (value == MP_OBJ_NULL) {
        return MP_OBJ_NULL; // del is not supported
    }
    uint64_t address = hv_u64(index, "address");
    if (address % self->size != 0) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("address 0x%lx is not aligned to %u bytes"),
            address, self->size);
    }
    uint64_t word = 0;
    bool good;
    if (value == MP_OBJ_SENTINEL) {
        good = probe_read(address, self->size, &word);
    } else {
        good = probe_write(address, self->size, hv_truncated(value));
    }
    if (!good) {
        mp_raise_OSError(MP_EFAULT);
    }
    return value == MP_OBJ_SENTINEL ? hv_number(word) : mp_const_none;
}

static MP_DEFINE_CONST_OBJ_TYPE(
    machine_mem_type,
    MP_QSTR_mem,
    MP_TYPE_FLAG_NONE,
    print, mem_print,
    subscr, mem_subscr
    );

const struct machine_mem port_mem8_obj = { { &machine_mem_type }, 1 };
const struct machine_mem port_mem16_obj = { { &machine_mem_type }, 2 };
const struct machine_mem port_mem32_obj = { { &machine_mem_type }, 4 };
const struct machine_mem port_mem64_obj = { { &machine_mem_type }, 8 };
