// One instruction with a memory operand that lies, or may lie, on a device.
//
// All operands are translated, then memory is read, then registers and memory are
// written: an instruction that faults has changed nothing.
#include "virt/emulate.h"

#include "cpu/err.h"
#include "cpu/string.h"
#include "virt/emulate_alu.h"
#include "virt/emulate_vector.h"
#include "virt/guest.h"

enum { VECTOR_SIZE = 16, VECTOR_HALF = 8 };

static uint64_t read_number(struct emulation *m, const struct operand *o) {
    uint64_t value = 0;
    operand_read(m, o, &value);
    return value;
}

// The register operand, else the immediate.
static uint64_t other_operand(const struct emulation *m) {
    const struct insn *i = m->insn;
    return i->reg_size != 0 ? gpr_read(m->v, i->reg, i->reg_size, i->high_byte) : i->immediate;
}

static uint64_t swap_bytes(uint64_t value, uint8_t size) {
    return __builtin_bswap64(value) >> (64 - size * 8);
}

static int move(struct emulation *m, const struct operand *o) {
    const struct insn *i = m->insn;
    bool swaps = i->op == OP_MOVBE;
    if (i->write) {
        uint64_t value = other_operand(m);
        if (i->op == OP_MOV_SEGMENT) {
            struct segment s;
            virt->seg_get(m->v, (enum vseg)i->other_reg, &s);
            value = s.selector;
        }
        value = swaps ? swap_bytes(value, i->size) : value;
        operand_write(m, o, &value);
    } else {
        uint64_t value = read_number(m, o);
        emulate_load(m->v, i, swaps ? swap_bytes(value, i->size) : value);
    }
    return 0;
}

static bool only_looks(uint8_t op) {
    return op == OP_CMP || op == OP_TEST || op == OP_BT;
}

// The bit offset of BT and its like in a register reaches beyond the operand (SDM 2A,
// BT): the address moves by whole operands.
static uint64_t bit_string_offset(const struct emulation *m) {
    const struct insn *i = m->insn;
    uint64_t offset = insn_offset(m->v, i);
    if (i->has_immediate || i->op < OP_BT || i->op > OP_BTC) {
        return offset;
    }
    unsigned unused = 64 - i->size * 8u;
    int64_t bit = (int64_t)(other_operand(m) << unused) >> unused;
    int64_t operands = bit >> (i->size == 2 ? 4 : i->size == 4 ? 5 : 6);
    return (offset + (uint64_t)(operands * i->size)) & size_mask(i->address_size);
}

static int arithmetic(struct emulation *m) {
    const struct insn *i = m->insn;
    struct operand o;
    uint32_t access = ACCESS_READ | (i->write ? ACCESS_WRITE : 0u);
    int error = operand_at(m, (enum vseg)i->segment, bit_string_offset(m), i->size, access, &o);
    if (error != 0) {
        return error;
    }
    uint64_t memory = read_number(m, &o);
    uint64_t other = other_operand(m);
    enum insn_op op = (enum insn_op)i->op;
    if (i->memory_at == 0) {
        if (!alu(op, i->size, &memory, &other, &m->rflags)) {
            return -EINVAL;
        }
        if (i->write) {
            operand_write(m, &o, &memory);
        }
        if (op == OP_XADD) {
            gpr_write(m->v, i->reg, i->reg_size, i->high_byte, other);
        }
        return 0;
    }
    if (op == OP_IMUL && i->has_immediate) {
        other = i->immediate;
    }
    if (!alu(op, i->size, &other, &memory, &m->rflags)) {
        return -EINVAL;
    }
    // BSF and BSR of zero leave their register as it was, upper half included.
    bool undone = (op == OP_BSF || op == OP_BSR) && (m->rflags & RFLAGS_ZF);
    if (!only_looks(i->op) && !undone) {
        gpr_write(m->v, i->reg, i->reg_size, i->high_byte, other);
    }
    return 0;
}

static int double_shift(struct emulation *m, const struct operand *o) {
    const struct insn *i = m->insn;
    uint64_t memory = read_number(m, o);
    uint8_t count = (uint8_t)(i->has_immediate ? i->immediate : m->v->gpr[GPR_RCX]);
    uint64_t fill = gpr_read(m->v, i->reg, i->reg_size, false);
    if (!alu_double_shift((enum insn_op)i->op, i->size, &memory, fill, count, &m->rflags)) {
        return -EINVAL;
    }
    operand_write(m, o, &memory);
    return 0;
}

static int multiply(struct emulation *m, const struct operand *o) {
    const struct insn *i = m->insn;
    struct vcpu *v = m->v;
    bool known = alu_multiply((enum insn_op)i->op, i->size, &v->gpr[GPR_RAX], &v->gpr[GPR_RDX],
        read_number(m, o), &m->rflags);
    return known ? 0 : -EINVAL;
}

static int divide(struct emulation *m, const struct operand *o) {
    const struct insn *i = m->insn;
    struct vcpu *v = m->v;
    uint64_t divisor = read_number(m, o);
    bool is_signed = i->op == OP_IDIV;
    if (v->served.asking) {
        return -EAGAIN; // the number is not known yet
    }
    if (!alu_divides(is_signed, i->size, v->gpr[GPR_RAX], v->gpr[GPR_RDX], divisor)) {
        return emulation_fault(m, EXC_DE);
    }
    alu_divide(is_signed, i->size, &v->gpr[GPR_RAX], &v->gpr[GPR_RDX], divisor, &m->rflags);
    return 0;
}

