// Loads of segment registers from a selector, or a far pointer, that lies on a device.
// References are to Intel's SDM, volume 3A, chapters 3 and 5, and volume 2, MOV, JMP, LTR, LLDT.
#include "virt/emulate_segment.h"

#include "cpu/err.h"
#include "cpu/string.h"
#include "virt/emulate.h"
#include "virt/guest.h"
#include "virt/x86.h"

enum {
    SELECTOR_SIZE = 2,
    PAGE_BITS = 12,
    PARAGRAPH_BITS = 4,
    ATTRIBUTES_SHIFT = 40, // of a descriptor, where struct segment's begin
    LIMIT_HIGH_SHIFT = 48,
    DESCRIPTOR_SIZE = 8,
    DESCRIPTOR_WIDE = 16, // LDT and TSS in IA-32e mode
    TYPE_TSS16 = 1,
};

static bool protected_mode(const struct emulation *m) {
    return (m->walk.cr0 & CR0_PE) && !(m->walk.rflags & RFLAGS_VM);
}

static void decode_descriptor(const uint64_t raw[2], bool wide, struct segment *s) {
    uint64_t d = raw[0];
    s->base = (d >> 16 & 0xFFFFFF) | (d >> 56 & 0xFF) << 24 | (wide ? raw[1] << 32 : 0);
    s->attributes = d >> ATTRIBUTES_SHIFT & ATTR_ALL;
    s->limit = (uint32_t)((d & 0xFFFF) | (d >> LIMIT_HIGH_SHIFT & 0xF) << 16);
    if (s->attributes & SEG_ATTR_G) {
        s->limit = s->limit << PAGE_BITS | ((1u << PAGE_BITS) - 1);
    }
}

// Where the descriptor of a selector that is not null lies, and what it says.
int segment_read(struct emulation *m, uint16_t selector, bool wide, uint64_t *at, struct segment *s) {
    struct vcpu *v = m->v;
    struct segment ldt = { 0 };
    uint64_t base, limit, raw[2] = { 0 };
    if (selector & SELECTOR_TI) {
        virt->seg_get(v, SEG_LDTR, &ldt);
        base = ldt.base;
        limit = ldt.limit;
    } else {
        base = virt->reg_get(v, REG_GDT_BASE);
        limit = virt->reg_get(v, REG_GDT_LIMIT);
    }
    uint8_t size = wide ? DESCRIPTOR_WIDE : DESCRIPTOR_SIZE;
    uint32_t offset = selector & (uint32_t)~(SELECTOR_RPL | SELECTOR_TI);
    if ((ldt.attributes & SEG_ATTR_UNUSABLE) || offset + size - 1u > limit) {
        return emulation_selector_fault(m, EXC_GP, selector);
    }
    struct operand o;
    *at = base + offset;
    int error = operand_of_table(m, *at, size, ACCESS_READ, &o);
    if (error == 0) {
        operand_read(m, &o, raw);
        decode_descriptor(raw, wide, s);
        s->selector = selector;
    }
    return error;
}

// Sets the accessed or the busy bit in the descriptor itself.
int segment_mark(struct emulation *m, uint64_t at, struct segment *s, uint32_t bit) {
    struct operand o;
    if (s->attributes & bit) {
        return 0;
    }
    s->attributes |= bit;
    int error = operand_of_table(m, at + ATTRIBUTES_SHIFT / 8, 1, ACCESS_READ | ACCESS_WRITE, &o);
    if (error == 0) {
        uint8_t byte = (uint8_t)s->attributes;
        operand_write(m, &o, &byte);
    }
    return error;
}

int segment_commit(struct emulation *m, enum vseg seg, const struct segment *s) {
    return virt->seg_set(m->v, seg, s) == 0 ? 0 : -EINVAL;
}

static int load_real(struct emulation *m, enum vseg seg, uint16_t selector) {
    struct segment s;
    virt->seg_get(m->v, seg, &s); // limit and type stay
    s.selector = selector;
    s.base = (uint64_t)selector << PARAGRAPH_BITS;
    return segment_commit(m, seg, &s);
}

static int load_null(struct emulation *m, enum vseg seg, uint16_t selector) {
    bool allowed = seg != SEG_TR && seg != SEG_CS;
    if (seg == SEG_SS) { // 64-bit code below CPL 3 only
        allowed = m->long_code && m->walk.cpl < 3 && (selector & SELECTOR_RPL) == m->walk.cpl;
    }
    if (!allowed) {
        return emulation_fault(m, EXC_GP);
    }
    struct segment s = { .selector = selector, .attributes = SEG_ATTR_UNUSABLE };
    if (seg == SEG_SS) {
        s.attributes |= (uint32_t)m->walk.cpl << SEG_ATTR_DPL_SHIFT;
    }
    return segment_commit(m, seg, &s);
}

// Which descriptors DS, ES, FS, GS and SS take (volume 2, MOV).
static bool data_allowed(const struct emulation *m, enum vseg seg, const struct segment *s) {
    uint32_t a = s->attributes;
    unsigned rpl = s->selector & SELECTOR_RPL, dpl = segment_dpl(s), cpl = m->walk.cpl;
    bool code = a & ATTR_CODE;
    if (!(a & ATTR_S)) {
        return false;
    }
    if (seg == SEG_SS) {
        return !code && (a & ATTR_WRITABLE) && rpl == cpl && dpl == cpl;
    }
    if (code && !(a & ATTR_WRITABLE)) {
        return false;
    }
    return (code && (a & ATTR_CONFORMING)) || (rpl <= dpl && cpl <= dpl);
}

