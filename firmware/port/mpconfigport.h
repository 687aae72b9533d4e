// MicroPython's configuration for the monitor.
#ifndef VIPERVISOR_MPCONFIGPORT_H
#define VIPERVISOR_MPCONFIGPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MICROPY_CONFIG_ROM_LEVEL (MICROPY_CONFIG_ROM_LEVEL_EXTRA_FEATURES)

// Memory and numbers.
#define MICROPY_ENABLE_GC (1)
#define MICROPY_ENABLE_FINALISER (1)
// An allocation of more than one block looks for its place from the heap's start on.
#define MICROPY_BYTES_PER_GC_BLOCK (64)
#define MICROPY_GC_STACK_ENTRY_TYPE uint32_t
#define MICROPY_ALLOC_GC_STACK_SIZE (1024)
#define MICROPY_ALLOC_PATH_MAX (256)
#define MICROPY_LONGINT_IMPL (MICROPY_LONGINT_IMPL_MPZ)
#define MICROPY_FLOAT_IMPL (MICROPY_FLOAT_IMPL_DOUBLE)
#define MICROPY_FLOAT_USE_NATIVE_FLT16 (0)
#define MP_NEED_LOG2 (1)
#define MICROPY_USE_INTERNAL_ERRNO (1)
#define MICROPY_STACK_CHECK_MARGIN (8192)
#define MICROPY_ENABLE_EMERGENCY_EXCEPTION_BUF (1)
#define MICROPY_EMERGENCY_EXCEPTION_BUF_SIZE (256)

// Compiler and loader. Native code is assembled in the heap, which cannot be
// executed, and then moved to the pool of native.c.
#define MICROPY_EMIT_X64 (1)
#define MICROPY_PERSISTENT_CODE_LOAD (1)
#define MICROPY_OPT_COMPUTED_GOTO (1)
#define MICROPY_COMP_ALLOW_TOP_LEVEL_AWAIT (1)
void *native_commit(void *code, size_t size, void *relocation);
#define MP_PLAT_COMMIT_EXEC(code, size, relocation) native_commit(code, size, relocation)

// The prompt.
#define MICROPY_HELPER_REPL (1)
#define MICROPY_REPL_AUTO_INDENT (1)
#define MICROPY_REPL_EMACS_KEYS (1)
#define MICROPY_REPL_EMACS_WORDS_MOVE (1)
#define MICROPY_REPL_EMACS_EXTRA_WORDS_MOVE (1)
#define MICROPY_READLINE_HISTORY_SIZE (50)
#define MICROPY_KBD_EXCEPTION (1)
#define MICROPY_ERROR_REPORTING (MICROPY_ERROR_REPORTING_DETAILED)
#define MICROPY_WARNINGS (1)
#define MICROPY_PY_BUILTINS_HELP (1)
#define MICROPY_PY_BUILTINS_HELP_MODULES (1)
#define MICROPY_PY_BUILTINS_HELP_TEXT vipervisor_help_text
#define MICROPY_BANNER_MACHINE "Vipervisor on x86-64"
#define MICROPY_PY_SYS_PLATFORM "vipervisor"
#define MICROPY_HW_BOARD_NAME "Vipervisor"
#define MICROPY_HW_MCU_NAME "x86-64"

#define MICROPY_PY_ERRNO_LIST \
    X(EPERM) X(ENOENT) X(EIO) X(EBADF) X(EAGAIN) X(ENOMEM) X(EACCES) X(EFAULT) X(EBUSY) X(EEXIST) \
    X(ENODEV) X(EISDIR) X(ENOTDIR) X(EINVAL) X(ENOSPC) X(EROFS) X(ERANGE) X(EOPNOTSUPP) X(ETIMEDOUT)

// Before a line of the prompt runs, and after it.
bool reserve_take(void);
void reserve_drop(void);
void reserve_explain(void *error);
#define MICROPY_BOARD_BEFORE_PYTHON_EXEC(kind, flags) reserve_take()
#define MICROPY_BOARD_AFTER_PYTHON_EXEC(kind, flags, error, result) \
    do { \
        reserve_drop(); \
        reserve_explain(error); \
    } while (0)