static int exchange(struct emulation *m, const struct operand *o) {
    const struct insn *i = m->insn;
    uint64_t memory = read_number(m, o);
    uint64_t other = other_operand(m);
    if (i->op == OP_XCHG) {
        operand_write(m, o, &other);
        gpr_write(m->v, i->reg, i->reg_size, i->high_byte, memory);
        return 0;
    }
    uint64_t due = gpr_read(m->v, GPR_RAX, i->size, false), compared = memory;
    if (!alu(OP_CMP, i->size, &due, &compared, &m->rflags)) {
        return -EINVAL;
    }
    if (m->rflags & RFLAGS_ZF) {
        operand_write(m, o, &other);
    } else {
        operand_write(m, o, &memory); // the CPU writes in any case (SDM 2A, CMPXCHG)
        gpr_write(m->v, GPR_RAX, i->size, false, memory);
    }
    return 0;
}

// CMPXCHG8B and CMPXCHG16B.
static int exchange_pair(struct emulation *m, const struct operand *o) {
    struct vcpu *v = m->v;
    uint8_t half = m->insn->size / 2;
    uint8_t bytes[16];
    operand_read(m, o, bytes);
    uint64_t low = 0, high = 0;
    memcpy(&low, bytes, half);
    memcpy(&high, bytes + half, half);
    bool equal = low == gpr_read(v, GPR_RAX, half, false) && high == gpr_read(v, GPR_RDX, half, false);
    if (equal) {
        memcpy(bytes, &v->gpr[GPR_RBX], half);
        memcpy(bytes + half, &v->gpr[GPR_RCX], half);
    } else {
        gpr_write(v, GPR_RAX, half, false, low);
        gpr_write(v, GPR_RDX, half, false, high);
    }
    operand_write(m, o, bytes);
    m->rflags = equal ? m->rflags | RFLAGS_ZF : m->rflags & ~RFLAGS_ZF;
    return 0;
}

static int conditional(struct emulation *m, const struct operand *o) {
    const struct insn *i = m->insn;
    uint64_t holds = alu_condition(i->condition, m->rflags);
    if (i->op == OP_SETCC) {
        operand_write(m, o, &holds);
    } else {
        // The memory is read and a 32-bit register extended whatever the condition.
        uint64_t memory = read_number(m, o);
        gpr_write(m->v, i->reg, i->reg_size, false, holds ? memory : other_operand(m));
    }
    return 0;
}

static int vector_move(struct emulation *m, const struct operand *o) {
    const struct insn *i = m->insn;
    uint8_t bytes[VECTOR_SIZE];
    uint8_t *at = i->op == OP_VECTOR_HIGH ? bytes + VECTOR_HALF : bytes;
    vector_read(i->other_reg, bytes);
    if (i->write) {
        operand_write(m, o, at);
        return 0;
    }
    if (i->op == OP_VECTOR) {
        memset(bytes, 0, sizeof(bytes));
    }
    operand_read(m, o, at);
    vector_write(i->other_reg, bytes);
    return 0;
}

// The fault for EM, TS or an x87 exception that waits came before the access to memory, but
// a CPU may look at the last of them only when it carries the instruction out.
static int mmx_move(struct emulation *m, const struct operand *o) {
    const struct insn *i = m->insn;
    uint64_t value = 0;
    if (x87_exception_waits()) {
        return emulation_fault(m, EXC_MF);
    }
    if (i->write) {
        value = mmx_read(i->other_reg);
        operand_write(m, o, &value);
    } else {
        value = read_number(m, o);
        if (!m->v->served.asking) {
            mmx_write(i->other_reg, value);
        }
    }
    return 0;
}

static int with_operand(struct emulation *m, uint32_t access,
    int (*insn)(struct emulation *m, const struct operand *o)) {
    struct operand o;
    int error = operand_of_insn(m, access, &o);
    return error != 0 ? error : insn(m, &o);
}

int emulate_insn(struct emulation *m) {
    const uint32_t both = ACCESS_READ | ACCESS_WRITE, one = m->insn->write ? ACCESS_WRITE : ACCESS_READ;
    switch (m->insn->op) {
        case OP_MOV:
        case OP_MOVBE:
        case OP_MOV_SEGMENT:
            return with_operand(m, one, move);
        case OP_TOUCH: {
            struct operand o; // the byte that it names
            return operand_at(m, (enum vseg)m->insn->segment, insn_offset(m->v, m->insn), 1, ACCESS_READ, &o);
        }
        case OP_ADD ... OP_BTC:
            return arithmetic(m);
        case OP_SHLD:
        case OP_SHRD:
            return with_operand(m, both, double_shift);
        case OP_MUL_WIDE:
        case OP_IMUL_WIDE:
            return with_operand(m, ACCESS_READ, multiply);
        case OP_XCHG:
        case OP_CMPXCHG:
            return with_operand(m, both, exchange);
        case OP_CMPXCHG_PAIR:
            return with_operand(m, both, exchange_pair);
        case OP_SETCC:
            return with_operand(m, ACCESS_WRITE, conditional);
        case OP_CMOVCC:
            return with_operand(m, ACCESS_READ, conditional);
        case OP_PUSH ... OP_JMP:
            return emulate_stack(m);
        case OP_JMP_FAR:
            return emulate_far_jump(m);
        case OP_LOAD_SEGMENT:
            return emulate_load_segment(m);
        case OP_DIV:
        case OP_IDIV:
            return with_operand(m, ACCESS_READ, divide);
        case OP_MMX:
            return with_operand(m, one, mmx_move);
        case OP_VECTOR:
        case OP_VECTOR_LOW:
        case OP_VECTOR_HIGH:
            return m->insn->size <= VECTOR_SIZE ? with_operand(m, one, vector_move) : -EINVAL;
        default:
            return -EINVAL;
    }
}
