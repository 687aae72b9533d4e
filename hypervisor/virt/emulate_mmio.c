// Accesses to guest-physical addresses where the guest has no memory.
#include "virt/emulate.h"

#include "cpu/err.h"
#include "virt/guest.h"
#include "virt/irq.h"
#include "virt/mmio.h"

enum { PAGE_OFFSET_MASK = 0xFFF };

// A MOV whose operand lies in one page: the exit's own address is the operand's, and
// the CPU has checked segment and page tables and set A and D on the way. An operand
// that crosses a page is reported at the second one's start.
static bool plain_move(const struct insn *insn, const struct exit_record *e) {
    uint64_t in_page = e->nested.gpa & PAGE_OFFSET_MASK;
    bool load = insn->class == INSN_MOV_LOAD;
    if ((!load && insn->class != INSN_MOV_STORE) || in_page == 0
        || in_page + insn->size > PAGE_OFFSET_MASK + 1) {
        return false;
    }
    return load != ((e->nested.access & ACCESS_WRITE) != 0);
}

// Handlers answer with more than the size asked for at will: the register takes its part.
static inline void take_number(struct vcpu *v, const struct insn *insn, uint64_t value) {
    if (insn->size == 4 && insn->reg_size == 4) { // the registers of most devices
        v->gpr[insn->reg] = (uint32_t)value;
    } else {
        emulate_load(v, insn, value);
    }
}

static inline uint64_t number_of(const struct vcpu *v, const struct insn *insn) {
    if (insn->size == 4 && insn->reg_size == 4) {
        return (uint32_t)v->gpr[insn->reg];
    }
    return insn->reg_size != 0 ? gpr_read(v, insn->reg, insn->size, insn->high_byte)
        : insn->immediate & size_mask(insn->size);
}

static void cannot(struct vcpu *v, struct exit_record *e) {
    guest_crash(v, e, "its instruction at %lx cannot be carried out on device memory (guest-physical %lx)", v->rip,
        e->nested.gpa);
}

static __attribute__((noinline)) bool general(struct vcpu *v, const struct insn *insn, struct exit_record *e) {
    struct emulation m;
    if (insn->class == INSN_LMSW || insn->class == INSN_SMSW) {
        return emulate_msw(v, e, insn);
    }
    emulation_begin(&m, v, insn);
    if (insn->op >= OP_MOVS) {
        if (insn->class != INSN_STRING_IO) {
            return emulate_string(&m, e);
        }
    } else if (emulation_end(&m, e, emulate_insn(&m))) {
        return true;
    }
    cannot(v, e);
    return true;
}

// No range holds the operand as a whole, or its device does not answer.
static __attribute__((noinline)) void unanswered(struct vcpu *v, const struct exit_record *e, const struct insn *insn,
    bool asked, uint64_t *value) {
    if (asked) {
        v->guest->unclaimed_memory++;
        *value = UINT64_MAX;
    } else {
        mmio_access(v, e->nested.gpa, insn->size, insn->class != INSN_MOV_LOAD, value);
    }
}

static __attribute__((noinline)) bool no_insn(struct vcpu *v, struct exit_record *e, int error,
    const struct walk_fault *fault) {
    if (error == -EFAULT) {
        return exit_inject_fault(v, e, fault);
    }
    if (error != -EAGAIN) {
        cannot(v, e);
    }
    return true;
}

// Why the fault cannot be an access to a device.
static __attribute__((noinline)) bool refuse(struct vcpu *v, struct exit_record *e) {
    size_t available;
    if (e->nested.table_walk || (e->nested.access & ACCESS_FETCH) != 0) {
        guest_crash(v, e, "it %s at guest-physical %lx, where it has no memory",
            e->nested.table_walk ? "keeps a page table" : "executes", e->nested.gpa);
    } else if (guest_read_ptr(v->guest, e->nested.gpa, &available) != NULL) {
        guest_crash(v, e, "its own memory at %lx is not in its nested tables", e->nested.gpa);
    } else {
        guest_crash(v, e, "its descriptor tables or stack lie at guest-physical %lx, where it has no memory",
            e->nested.gpa);
    }
    return true;
}