// Scheduling. The hook runs between bytecodes of every loop: the guests'
// consoles and the slices on this CPU go on while Python computes.
#define MICROPY_ENABLE_SCHEDULER (1)
#define MICROPY_SCHEDULER_DEPTH (32)
#define MICROPY_SCHEDULER_STATIC_NODES (1)
void port_vm_hook(void);
extern uint32_t port_vm_countdown;
#define PORT_VM_HOOK_EVERY (256)
#define MICROPY_VM_HOOK_LOOP \
    if (--port_vm_countdown == 0) { \
        port_vm_hook(); \
    }

// Modules.
#define MICROPY_EPOCH_IS_1970 (1)
#define MICROPY_PY_TIME_GMTIME_LOCALTIME_MKTIME (1)
#define MICROPY_PY_TIME_TIME_TIME_NS (1)
#define MICROPY_PY_TIME_INCLUDEFILE "modtime.inc"
#define MICROPY_PY_MACHINE (1)
#define MICROPY_PY_MACHINE_INCLUDEFILE "modmachine.inc"
#define MICROPY_PY_MACHINE_MEMX (0) // machine_mem.c has them
#define MICROPY_PY_MACHINE_RESET (1)
#define MICROPY_PY_MACHINE_PIN_BASE (0)
#define MICROPY_PY_MACHINE_SIGNAL (0)
#define MICROPY_PY_OS_UNAME (1)
#define MICROPY_PY_OS_SYNC (1)
#define MICROPY_PY_OS_URANDOM (0)
#define MICROPY_PY_RE_MATCH_GROUPS (1)
#define MICROPY_PY_RE_MATCH_SPAN_START_END (1)
#define MICROPY_PY_RANDOM_SEED_INIT_FUNC (port_random_seed())
unsigned long port_random_seed(void);
#define MICROPY_PY_HASHLIB (1)
#define MICROPY_PY_HASHLIB_SHA256 (1)
#define MICROPY_PY_HASHLIB_MD5 (0)
#define MICROPY_PY_HASHLIB_SHA1 (0)
#define MICROPY_PY_CRYPTOLIB (0)
#define MICROPY_PY_DEFLATE (1)
#define MICROPY_PY_DEFLATE_COMPRESS (1)
#define MICROPY_PY_FRAMEBUF (0)
#define MICROPY_PY_ASYNCIO (1)
#define MICROPY_PY_SELECT (1)
#define MICROPY_PY_MATH_SPECIAL_FUNCTIONS (1)
#define MICROPY_PY_MATH_FACTORIAL (1)
#define MICROPY_PY_MATH_ISCLOSE (1)
#define MICROPY_PY_CMATH (1)
#define MICROPY_PY_SYS_ATEXIT (1)
#define MICROPY_PY_SYS_STDIO_BUFFER (1)
#define MICROPY_PY_UCTYPES (1)
#define MICROPY_PY_ONEWIRE (0)
#define MICROPY_PY_MICROPYTHON_MEM_INFO (1)

// Files.
#define MICROPY_VFS (1)
#define MICROPY_READER_VFS (1)
#define MICROPY_PY_VFS (1)
#define MICROPY_FATFS_ENABLE_LFN (1)
#define MICROPY_FATFS_LFN_CODE_PAGE 437
#define MICROPY_FATFS_USE_LABEL (1)
#define MICROPY_FATFS_RPATH (2)

#define MICROPY_PORT_BUILTINS \
    { MP_ROM_QSTR(MP_QSTR_exit), MP_ROM_PTR(&port_exit_obj) }, \
    { MP_ROM_QSTR(MP_QSTR_quit), MP_ROM_PTR(&port_exit_obj) },
extern const struct _mp_obj_fun_builtin_var_t port_exit_obj;

// Only the control CPU enters MicroPython, so interrupts off is enough.
static inline uint64_t port_irq_save(void) {
    uint64_t flags;
    __asm__ volatile ("pushfq; popq %0; cli" : "=r" (flags) : : "memory");
    return flags;
}
static inline void port_irq_restore(uint64_t flags) {
    __asm__ volatile ("pushq %0; popfq" : : "r" (flags) : "memory", "cc");
}
#define MICROPY_BEGIN_ATOMIC_SECTION() port_irq_save()
#define MICROPY_END_ATOMIC_SECTION(state) port_irq_restore(state)

typedef intptr_t mp_int_t;
typedef uintptr_t mp_uint_t;
typedef long mp_off_t;

#include <alloca.h>

#define MP_STATE_PORT MP_STATE_VM

#endif
