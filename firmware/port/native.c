// Executable memory for @native and @viper code.
//
// The heap is writable and not executable, so finished code is copied to a pool
// that is executable and not writable (its writable view lies elsewhere). The pool
// is only ever filled; a soft reset empties it.
#include "native.h"

#include "cpu/memory.h"
#include "cpu/string.h"
#include "py/mpconfig.h"
#include "py/misc.h"
#include "py/persistentcode.h"
#include "py/runtime.h"

#define CODE_ALIGN 16u

static uint8_t *pool;
static size_t pool_size, pool_used;

void native_init(void) {
    pool = exec_pool(&pool_size);
    pool_used = 0;
}

size_t native_free(void) {
    return pool_size - pool_used;
}

void *native_commit(void *code, size_t size, void *relocation) {
    size_t need = (size + CODE_ALIGN - 1) & ~(size_t)(CODE_ALIGN - 1);
    if (need > pool_size - pool_used) {
        mp_raise_msg_varg(&mp_type_MemoryError,
            MP_ERROR_TEXT("native code: %u bytes wanted, %u of %u left; a soft reset (Ctrl-D) frees them"),
            (unsigned)need, (unsigned)(pool_size - pool_used), (unsigned)pool_size);
    }
    uint8_t *final = pool + pool_used;
    if (relocation != NULL) {
        mp_native_relocate(relocation, code, (uintptr_t)final);
    }
    memcpy(guest_alias((uintptr_t)final), code, size);
    pool_used += need;
    return final;
}