static bool may_be_device(struct vcpu *v, const struct exit_record *e, const struct mmio_range *r) {
    size_t available;
    uint32_t code;
    if (e->nested.table_walk || (e->nested.access & ACCESS_FETCH) != 0) {
        return false;
    }
    if (r == NULL && guest_read_ptr(v->guest, e->nested.gpa, &available) != NULL) {
        return false;
    }
    return (virt->vectoring(v, &code) & EVENT_VALID) == 0;
}

// Any instruction.
__attribute__((noinline)) bool emulate_mmio_any(struct vcpu *v, struct exit_record *e) {
    uint64_t gpa = e->nested.gpa;
    const struct mmio_range *r = mmio_find(&v->guest->mmio, gpa);
    if (__builtin_expect(!may_be_device(v, e, r), 0)) {
        return refuse(v, e);
    }
    const struct insn *insn;
    struct walk_fault fault;
    int error = vcpu_insn(v, &insn, &fault);
    if (__builtin_expect(error != 0, 0)) {
        return no_insn(v, e, error, &fault);
    }
    if (!plain_move(insn, e)) {
        return general(v, insn, e);
    }
    e->length = insn->length;
    bool load = insn->class == INSN_MOV_LOAD;
    uint64_t value = load ? 0 : number_of(v, insn);
    bool whole = r != NULL && mmio_holds(r, gpa, insn->size);
    if (__builtin_expect(!whole || !r->handler(v, r->context, gpa - r->gpa, insn->size, !load, &value), 0)) {
        unanswered(v, e, insn, whole, &value);
    }
    if (load) {
        take_number(v, insn, value);
    }
    return true;
}

// A MOV of four bytes that do not cross a page, on one device.
static inline const struct insn_slot *quick_move(struct vcpu *v, const struct exit_record *e) {
    enum { SIZE = sizeof(uint32_t) };
    if (!e->nested.data || (e->nested.gpa & PAGE_OFFSET_MASK) - 1 >= PAGE_OFFSET_MASK + 1 - SIZE) {
        return NULL;
    }
    const struct insn_slot *s = insn_slot_current(v->insns, virt->fetch_state(v));
    return s != NULL && s->move == (e->nested.access & (ACCESS_READ | ACCESS_WRITE)) ? s : NULL;
}

// The same on any device.
static __attribute__((noinline)) bool mmio_move(struct vcpu *v, struct exit_record *e, const struct insn_slot *s) {
    uint64_t gpa = e->nested.gpa;
    const struct mmio_range *r = mmio_find(&v->guest->mmio, gpa);
    if (__builtin_expect(r == NULL || !mmio_holds(r, gpa, sizeof(uint32_t)), 0)) {
        return emulate_mmio_any(v, e);
    }
    bool load = s->move == ACCESS_READ;
    uint64_t value = load ? 0 : s->reg < GPR_COUNT ? (uint32_t)v->gpr[s->reg] : s->immediate;
    if (__builtin_expect(!r->handler(v, r->context, gpa - r->gpa, sizeof(uint32_t), !load, &value), 0)) {
        v->guest->unclaimed_memory++;
        value = UINT64_MAX;
    }
    v->insns->stats.hits++;
    e->length = s->length;
    if (load) {
        v->gpr[s->reg] = (uint32_t)value;
    }
    return true;
}

bool emulate_mmio(struct vcpu *v, struct exit_record *e) {
    const struct insn_slot *s = quick_move(v, e);
    e->length = 0;
    if (__builtin_expect(s == NULL, 0)) {
        return emulate_mmio_any(v, e);
    }
    // The local APIC, which is accessed more often than all others together.
    uint64_t offset = e->nested.gpa - APIC_BASE_ADDRESS;
    uint32_t reg = (uint32_t)(offset / LAPIC_SPACING);
    if (offset > PAGE_OFFSET_MASK || offset % LAPIC_SPACING != 0 || !irq_has_page(v)) {
        return mmio_move(v, e, s);
    }
    v->insns->stats.hits++;
    e->length = s->length;
    if (s->move == ACCESS_READ) {
        v->gpr[s->reg] = irq_register_read(v, reg);
    } else {
        irq_register_write(v, reg, s->reg < GPR_COUNT ? (uint32_t)v->gpr[s->reg] : s->immediate);
    }
    return true;
}
