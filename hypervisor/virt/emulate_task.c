// Task switches of 32-bit guests, which VT-x never makes by itself (SDM volume 3A 7.3, volume 3C
// 25.4.2). A 16-bit TSS ends the guest in a crash record.
#include "virt/emulate_segment.h"

#include "cpu/err.h"
#include "cpu/string.h"
#include "virt/emulate.h"
#include "virt/guest.h"
#include "virt/x86.h"

// A 32-bit TSS (figure 7-2): general registers and segments in the order of enum gpr and vseg.
struct task_state {
    uint32_t link, stacks[6], cr3;
    uint32_t eip, eflags, gpr[8], segments[6]; // what a switch saves
    uint32_t ldt;
    uint16_t trap, io_map;
};
_Static_assert(sizeof(struct task_state) == 104, "a TSS without its I/O map");

enum {
    LINK_SIZE = 2,
    PART = 16, // what an operand can write at once
    SAVED = offsetof(struct task_state, ldt) - offsetof(struct task_state, eip),
    TRAP_BIT = 1,
    SEGMENTS = 6,
    GPRS = 8,
    VM86_LIMIT = 0xFFFF,
    VM86_ATTRIBUTES = 0xF3, // present, DPL 3, data, writable, accessed
    PARAGRAPH_BITS = 4,
};
_Static_assert(SAVED % PART == 0, "in whole parts");
#define RFLAGS_NT (UINT64_C(1) << 14)
#define DR6_BT (UINT64_C(1) << 15)
#define DR7_LOCAL UINT64_C(0x155) // L0 to L3, LE
#define EFLAGS_DEFINED UINT64_C(0x3F7FD5)

static int table_access(struct emulation *m, uint64_t linear, void *bytes, uint8_t size, bool write) {
    struct operand o;
    int error = operand_of_table(m, (uint32_t)linear, size, write ? ACCESS_READ | ACCESS_WRITE : ACCESS_READ, &o);
    if (error == 0 && write) {
        operand_write(m, &o, bytes);
    } else if (error == 0) {
        operand_read(m, &o, bytes);
    }
    return error;
}

static int set_busy(struct emulation *m, uint64_t at, struct segment *s, bool busy) {
    s->attributes &= ~(uint32_t)ATTR_TSS_BUSY;
    if (busy) {
        return segment_mark(m, at, s, ATTR_TSS_BUSY);
    }
    const uint32_t type_byte = 5;
    uint8_t byte = (uint8_t)s->attributes;
    return table_access(m, at + type_byte, &byte, sizeof(byte), true);
}

static int save_old(struct emulation *m, const struct exit_record *e, const struct segment *tr) {
    struct vcpu *v = m->v;
    struct task_state t = { 0 };
    uint64_t rflags = m->walk.rflags;
    rflags = e->task.fault ? rflags | RFLAGS_RF : rflags & ~RFLAGS_RF;
    t.eip = (uint32_t)(v->rip + e->length);
    t.eflags = (uint32_t)(e->task.source == TASK_IRET ? rflags & ~RFLAGS_NT : rflags);
    for (int i = 0; i < GPRS; i++) {
        t.gpr[i] = (uint32_t)v->gpr[i];
    }
    for (int i = 0; i < SEGMENTS; i++) {
        struct segment s;
        virt->seg_get(v, (enum vseg)i, &s);
        t.segments[i] = s.selector;
    }
    uint64_t first = offsetof(struct task_state, eip);
    int error = 0;
    for (uint64_t at = first; error == 0 && at < first + SAVED; at += PART) {
        error = table_access(m, tr->base + at, (uint8_t *)&t + at, PART, true);
    }
    return error;
}

// The new task's faults name a selector by #TS, unless it is not present.
static int bad(struct emulation *m, uint16_t selector) {
    return emulation_selector_fault(m, EXC_TS, selector);
}

