// Python's life on the control CPU: started by the core, again after each soft reset.
#include "boot/bootinfo.h"
#include "boot/boot.h"
#include "capture.h"
#include "channel.h"
#include "cpu/log.h"
#include "cpu/memory.h"
#include "line_edit.h"
#include "native.h"
#include "poll.h"
#include "port.h"
#include "power.h"
#include "py/builtin.h"
#include "py/compile.h"
#include "py/cstack.h"
#include "py/gc.h"
#include "py/lexer.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "shared/readline/readline.h"
#include "shared/runtime/gchelper.h"
#include "shared/runtime/interrupt_char.h"
#include "shared/runtime/pyexec.h"
#include "terminal.h"
#include "traceback.h"

extern char stack0_bottom[], stack0_top[];

const char vipervisor_help_text[] =
    "Vipervisor: a hypervisor that is programmed in Python. This is its prompt, on CPU 0.\n"
    "\n"
    "  hv.machine          what this machine is: CPUs, memory, features\n"
    "  hv.guests()         the guests and what they do\n"
    "  help(hv)            the calls to start with\n"
    "\n"
    "Tab completes, Ctrl-C interrupts Python (guests run on), Ctrl-D restarts Python\n"
    "(guests run on), exit() powers the machine off.\n";

// ---- Ends of Python ----

static mp_obj_t port_exit(size_t n_args, const mp_obj_t *args) {
    power_off();
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(port_exit_obj, 0, 1, port_exit);

void nlr_jump_fail(void *value) {
    panic("MicroPython raised %p where nothing catches", value);
}

void gc_collect(void) {
    gc_collect_start();
    gc_helper_collect_regs_and_stack();
    gc_collect_end();
}

// ---- Start ----

// A boot module as a script; its errors are printed like any other's.
static int run_boot_module(const char *name) {
    const struct boot_module *m = boot_module_find(name);
    if (m == NULL) {
        return 0;
    }
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        mp_lexer_t *lexer = mp_lexer_new_from_str_len(qstr_from_str(name),
            (const char *)(uintptr_t)m->base, m->size, 0);
        qstr source = lexer->source_name;
        mp_parse_tree_t tree = mp_parse(lexer, MP_PARSE_FILE_INPUT);
        mp_obj_t function = mp_compile(&tree, source, false);
        mp_hal_set_interrupt_char(CHAR_CTRL_C);
        mp_call_function_0(function);
        mp_hal_set_interrupt_char(-1);
        mp_handle_pending(true);
        nlr_pop();
        return 0;
    }
    mp_hal_set_interrupt_char(-1);
    mp_handle_pending(false);
    mp_obj_t error = MP_OBJ_FROM_PTR(nlr.ret_val);
    if (mp_obj_is_subclass_fast(MP_OBJ_FROM_PTR(mp_obj_get_type(error)),
        MP_OBJ_FROM_PTR(&mp_type_SystemExit))) {
        return PYEXEC_FORCED_EXIT;
    }
    port_print_exception(&mp_plat_print, error);
    return 0;
}

bool port_first_start = true;

static void run_scripts(void) {
    pyexec_frozen_module("_boot.py", false);
    if (port_first_start) {
        port_first_start = false;
        if (!(run_boot_module("boot.py") & PYEXEC_FORCED_EXIT)) {
            run_boot_module("main.py");
        }
    }
}

static void run_prompt(void) {
    for (;;) {
        int ended = pyexec_mode_kind == PYEXEC_MODE_RAW_REPL ? pyexec_raw_repl() : pyexec_friendly_repl();
        if (ended != 0) {
            return;
        }
    }
}

// What sys.atexit() was given.
static void run_exit_function(void) {
    mp_obj_t function = MP_STATE_VM(sys_exitfunc);
    nlr_buf_t nlr;
    if (mp_obj_is_callable(function)) {
        if (nlr_push(&nlr) == 0) {
            mp_call_function_0(function);
            nlr_pop();
        } else {
            port_print_exception(&mp_plat_print, MP_OBJ_FROM_PTR(nlr.ret_val));
        }
    }
}

void firmware_main(void) {
    size_t heap_size;
    char *heap = heap_region(&heap_size);
    terminal_init();
    channel_init();
    port_clock_init();
    native_watch();
    for (;;) {
        mp_cstack_init_with_top(stack0_top, (size_t)(stack0_top - stack0_bottom));
        gc_init(heap, heap + heap_size);
        native_init();
        mp_init();
        line_edit_init();
        event_reset();
        run_scripts();
        run_prompt();
        run_exit_function();
        pyexec_frozen_module("_leave.py", false);
        event_reset();
        capture_set(-1);
        mp_hal_stdout_tx_str("MPY: soft reboot\r\n");
        gc_sweep_all();
        mp_deinit();
    }
}
