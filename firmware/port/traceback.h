// Tracebacks at the prompt.
#ifndef VIPERVISOR_PORT_TRACEBACK_H
#define VIPERVISOR_PORT_TRACEBACK_H

#include "py/obj.h"

// As mp_obj_print_exception(), without the middle of a long traceback.
void port_print_exception(const mp_print_t *print, mp_obj_t error);

#endif
