// _hv: the guest's console for a UART in Python that takes the place of COM1.
#include "channel.h"
#include "modhv.h"
#include "modhv_table.h"
#include "py/runtime.h"
#include "virt/guest.h"

// console_put(id, bytes) -> how many the console took; fewer: it is full, and
// ("console", id) comes when it has room again. Called in a handler, while the vCPU waits.
static mp_obj_t hv_console_put(mp_obj_t id, mp_obj_t buffer) {
    struct guest *g = hv_guest(id);
    mp_buffer_info_t b;
    mp_get_buffer_raise(buffer, &b, MP_BUFFER_READ);
    size_t taken = 0;
    guest_lock(g);
    while (taken < b.len && !console_full(&g->console) && console_put(&g->console, ((const uint8_t *)b.buf)[taken])) {
        taken++;
    }
    guest_unlock(g);
    return mp_obj_new_int_from_uint(taken);
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_console_put_obj, hv_console_put);

// console_take(id, limit) -> bytes that were typed for the guest
static mp_obj_t hv_console_take(mp_obj_t id, mp_obj_t limit_in) {
    struct guest *g = hv_guest(id);
    uint8_t bytes[64];
    size_t limit = hv_range(limit_in, sizeof(bytes), "limit"), count = 0;
    int c;
    while (count < limit && (c = console_getc(&g->console)) >= 0) {
        bytes[count++] = (uint8_t)c;
    }
    return mp_obj_new_bytes(bytes, count);
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_console_take_obj, hv_console_take);

// console_claim(id, on): what is typed waits for console_take(), and ("console", id)
// tells of it; COM1 of the core gets nothing.
static mp_obj_t hv_console_claim(mp_obj_t id, mp_obj_t on) {
    struct guest *g = hv_guest(id);
    hv_check(guest_console_claim(g, mp_obj_is_true(on)));
    console_changed(g);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_console_claim_obj, hv_console_claim);

// guest_uart(id) -> what the guest knows of COM1, struct uart_state; guest_uart(id, state)
static mp_obj_t hv_guest_uart(size_t n_args, const mp_obj_t *args) {
    struct guest *g = hv_guest(args[0]);
    struct uart_state state;
    if (n_args == 1) {
        uart_save(&g->platform.uart, &state);
        return mp_obj_new_bytes((const uint8_t *)&state, sizeof(state));
    }
    mp_buffer_info_t b;
    mp_get_buffer_raise(args[1], &b, MP_BUFFER_READ);
    if (b.len != sizeof(state)) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("a state of %u bytes is wanted, not %u"),
            (unsigned)sizeof(state), (unsigned)b.len);
    }
    __builtin_memcpy(&state, b.buf, sizeof(state));
    hv_check(guest_uart_load(g, &state));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(hv_guest_uart_obj, 1, 2, hv_guest_uart);
