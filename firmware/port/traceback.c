// Tracebacks at the prompt. That of an endless recursion has hundreds of lines, and what
// stood on the screen before is gone: its middle is left out (as in hv/events.py).
#include "traceback.h"

#include <string.h>

#include "py/mpprint.h"
#include "py/runtime.h"

enum {
    KEPT = 12, // frames at either end
    PER_FRAME = 3, // words: file, line, function
};

struct filter {
    const mp_print_t *out;
    size_t line, skip_from, skip_to; // lines
};

static void print_some(void *data, const char *text, size_t size) {
    struct filter *f = data;
    while (size > 0) {
        const char *end = memchr(text, '\n', size);
        size_t part = end != NULL ? (size_t)(end - text) + 1 : size;
        if (f->line < f->skip_from || f->line >= f->skip_to) {
            f->out->print_strn(f->out->data, text, part);
        } else if (end != NULL && f->line == f->skip_from) {
            mp_printf(f->out, "  ... %u frames more ...\n", (unsigned)(f->skip_to - f->skip_from));
        }
        f->line += end != NULL;
        text += part;
        size -= part;
    }
}

void port_print_exception(const mp_print_t *print, mp_obj_t error) {
    size_t words = 0, *values;
    if (mp_obj_is_exception_instance(error)) {
        mp_obj_exception_get_traceback(error, &words, &values);
    }
    size_t frames = words / PER_FRAME;
    struct filter f = { .out = print };
    if (frames > 2 * KEPT + 1) { // behind the title
        f.skip_from = 1 + KEPT;
        f.skip_to = 1 + frames - KEPT;
    }
    const mp_print_t filtered = { &f, print_some };
    mp_obj_print_exception(&filtered, error);
}
