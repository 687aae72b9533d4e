// References are to Intel's SDM, volume 3A, chapters 3, 5 and 6.
#include "virt/emulate_memory.h"

#include "cpu/err.h"
#include "cpu/memory.h"
#include "cpu/string.h"
#include "virt/emulate.h"
#include "virt/guest.h"
#include "virt/mmio.h"
#include "virt/vcpu_state.h"
#include "virt/x86.h"

// Descriptor type bits in a segment's attributes (3.4.5.1).
enum {
    TYPE_WRITABLE = 1 << 1, // of data; readable, of code
    TYPE_EXPAND_DOWN = 1 << 2, // of data
    TYPE_CODE = 1 << 3,
};

void emulation_begin(struct emulation *m, struct vcpu *v, const struct insn *insn) {
    struct segment cs;
    virt->seg_get(v, SEG_CS, &cs);
    m->v = v;
    m->insn = insn;
    walk_context(v, &m->walk);
    m->rflags = m->walk.rflags;
    m->long_code = (m->walk.efer & EFER_LMA) && (cs.attributes & SEG_ATTR_L);
    m->vector = 0;
    m->error = 0;
    m->fault = (struct walk_fault) { 0 };
    m->recent[0].access = m->recent[1].access = 0;
    m->recent_next = 0;
}

int emulation_fault(struct emulation *m, uint8_t vector) {
    m->vector = vector;
    m->error = 0;
    return -EFAULT;
}

int emulation_selector_fault(struct emulation *m, uint8_t vector, uint16_t selector) {
    const uint16_t rpl = 3;
    m->vector = vector;
    m->error = selector & (uint16_t)~rpl;
    return -EFAULT;
}

bool emulation_end(struct emulation *m, struct exit_record *e, int result) {
    struct vcpu *v = m->v;
    e->length = 0;
    if (result == -EAGAIN || v->served.asking) {
        return true;
    }
    if (result == -EFAULT) {
        return m->vector == EXC_PF ? exit_inject_fault(v, e, &m->fault)
            : exit_inject(v, e, m->vector, EXC_VECTORS_WITH_ERROR >> m->vector & 1, m->error);
    }
    if (result != 0) {
        return false;
    }
    uint64_t rflags = m->rflags & ~RFLAGS_RF; // an instruction that completes clears it
    if (rflags != m->walk.rflags) {
        virt->reg_set(v, REG_RFLAGS, rflags);
    }
    e->length = m->insn->length;
    return true;
}

// ---- Registers ----

uint64_t size_mask(uint8_t size) {
    return size >= 8 ? ~UINT64_C(0) : (UINT64_C(1) << (size * 8)) - 1;
}

uint64_t gpr_read(const struct vcpu *v, uint8_t reg, uint8_t size, bool high_byte) {
    return (high_byte ? v->gpr[reg] >> 8 : v->gpr[reg]) & size_mask(size);
}

void gpr_write(struct vcpu *v, uint8_t reg, uint8_t size, bool high_byte, uint64_t value) {
    uint64_t mask = size_mask(size), *r = &v->gpr[reg];
    if (size == 4) {
        *r = (uint32_t)value;
    } else if (high_byte) {
        *r = (*r & ~(mask << 8)) | (value & mask) << 8;
    } else {
        *r = (*r & ~mask) | (value & mask);
    }
}

void gpr_write_address(struct vcpu *v, uint8_t reg, uint8_t address_size, uint64_t value) {
    gpr_write(v, reg, address_size, false, value);
}

// ---- From segment and offset to guest-physical ----

// Limit, type and presence of a segment that the mode checks (5.3, 5.5).
static bool segment_allows(const struct emulation *m, const struct segment *s, uint64_t offset, uint8_t size,
    uint32_t access) {
    uint64_t last = offset + size - 1;
    if (s->attributes & SEG_ATTR_UNUSABLE) {
        return false;
    }
    bool typed = (m->walk.cr0 & CR0_PE) && !(m->walk.rflags & RFLAGS_VM);
    bool code = typed && (s->attributes & TYPE_CODE);
    if (typed) {
        bool flag = s->attributes & TYPE_WRITABLE;
        if ((access & ACCESS_WRITE) ? code || !flag : code && !flag) {
            return false;
        }
    }
    if (!code && typed && (s->attributes & TYPE_EXPAND_DOWN)) {
        uint64_t top = s->attributes & SEG_ATTR_DB ? UINT32_MAX : UINT16_MAX;
        return offset > s->limit && last <= top;
    }
    return last <= s->limit;
}

static int linear_of(struct emulation *m, enum vseg segment, uint64_t offset, uint8_t size, uint32_t access,
    uint64_t *linear) {
    struct segment s;
    *linear = offset;
    if (m->long_code) {
        if (segment == SEG_FS || segment == SEG_GS) {
            virt->seg_get(m->v, segment, &s);
            *linear += s.base;
        }
        return 0;
    }
    virt->seg_get(m->v, segment, &s);
    if (!segment_allows(m, &s, offset, size, access)) {
        return emulation_fault(m, segment == SEG_SS ? EXC_SS : EXC_GP);
    }
    *linear = (uint32_t)(s.base + offset);
    return 0;
}