static int load_data(struct emulation *m, enum vseg seg, uint16_t selector) {
    struct segment s;
    uint64_t at;
    int error = segment_read(m, selector, false, &at, &s);
    if (error == 0 && !data_allowed(m, seg, &s)) {
        error = emulation_selector_fault(m, EXC_GP, selector);
    }
    if (error == 0 && !(s.attributes & ATTR_P)) {
        error = emulation_selector_fault(m, seg == SEG_SS ? EXC_SS : EXC_NP, selector);
    }
    if (error == 0) {
        error = segment_mark(m, at, &s, ATTR_ACCESSED);
    }
    return error != 0 ? error : segment_commit(m, seg, &s);
}

// LLDT and LTR, which fault above CPL 0 before they look at memory.
static int load_system(struct emulation *m, enum vseg seg, uint16_t selector) {
    struct segment s;
    uint64_t at;
    bool wide = m->walk.efer & EFER_LMA;
    if (selector & SELECTOR_TI) {
        return emulation_selector_fault(m, EXC_GP, selector);
    }
    int error = segment_read(m, selector, wide, &at, &s);
    if (error != 0) {
        return error;
    }
    uint32_t type = s.attributes & (ATTR_TYPE | ATTR_S);
    bool right = seg == SEG_LDTR ? type == TYPE_LDT : type == TYPE_TSS || (type == TYPE_TSS16 && !wide);
    if (!right) {
        return emulation_selector_fault(m, EXC_GP, selector);
    }
    if (!(s.attributes & ATTR_P)) {
        return emulation_selector_fault(m, EXC_NP, selector);
    }
    if (seg == SEG_TR) {
        error = segment_mark(m, at, &s, ATTR_TSS_BUSY);
    }
    return error != 0 ? error : segment_commit(m, seg, &s);
}

int emulate_load_segment(struct emulation *m) {
    const struct insn *i = m->insn;
    enum vseg seg = (enum vseg)i->other_reg;
    struct operand o;
    int error = operand_at(m, (enum vseg)i->segment, insn_offset(m->v, i), SELECTOR_SIZE, ACCESS_READ, &o);
    if (error != 0) {
        return error;
    }
    uint16_t selector = 0;
    operand_read(m, &o, &selector);
    if (m->v->served.asking) {
        return -EAGAIN; // it is not known yet
    }
    if (!protected_mode(m)) {
        return load_real(m, seg, selector);
    }
    if (selector_is_null(selector)) {
        return load_null(m, seg, selector);
    }
    return seg == SEG_LDTR || seg == SEG_TR ? load_system(m, seg, selector) : load_data(m, seg, selector);
}

// Code segments only: gates and task switches are left to the caller's crash record.
static int load_code(struct emulation *m, uint16_t selector, struct segment *s) {
    uint64_t at;
    unsigned cpl = m->walk.cpl, rpl = selector & SELECTOR_RPL;
    if (selector_is_null(selector)) {
        return emulation_fault(m, EXC_GP);
    }
    int error = segment_read(m, selector, false, &at, s);
    if (error != 0) {
        return error;
    }
    if (!(s->attributes & ATTR_S)) {
        return -EINVAL;
    }
    bool conforming = s->attributes & ATTR_CONFORMING;
    unsigned dpl = segment_dpl(s);
    bool allowed = (s->attributes & ATTR_CODE) && (conforming ? dpl <= cpl : rpl <= cpl && dpl == cpl);
    bool both_sizes = (m->walk.efer & EFER_LMA) && (s->attributes & SEG_ATTR_L) && (s->attributes & SEG_ATTR_DB);
    if (!allowed || both_sizes) {
        return emulation_selector_fault(m, EXC_GP, selector);
    }
    if (!(s->attributes & ATTR_P)) {
        return emulation_selector_fault(m, EXC_NP, selector);
    }
    s->selector = (uint16_t)((selector & ~SELECTOR_RPL) | cpl);
    return segment_mark(m, at, s, ATTR_ACCESSED);
}

int emulate_far_jump(struct emulation *m) {
    const struct insn *i = m->insn;
    uint8_t offset_size = (uint8_t)(i->size - SELECTOR_SIZE), bytes[16] = { 0 };
    uint64_t target = 0;
    uint16_t selector;
    struct operand o;
    struct segment s;
    int error = operand_of_insn(m, ACCESS_READ, &o);
    if (error != 0) {
        return error;
    }
    operand_read(m, &o, bytes);
    if (m->v->served.asking) {
        return -EAGAIN; // the target is not known yet
    }
    memcpy(&target, bytes, offset_size);
    memcpy(&selector, bytes + offset_size, SELECTOR_SIZE);
    if (!protected_mode(m)) {
        error = load_real(m, SEG_CS, selector);
    } else {
        error = load_code(m, selector, &s);
        bool wide = error == 0 && (m->walk.efer & EFER_LMA) && (s.attributes & SEG_ATTR_L);
        if (error == 0 && (wide ? !emulate_may_jump(m, target) : target > s.limit)) {
            error = emulation_fault(m, EXC_GP);
        }
        if (error == 0) {
            error = segment_commit(m, SEG_CS, &s);
        }
    }
    if (error == 0) {
        m->v->rip = target - i->length; // the dispatcher adds it
    }
    return error;
}
