// Descriptors of the guest's tables, for loads of segment registers that are carried out here.
#ifndef VIPERVISOR_VIRT_EMULATE_SEGMENT_H
#define VIPERVISOR_VIRT_EMULATE_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/emulate_memory.h"
#include "virt/vcpu.h"

// Selectors and the attributes of struct segment (SDM 3A 3.4.2, 3.4.5).
enum {
    SELECTOR_RPL = 3,
    SELECTOR_TI = 1 << 2,
    ATTR_ACCESSED = 1 << 0,
    ATTR_TSS_BUSY = 1 << 1,
    ATTR_WRITABLE = 1 << 1, // of data; readable, of code
    ATTR_CONFORMING = 1 << 2, // of code
    ATTR_CODE = 1 << 3,
    ATTR_TYPE = 0xF,
    ATTR_S = 1 << 4,
    ATTR_P = 1 << 7,
    ATTR_ALL = 0xF0FF,
    TYPE_LDT = 2,
    TYPE_TSS = 9,
};

static inline unsigned segment_dpl(const struct segment *s) {
    return s->attributes >> SEG_ATTR_DPL_SHIFT & 3;
}

static inline bool selector_is_null(uint16_t selector) {
    return (selector & ~SELECTOR_RPL) == 0;
}

// Where the descriptor of a selector that is not null lies, and what it says; `wide`: 16
// bytes. #GP(selector) beyond the table.
int segment_read(struct emulation *m, uint16_t selector, bool wide, uint64_t *at, struct segment *s);
// Sets the accessed or the busy bit in the descriptor itself, and in *s.
int segment_mark(struct emulation *m, uint64_t at, struct segment *s, uint32_t bit);
// -EINVAL: the back end cannot hold it.
int segment_commit(struct emulation *m, enum vseg seg, const struct segment *s);

#endif