static int translate(struct emulation *m, uint64_t linear, uint32_t access, uint64_t *gpa) {
    uint64_t in_page = linear & (PAGE_SIZE - 1), page = linear - in_page;
    for (int i = 0; i < 2; i++) {
        if (m->recent[i].access == access && m->recent[i].linear == page) {
            *gpa = m->recent[i].gpa + in_page;
            return 0;
        }
    }
    int error = guest_walk(&m->walk, linear, access, true, gpa, &m->fault, NULL, NULL);
    if (error == 0) {
        uint8_t slot = m->recent_next;
        m->recent[slot].linear = page;
        m->recent[slot].gpa = *gpa - in_page;
        m->recent[slot].access = access;
        m->recent_next = slot ^ 1;
    }
    return error;
}

static int operand_linear(struct emulation *m, uint64_t linear, uint8_t size, uint32_t access, struct operand *o) {
    uint64_t room = PAGE_SIZE - (linear & (PAGE_SIZE - 1));
    o->size = size;
    o->first = room < size ? (uint8_t)room : size;
    int error = translate(m, linear, access, &o->gpa[0]);
    if (error == 0 && o->first < size) {
        uint64_t next = linear + o->first;
        next = m->long_code ? next : (uint32_t)next;
        error = translate(m, next, access, &o->gpa[1]);
    }
    return error;
}

int operand_at(struct emulation *m, enum vseg segment, uint64_t offset, uint8_t size, uint32_t access,
    struct operand *o) {
    uint64_t linear;
    int error = linear_of(m, segment, offset, size, access, &linear);
    if (error == 0) {
        error = operand_linear(m, linear, size, access | (m->walk.cpl == 3 ? ACCESS_USER : 0u), o);
        if (error == -EFAULT) {
            m->vector = !m->fault.non_canonical ? EXC_PF : segment == SEG_SS ? EXC_SS : EXC_GP;
        }
    }
    return error;
}

int operand_of_table(struct emulation *m, uint64_t linear, uint8_t size, uint32_t access, struct operand *o) {
    int error = operand_linear(m, linear, size, access, o);
    if (error == -EFAULT) {
        m->vector = m->fault.non_canonical ? EXC_GP : EXC_PF;
    }
    return error;
}

int operand_of_insn(struct emulation *m, uint32_t access, struct operand *o) {
    const struct insn *insn = m->insn;
    return operand_at(m, (enum vseg)insn->segment, insn_offset(m->v, insn), insn->size, access, o);
}

// ---- What lies there ----

// Other CPUs of the guest look at the same memory: a naturally sized part moves whole.
static bool ram_access(struct guest *g, uint64_t gpa, uint8_t *bytes, uint8_t size, bool write) {
    size_t available;
    const void *from = guest_read_ptr(g, gpa, &available);
    if (from == NULL || available < size) {
        return false;
    }
    void *to = write ? guest_write_ptr(g, gpa, &available) : bytes;
    const void *source = write ? bytes : from;
    if (to == NULL) {
        return true; // memory that cannot be written: the write is lost
    }
#define MOVE(type) { \
        typedef type part __attribute__((aligned(1), may_alias)); \
        *(volatile part *)to = *(const volatile part *)source; \
        break; \
    }
    switch (size) {
        case 1: MOVE(uint8_t)
        case 2: MOVE(uint16_t)
        case 4: MOVE(uint32_t)
        case 8: MOVE(uint64_t)
        default:
            memcpy(to, source, size);
            break;
    }
#undef MOVE
    return true;
}

// A device sees accesses of 1, 2, 4 and 8 bytes, from the lowest address up.
static void device_access(struct vcpu *v, uint64_t gpa, uint8_t *bytes, uint8_t size, bool write) {
    while (size != 0) {
        uint8_t part = size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
        uint64_t value = 0;
        if (write) {
            memcpy(&value, bytes, part);
        }
        mmio_access(v, gpa, part, write, &value);
        if (!write) {
            memcpy(bytes, &value, part);
        }
        gpa += part;
        bytes += part;
        size = (uint8_t)(size - part);
    }
}

static void part_access(struct vcpu *v, uint64_t gpa, uint8_t *bytes, uint8_t size, bool write) {
    if (!v->served.asking && !ram_access(v->guest, gpa, bytes, size, write)) {
        device_access(v, gpa, bytes, size, write);
    }
}

static bool is_ram(struct guest *g, uint64_t gpa) {
    size_t available;
    return guest_read_ptr(g, gpa, &available) != NULL;
}

static void operand_access(const struct emulation *m, const struct operand *o, uint8_t *bytes, bool write) {
    if (write && m->v->served.active && o->first < o->size && is_ram(m->v->guest, o->gpa[0])) {
        // Python may have to be asked about the other part, and then nothing is written yet.
        part_access(m->v, o->gpa[1], bytes + o->first, (uint8_t)(o->size - o->first), write);
        part_access(m->v, o->gpa[0], bytes, o->first, write);
        return;
    }
    part_access(m->v, o->gpa[0], bytes, o->first, write);
    if (o->first < o->size) {
        part_access(m->v, o->gpa[1], bytes + o->first, (uint8_t)(o->size - o->first), write);
    }
}

void operand_read(const struct emulation *m, const struct operand *o, void *to) {
    operand_access(m, o, to, false);
}

void operand_write(const struct emulation *m, const struct operand *o, const void *from) {
    uint8_t bytes[16];
    memcpy(bytes, from, o->size);
    operand_access(m, o, bytes, true);
}
