// Memory for what comes after a MemoryError: without it a program that has filled the heap
// leaves a prompt that cannot even compile `del x`.
#include "reserve.h"

#include "py/gc.h"
#include "py/mphal.h"
#include "py/objtype.h"
#include "py/runtime.h"

#define RESERVE (128u * 1024)
#define LITTLE (1024u * 1024) // less than this is worth a hint

MP_REGISTER_ROOT_POINTER(void *reserve);

bool reserve_take(void) {
    if (MP_STATE_VM(reserve) != NULL) {
        return false;
    }
    // In a heap that is full still, the program at hand needs all there is.
    void *kept = m_malloc_maybe(RESERVE), *rest = m_malloc_maybe(RESERVE);
    m_free(rest);
    if (rest == NULL) {
        m_free(kept);
        return false;
    }
    MP_STATE_VM(reserve) = kept;
    return true;
}

void reserve_drop(void) {
    m_free(MP_STATE_VM(reserve));
    MP_STATE_VM(reserve) = NULL;
}

void reserve_explain(void *error) {
    if (error == NULL
        || !mp_obj_is_subclass_fast(MP_OBJ_FROM_PTR(mp_obj_get_type(MP_OBJ_FROM_PTR(error))),
            MP_OBJ_FROM_PTR(&mp_type_MemoryError))) {
        return;
    }
    gc_collect();
    gc_info_t heap;
    gc_info(&heap);
    if (heap.free < LITTLE) {
        mp_printf(&mp_plat_print,
            "Python's memory is full (%u of %u KiB are free): `del` what fills it, or Ctrl-D\n"
            "starts Python afresh; guests run on.\n", (unsigned)(heap.free / 1024), (unsigned)(heap.total / 1024));
    }
}
