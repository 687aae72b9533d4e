// Accesses to guest-physical addresses where the guest has no memory.
#include "virt/emulate.h"

#include "cpu/err.h"
#include "virt/guest.h"
#include "virt/mmio.h"

enum { PAGE_OFFSET_MASK = 0xFFF, NUMBER_MAX = 8 };

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

static bool move_number(struct vcpu *v, const struct insn *insn, struct exit_record *e) {
    uint64_t value = 0;
    if (insn->class == INSN_MOV_LOAD) {
        mmio_access(v, e->nested.gpa, insn->size, false, &value);
        emulate_load(v, insn, value);
    } else {
        value = insn->reg_size != 0 ? gpr_read(v, insn->reg, insn->size, insn->high_byte)
            : insn->immediate & size_mask(insn->size);
        mmio_access(v, e->nested.gpa, insn->size, true, &value);
    }
    e->length = insn->length;
    return true;
}

static void cannot(struct vcpu *v, struct exit_record *e) {
    guest_crash(v, e, "its instruction at %lx cannot be carried out on device memory (guest-physical %lx)", v->rip,
        e->nested.gpa);
}

static __attribute__((noinline)) bool general(struct vcpu *v, const struct insn *insn, struct exit_record *e) {
    struct emulation m;
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

bool emulate_mmio(struct vcpu *v, struct exit_record *e) {
    const struct insn *insn;
    struct walk_fault fault;
    e->length = 0;
    int error = vcpu_insn(v, &insn, &fault);
    if (__builtin_expect(error != 0, 0)) {
        if (error == -EFAULT) {
            return exit_inject_fault(v, e, &fault);
        }
        if (error != -EAGAIN) {
            cannot(v, e);
        }
        return true;
    }
    if (__builtin_expect(plain_move(insn, e), 1)) {
        return move_number(v, insn, e);
    }
    return general(v, insn, e);
}