static int read_new(struct emulation *m, uint16_t selector, uint64_t *at, struct segment *s) {
    int error = segment_read(m, selector, false, at, s);
    return error == -EFAULT && m->vector == EXC_GP ? bad(m, selector) : error;
}

static int load_ldt(struct emulation *m, uint16_t selector) {
    struct segment s = { .selector = selector, .attributes = SEG_ATTR_UNUSABLE };
    uint64_t at;
    if (selector_is_null(selector)) {
        return segment_commit(m, SEG_LDTR, &s);
    }
    int error = selector & SELECTOR_TI ? bad(m, selector) : read_new(m, selector, &at, &s);
    if (error == 0 && ((s.attributes & (ATTR_TYPE | ATTR_S)) != TYPE_LDT || !(s.attributes & ATTR_P))) {
        error = bad(m, selector);
    }
    return error != 0 ? error : segment_commit(m, SEG_LDTR, &s);
}

static bool segment_fits(enum vseg seg, const struct segment *s, unsigned cpl) {
    uint32_t a = s->attributes;
    unsigned rpl = s->selector & SELECTOR_RPL, dpl = segment_dpl(s);
    bool code = a & ATTR_CODE, conforming = code && (a & ATTR_CONFORMING);
    if (!(a & ATTR_S)) {
        return false;
    }
    switch (seg) {
        case SEG_CS:
            return code && (conforming ? dpl <= cpl : dpl == cpl);
        case SEG_SS:
            return !code && (a & ATTR_WRITABLE) && dpl == cpl && rpl == cpl;
        default:
            return (!code || (a & ATTR_WRITABLE)) && (conforming || (rpl <= dpl && cpl <= dpl));
    }
}

static int load_segment(struct emulation *m, enum vseg seg, uint16_t selector, unsigned cpl, bool vm86) {
    struct segment s = { .selector = selector, .attributes = SEG_ATTR_UNUSABLE };
    uint64_t at;
    if (vm86) {
        s.base = (uint64_t)selector << PARAGRAPH_BITS;
        s.limit = VM86_LIMIT;
        s.attributes = VM86_ATTRIBUTES;
        return segment_commit(m, seg, &s);
    }
    if (selector_is_null(selector)) {
        return seg == SEG_CS || seg == SEG_SS ? bad(m, selector) : segment_commit(m, seg, &s);
    }
    int error = read_new(m, selector, &at, &s);
    if (error == 0 && !segment_fits(seg, &s, cpl)) {
        error = bad(m, selector);
    }
    if (error == 0 && !(s.attributes & ATTR_P)) {
        error = emulation_selector_fault(m, seg == SEG_SS ? EXC_SS : EXC_NP, selector);
    }
    if (error == 0) {
        error = segment_mark(m, at, &s, ATTR_ACCESSED);
    }
    return error != 0 ? error : segment_commit(m, seg, &s);
}

// Everything is the new task's already, as far as faults can tell.
static int load_segments(struct emulation *m, const struct task_state *t) {
    static const enum vseg order[SEGMENTS] = { SEG_SS, SEG_CS, SEG_DS, SEG_ES, SEG_FS, SEG_GS };
    bool vm86 = t->eflags & RFLAGS_VM;
    unsigned cpl = vm86 ? 3 : t->segments[SEG_CS] & SELECTOR_RPL;
    int error = load_ldt(m, (uint16_t)t->ldt);
    for (int i = 0; error == 0 && i < SEGMENTS; i++) {
        error = load_segment(m, order[i], (uint16_t)t->segments[order[i]], cpl, vm86);
    }
    return error;
}

static int push_error(struct emulation *m, uint32_t code) {
    struct vcpu *v = m->v;
    struct segment ss;
    struct operand o;
    virt->seg_get(v, SEG_SS, &ss);
    uint8_t address = ss.attributes & SEG_ATTR_DB ? 4 : 2;
    uint64_t top = (v->gpr[GPR_RSP] - sizeof(code)) & size_mask(address);
    int error = operand_at(m, SEG_SS, top, sizeof(code), ACCESS_WRITE, &o);
    if (error == 0) {
        operand_write(m, &o, &code);
        gpr_write_address(v, GPR_RSP, address, top);
    }
    return error;
}

