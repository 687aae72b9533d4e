// The line editor: MicroPython's, and a way to print a line while one is edited.
//
// The editor keeps its state in a static variable, so its source is compiled as a
// part of this file; its readline() gets another name and ours takes its place.
#define readline readline_inner
#include "shared/readline/readline.c"
#undef readline

#include "line_edit.h"
#include "py/nlr.h"
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
