// String instructions: MOVS, STOS, LODS, CMPS, SCAS on devices, INS and OUTS on any
// memory. One element at a time, each complete with its registers, so that a fault or
// an interrupt in the middle leaves the guest where the CPU would.
#include "virt/emulate.h"

#include "cpu/err.h"
#include "virt/claim.h"
#include "virt/emulate_alu.h"
#include "virt/guest.h"
#include "virt/x86.h"

enum {
    STRING_BURST = 1024, // elements an exit: a guest that asks for millions lets others in between
};

struct string {
    struct emulation *m;
    struct exit_record *e; // INS and OUTS: the port
    uint64_t step; // added to an address: the size, negative when DF is set
    uint64_t mask; // of the address size
};

static void advance(struct string *s, uint8_t reg) {
    struct vcpu *v = s->m->v;
    gpr_write_address(v, reg, s->m->insn->address_size, v->gpr[reg] + s->step);
}

static int source_at(struct string *s, struct operand *o) {
    const struct insn *i = s->m->insn;
    return operand_at(s->m, (enum vseg)i->segment, s->m->v->gpr[GPR_RSI] & s->mask, i->size, ACCESS_READ, o);
}

static int destination_at(struct string *s, uint32_t access, struct operand *o) {
    return operand_at(s->m, SEG_ES, s->m->v->gpr[GPR_RDI] & s->mask, s->m->insn->size, access, o);
}

static bool uses_source(uint8_t op) {
    return op == OP_MOVS || op == OP_LODS || op == OP_CMPS || op == OP_OUTS;
}

static bool uses_destination(uint8_t op) {
    return op != OP_LODS && op != OP_OUTS;
}

static bool writes_destination(uint8_t op) {
    return op == OP_MOVS || op == OP_STOS || op == OP_INS;
}

// False: as exit_port_access.
static bool port_access(struct vcpu *v, uint16_t port, uint8_t size, bool write, uint32_t *value) {
    if (v->served.active && claim_port(v, port, size, write, value)) {
        return true;
    }
    return exit_port_access(v, port, size, write, value);
}

// One element. Both operands are translated before a device or a port is touched: a
// fault must not lose data.
static int element(struct string *s) {
    struct emulation *m = s->m;
    const struct insn *i = m->insn;
    struct vcpu *v = m->v;
    struct operand source, destination;
    uint64_t value = 0, other = 0;
    int error = uses_source(i->op) ? source_at(s, &source) : 0;
    if (error == 0 && uses_destination(i->op)) {
        error = destination_at(s, writes_destination(i->op) ? ACCESS_WRITE : ACCESS_READ, &destination);
    }
    if (error != 0) {
        return error;
    }
    if (uses_source(i->op)) {
        operand_read(m, &source, &value);
    }
    uint32_t port_value = (uint32_t)value;
    if (v->served.asking) {
        return -EAGAIN;
    }
    switch (i->op) {
        case OP_LODS:
            gpr_write(v, GPR_RAX, i->size, false, value);
            break;
        case OP_CMPS:
            operand_read(m, &destination, &other);
            if (v->served.asking) {
                return -EAGAIN;
            }
            alu(OP_CMP, i->size, &value, &other, &m->rflags);
            break;
        case OP_SCAS:
            value = v->gpr[GPR_RAX];
            operand_read(m, &destination, &other);
            if (v->served.asking) {
                return -EAGAIN;
            }
            alu(OP_CMP, i->size, &value, &other, &m->rflags);
            break;
        case OP_OUTS:
            if (!port_access(v, s->e->io.port, i->size, true, &port_value)) {
                return -EAGAIN;
            }
            break;
        case OP_INS:
            if (!port_access(v, s->e->io.port, i->size, false, &port_value)) {
                return -EAGAIN;
            }
            value = port_value;
            break;
        case OP_STOS:
            value = v->gpr[GPR_RAX];
            break;
        default:
            break;
    }
    if (writes_destination(i->op)) {
        operand_write(m, &destination, &value);
    }
    if (v->served.asking) {
        return -EAGAIN;
    }
    if (uses_source(i->op)) {
        advance(s, GPR_RSI);
    }
    if (uses_destination(i->op)) {
        advance(s, GPR_RDI);
    }
    return 0;
}

// Whether REPE or REPNE ends before its count does.
static bool found(const struct emulation *m) {
    bool compares = m->insn->op == OP_CMPS || m->insn->op == OP_SCAS;
    return compares && m->insn->repne == ((m->rflags & RFLAGS_ZF) != 0);
}

bool emulate_string(struct emulation *m, struct exit_record *e) {
    struct vcpu *v = m->v;
    const struct insn *i = m->insn;
    bool backwards = m->rflags & RFLAGS_DF;
    struct string s = { m, e, backwards ? 0 - (uint64_t)i->size : i->size, size_mask(i->address_size) };
    if (!i->rep) {
        return emulation_end(m, e, element(&s));
    }
    // A single step comes after each element (SDM 2B, REP).
    bool stepping = m->rflags & RFLAGS_TF;
    uint64_t count = v->gpr[GPR_RCX] & s.mask;
    uint64_t burst = stepping ? 1 : STRING_BURST;
    bool done = count == 0;
    for (uint64_t n = 0; n < burst && !done; n++) {
        int error = element(&s);
        if (error != 0) {
            uint64_t rflags = m->rflags & ~RFLAGS_ARITHMETIC;
            virt->reg_set(v, REG_RFLAGS, rflags | (m->rflags & RFLAGS_ARITHMETIC));
            return emulation_end(m, e, error);
        }
        gpr_write_address(v, GPR_RCX, i->address_size, --count);
        if (v->served.active) {
            claim_commit(v);
        }
        done = count == 0 || found(m);
        if (v->guest->state != GUEST_RUNNING) {
            break; // a port ended it
        }
    }
    if (done) {
        return emulation_end(m, e, 0);
    }
    e->length = 0; // it goes on at the next entry
    virt->reg_set(v, REG_RFLAGS, m->rflags);
    if (stepping) {
        virt->reg_set(v, REG_DR6, virt->reg_get(v, REG_DR6) | DR6_BS);
        return exit_inject(v, e, EXC_DB, false, 0);
    }
    return true;
}

bool emulate_string_io(struct vcpu *v, struct exit_record *e) {
    const struct insn *insn;
    struct emulation m;
    int error = vcpu_insn(v, &insn, &m.fault);
    if (error == -EINVAL || (error == 0 && insn->class != INSN_STRING_IO)) {
        guest_crash(v, e, "its string I/O instruction could not be decoded");
        return true;
    }
    if (error != 0) {
        e->length = 0;
        return error == -EAGAIN ? true : exit_inject_fault(v, e, &m.fault);
    }
    emulation_begin(&m, v, insn);
    return emulate_string(&m, e);
}
