// Instructions whose stack, or whose target, may lie on a device.
#include "virt/emulate.h"

#include "cpu/err.h"
#include "virt/emulate_alu.h"
#include "virt/guest.h"

static uint8_t stack_address_size(const struct emulation *m) {
    if (m->long_code) {
        return 8;
    }
    struct segment ss;
    virt->seg_get(m->v, SEG_SS, &ss);
    return ss.attributes & SEG_ATTR_DB ? 4 : 2;
}

static bool stack_only(const struct emulation *m) {
    return m->insn->memory_at == INSN_STACK_ONLY;
}

// The source of a push, or a branch's target when that is a register.
static uint64_t register_or_immediate(const struct emulation *m) {
    const struct insn *i = m->insn;
    return i->reg_size != 0 ? gpr_read(m->v, i->reg, i->reg_size, i->high_byte) : i->immediate;
}

// Where the next value of the instruction's size goes, or the top one lies.
static int stack_slot(struct emulation *m, uint64_t top, uint32_t access, struct operand *o) {
    return operand_at(m, SEG_SS, top & size_mask(stack_address_size(m)), m->insn->size, access, o);
}

static void move_stack(struct emulation *m, uint64_t top) {
    gpr_write_address(m->v, GPR_RSP, stack_address_size(m), top);
}

// Pushes `value`; the caller has nothing left that can fault.
static int push_value(struct emulation *m, uint64_t value) {
    struct operand o;
    uint64_t top = m->v->gpr[GPR_RSP] - m->insn->size;
    int error = stack_slot(m, top, ACCESS_WRITE, &o);
    if (error == 0) {
        operand_write(m, &o, &value);
        move_stack(m, top);
    }
    return error;
}

static int push(struct emulation *m) {
    struct operand o, stack;
    if (stack_only(m)) {
        return push_value(m, register_or_immediate(m));
    }
    int error = operand_of_insn(m, ACCESS_READ, &o);
    if (error == 0) { // before the device is read
        error = stack_slot(m, m->v->gpr[GPR_RSP] - m->insn->size, ACCESS_WRITE, &stack);
    }
    if (error != 0) {
        return error;
    }
    uint64_t value = 0;
    operand_read(m, &o, &value);
    return push_value(m, value);
}

static int pop(struct emulation *m) {
    struct vcpu *v = m->v;
    const struct insn *i = m->insn;
    uint64_t before = v->gpr[GPR_RSP], value = 0;
    struct operand o, stack;
    int error = stack_slot(m, before, ACCESS_READ, &stack);
    if (error != 0) {
        return error;
    }
    if (stack_only(m)) {
        operand_read(m, &stack, &value);
        move_stack(m, before + i->size); // POP RSP ends with the value popped
        gpr_write(v, i->reg, i->size, false, value);
        return 0;
    }
    // An address by RSP is that after the pop (SDM 2B, POP).
    move_stack(m, before + i->size);
    error = operand_of_insn(m, ACCESS_WRITE, &o);
    if (error != 0) {
        v->gpr[GPR_RSP] = before;
        return error;
    }
    operand_read(m, &stack, &value);
    operand_write(m, &o, &value);
    return 0;
}

bool emulate_may_jump(const struct emulation *m, uint64_t target) {
    if (m->long_code) {
        unsigned unused = m->walk.cr4 & FETCH_CR4_LA57 ? 64 - 57 : 64 - 48;
        return (uint64_t)((int64_t)(target << unused) >> unused) == target;
    }
    struct segment cs;
    virt->seg_get(m->v, SEG_CS, &cs);
    return target <= cs.limit;
}

static int go_to(struct emulation *m, uint64_t target) {
    if (!emulate_may_jump(m, target)) {
        return emulation_fault(m, EXC_GP);
    }
    m->v->rip = target - m->insn->length; // the dispatcher adds it
    return 0;
}

static int jump(struct emulation *m) {
    const struct insn *i = m->insn;
    struct vcpu *v = m->v;
    uint64_t next = (v->rip + i->length) & size_mask(i->size), target;
    if (!stack_only(m)) {
        struct operand o;
        int error = operand_of_insn(m, ACCESS_READ, &o);
        if (error != 0) {
            return error;
        }
        target = 0;
        operand_read(m, &o, &target);
    } else {
        target = (i->has_immediate ? next + i->immediate : register_or_immediate(m)) & size_mask(i->size);
    }
    if (!emulate_may_jump(m, target)) {
        return emulation_fault(m, EXC_GP);
    }
    int error = i->op == OP_CALL ? push_value(m, next) : 0;
    return error != 0 ? error : go_to(m, target);
}

static int ret(struct emulation *m) {
    const struct insn *i = m->insn;
    struct operand stack;
    uint64_t top = m->v->gpr[GPR_RSP], target = 0;
    int error = stack_slot(m, top, ACCESS_READ, &stack);
    if (error != 0) {
        return error;
    }
    operand_read(m, &stack, &target);
    if (m->v->served.asking) {
        return -EAGAIN; // the target is not known yet
    }
    error = go_to(m, target);
    if (error == 0) {
        move_stack(m, top + i->size + (i->has_immediate ? (uint16_t)i->immediate : 0u));
    }
    return error;
}

static int leave(struct emulation *m) {
    struct operand stack;
    uint64_t frame = m->v->gpr[GPR_RBP], value = 0;
    int error = stack_slot(m, frame, ACCESS_READ, &stack);
    if (error == 0) {
        operand_read(m, &stack, &value);
        move_stack(m, frame + m->insn->size);
        gpr_write(m->v, GPR_RBP, m->insn->size, false, value);
    }
    return error;
}

// Nesting level 0. That a write to where the stack now ends would fault is not looked for.
static int enter(struct emulation *m) {
    struct vcpu *v = m->v;
    uint8_t size = m->insn->size;
    uint64_t frame = v->gpr[GPR_RSP] - size;
    int error = push_value(m, gpr_read(v, GPR_RBP, size, false));
    if (error == 0) {
        gpr_write(v, GPR_RBP, size, false, frame);
        move_stack(m, frame - (uint16_t)m->insn->immediate);
    }
    return error;
}

int emulate_stack(struct emulation *m) {
    switch (m->insn->op) {
        case OP_PUSH:
            return push(m);
        case OP_POP:
            return pop(m);
        case OP_RET:
            return ret(m);
        case OP_LEAVE:
            return leave(m);
        case OP_ENTER:
            return enter(m);
        default:
            return jump(m);
    }
}
