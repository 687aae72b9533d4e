// _hv.Exit, for those who hand it to handlers.
#ifndef VIPERVISOR_PORT_MODHV_EXIT_H
#define VIPERVISOR_PORT_MODHV_EXIT_H

#include <stdint.h>

#include "py/obj.h"

struct exit_object {
    mp_obj_base_t base;
    uint32_t guest, vcpu; // numbers
    mp_obj_t guest_object, vcpu_object;
    mp_obj_t table; // handlers by slot
};

mp_obj_t exit_done(mp_obj_t self); // its method: False where an answer is missing
void handler_ends(void); // modhv_handler.c: its time is measured no more

#endif