// Registers of the new task; what follows may fault in it.
static int enter_task(struct emulation *m, const struct exit_record *e, const struct task_state *t) {
    struct vcpu *v = m->v;
    bool linked = e->task.source == TASK_CALL || e->task.source == TASK_GATE;
    uint64_t cr0 = virt->reg_get(v, REG_CR0);
    if ((cr0 & CR0_PG) && virt->reg_set(v, REG_CR3, t->cr3) != 0) {
        return -EINVAL;
    }
    virt->reg_set(v, REG_CR0, cr0 | CR0_TS);
    virt->reg_set(v, REG_RFLAGS, (t->eflags & EFLAGS_DEFINED) | RFLAGS_FIXED | (linked ? RFLAGS_NT : 0));
    virt->reg_set(v, REG_DR7, virt->reg_get(v, REG_DR7) & ~DR7_LOCAL);
    v->rip = t->eip;
    for (int i = 0; i < GPRS; i++) {
        v->gpr[i] = t->gpr[i];
    }
    emulation_begin(m, v, NULL); // other page tables, other privilege
    int error = load_segments(m, t);
    if (error == 0 && e->task.has_error) {
        walk_context(v, &m->walk);
        error = push_error(m, e->task.error);
    }
    return error;
}

static int switch_task(struct emulation *m, struct exit_record *e) {
    struct vcpu *v = m->v;
    struct task_state t;
    struct segment old, new, ignored;
    uint64_t new_at, old_at;
    uint16_t selector = e->task.selector;
    bool linked = e->task.source == TASK_CALL || e->task.source == TASK_GATE;
    virt->seg_get(v, SEG_TR, &old);
    int error = segment_read(m, selector, false, &new_at, &new);
    if (error == 0) {
        error = segment_read(m, old.selector, false, &old_at, &ignored);
    }
    if (error != 0) {
        return error;
    }
    uint32_t type = new.attributes & (ATTR_TYPE | ATTR_S) & ~(uint32_t)ATTR_TSS_BUSY;
    uint32_t old_type = old.attributes & (ATTR_TYPE | ATTR_S);
    if (type != TYPE_TSS || old_type != (TYPE_TSS | ATTR_TSS_BUSY)) {
        return -EINVAL;
    }
    error = table_access(m, new.base, &t, sizeof(t), false);
    if (error == 0) {
        error = save_old(m, e, &old);
    }
    if (error == 0 && !linked) {
        error = set_busy(m, old_at, &ignored, false);
    }
    if (error == 0 && linked) {
        error = table_access(m, new.base, &old.selector, LINK_SIZE, true);
    }
    if (error == 0 && e->task.source != TASK_IRET) {
        error = set_busy(m, new_at, &new, true);
    }
    if (error != 0) {
        return error;
    }
    e->length = 0;
    v->skipped = true;
    new.attributes |= ATTR_TSS_BUSY;
    error = segment_commit(m, SEG_TR, &new);
    if (error == 0) {
        error = enter_task(m, e, &t);
    }
    if (error == 0 && (t.trap & TRAP_BIT)) {
        virt->reg_set(v, REG_DR6, virt->reg_get(v, REG_DR6) | DR6_BT);
        exit_inject(v, e, EXC_DB, false, 0);
    }
    return error;
}

bool emulate_task_switch(struct vcpu *v, struct exit_record *e) {
    struct emulation m;
    emulation_begin(&m, v, NULL);
    int error = switch_task(&m, e);
    if (error != 0 && !emulation_end(&m, e, error)) {
        guest_crash(v, e, "it switches to task %x by a TSS that is not one of 32 bits", (unsigned)e->task.selector);
    }
    return true;
}
