// The line editor: MicroPython's, and a way to print a line while one is edited.
//
// The editor keeps its state in a static variable, so its source is compiled as a
// part of this file; its readline() gets another name and ours takes its place.
#define readline readline_inner
#define mp_repl_autocomplete line_edit_complete
#include "shared/readline/readline.c"
#undef readline
#undef mp_repl_autocomplete

#include "line_edit.h"
#include "py/nlr.h"
#include "py/objmodule.h"
#include "py/runtime.h"
#include "shared/runtime/pyexec.h"

int readline(vstr_t *line, const char *prompt);

static bool editing;

int readline(vstr_t *line, const char *prompt) {
    nlr_buf_t nlr;
    if (nlr_push(&nlr) != 0) {
        editing = false;
        nlr_jump(nlr.ret_val);
    }
    editing = true;
    int result = readline_inner(line, prompt);
    editing = false;
    nlr_pop();
    return result;
}

void line_edit_init(void) {
    editing = false;
    readline_init0();
}

bool line_edit_active(void) {
    return editing && pyexec_mode_kind == PYEXEC_MODE_FRIENDLY_REPL;
}

void line_edit_hide(void) {
    if (line_edit_active()) {
        mp_hal_stdout_tx_str("\r\x1b[K");
    }
}

void line_edit_show(void) {
    if (line_edit_active()) {
        mp_hal_stdout_tx_str(rl.prompt);
        mp_hal_stdout_tx_strn(rl.line->buf + rl.orig_line_len, rl.line->len - rl.orig_line_len);
        mp_hal_move_cursor_back((uint)(rl.line->len - rl.cursor_pos));
    }
}

// -- Tab: py/repl.c looks up each name of MicroPython, to see whether what is before the last
// dot has it. A module that says what is public has no other names there.

size_t mp_repl_autocomplete(const char *line, size_t size, const mp_print_t *print, const char **completion);

static size_t steps; // lookups that come first, of the names before dots

size_t line_edit_complete(const char *line, size_t size, const mp_print_t *print, const char **completion) {
    steps = 0;
    for (const char *c = line + size; c > line && (unichar_isident(c[-1]) || c[-1] == '.'); c--) {
        steps += c[-1] == '.';
    }
    return mp_repl_autocomplete(line, size, print, completion);
}

static bool is_public(mp_obj_t holder, qstr name) {
    if (!mp_obj_is_type(holder, &mp_type_module)) {
        return true;
    }
    mp_map_t *names = &mp_obj_module_get_globals(holder)->map;
    mp_map_elem_t *all = mp_map_lookup(names, MP_OBJ_NEW_QSTR(MP_QSTR___all__), MP_MAP_LOOKUP);
    if (all == NULL || !mp_obj_is_type(all->value, &mp_type_list)) {
        return true;
    }
    size_t count;
    mp_obj_t *listed;
    mp_obj_list_get(all->value, &count, &listed);
    for (size_t i = 0; i < count; i++) {
        if (mp_obj_equal(listed[i], MP_OBJ_NEW_QSTR(name))) {
            return true;
        }
    }
    return false;
}

void line_edit_lookup(mp_obj_t holder, qstr name, mp_obj_t *found, bool catch_all) {
    bool is_step = steps > 0;
    steps -= is_step;
    found[0] = found[1] = MP_OBJ_NULL;
    if (is_step || is_public(holder, name)) {
        mp_load_method_protected(holder, name, found, catch_all);
    }
}
