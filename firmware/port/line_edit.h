// Printing while a line is being edited at the prompt.
#ifndef VIPERVISOR_PORT_LINE_EDIT_H
#define VIPERVISOR_PORT_LINE_EDIT_H

#include "py/obj.h"

#include <stdbool.h>

void line_edit_init(void); // at each start of Python
bool line_edit_active(void); // the friendly prompt waits for a line
void line_edit_hide(void); // erases the line from the screen
void line_edit_show(void); // draws prompt and line again, cursor where it was
void line_edit_lookup(mp_obj_t holder, qstr name, mp_obj_t *found, bool catch_all); // for py/repl.c

#endif
