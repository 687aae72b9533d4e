// _hv: the guest's console for a UART in Python that takes the place of COM1.
#include "channel.h"
#include "cpu/string.h"
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
    hv_check(guest_park(g));
    g->console.elsewhere = mp_obj_is_true(on);
    g->platform.uart.stalled = false; // the other UART waits for room itself
    guest_unpark(g);
    console_changed(g);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_console_claim_obj, hv_console_claim);

#define COM1_IRQ 4
_Static_assert(offsetof(struct uart, thre_latch) == 10 && offsetof(struct uart, line) == 12
    && offsetof(struct uart, rx_first) == 15 && offsetof(struct uart, rx) == 17 && sizeof(struct uart) == 49,
    "hv/devices/uart.py knows struct uart");

// guest_uart(id) -> struct uart of COM1; guest_uart(id, bytes) sets it, and its line
static mp_obj_t hv_guest_uart(size_t n_args, const mp_obj_t *args) {
    struct guest *g = hv_guest(args[0]);
    struct platform *p = &g->platform;
    if (n_args == 1) {
        return mp_obj_new_bytes((const uint8_t *)&p->uart, sizeof(p->uart));
    }
    mp_buffer_info_t b;
    mp_get_buffer_raise(args[1], &b, MP_BUFFER_READ);
    struct uart state;
    bool right = b.len == sizeof(state);
    if (right) {
        const uint8_t *flags = (const uint8_t *)b.buf + offsetof(struct uart, thre_latch);
        memcpy(&state, b.buf, sizeof(state));
        for (size_t i = 0; i < 5; i++) {
            right = right && flags[i] <= 1;
        }
        right = right && ((const uint8_t *)b.buf)[offsetof(struct uart, fifo)] <= 1 && state.rx_first < UART_FIFO
            && state.rx_count <= UART_FIFO;
    }
    if (!right) {
        mp_raise_ValueError(MP_ERROR_TEXT("these bytes are no state of a UART"));
    }
    hv_check(guest_park(g));
    p->uart = state;
    if (g->vcpu_count > 0) {
        platform_line(p, COM1_IRQ, state.line);
        __atomic_or_fetch(&g->vcpus[0]->requests, REQ_IRQ | REQ_TIMER, __ATOMIC_SEQ_CST);
    }
    guest_unpark(g);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(hv_guest_uart_obj, 1, 2, hv_guest_uart);
