#include "virt/emulate.h"

#include "cpu/err.h"
#include "cpu/insn.h"
#include "virt/exit_words.h"
#include "virt/guest.h"
#include "virt/irq.h"
#include "virt/x86.h"

enum {
    LMSW_SIZE = 2,
    LMSW_MASK = 0xF, // PE MP EM TS
    CR8_MAX = 15,
};

#define CR4_DE (UINT64_C(1) << 3)
#define DR6_BD (UINT64_C(1) << 13)

// ---- Registers ----

void emulate_load(struct vcpu *v, const struct insn *insn, uint64_t value) {
    unsigned bits = insn->size >= 8 ? 64 : insn->size * 8u;
    if (bits < 64) {
        value &= (UINT64_C(1) << bits) - 1;
        if (insn->sign_extend && (value >> (bits - 1) & 1) != 0) {
            value |= ~UINT64_C(0) << bits;
        }
    }
    gpr_write(v, insn->reg, insn->reg_size, insn->high_byte, value);
}

// #PF, #GP, or another try at the next entry.
static bool failed(struct vcpu *v, struct exit_record *e, int error, const struct walk_fault *fault) {
    if (error == -EAGAIN) {
        e->length = 0;
        return true;
    }
    return exit_inject_fault(v, e, fault);
}

// ---- Control and debug registers ----

static bool decode_operands(struct vcpu *v, struct exit_record *e, const struct insn **insn) {
    struct walk_fault fault;
    int error = vcpu_insn(v, insn, &fault);
    if (error == -EINVAL) { // LOCK where there is none, which TCG lets pass
        exit_inject(v, e, EXC_UD, false, 0);
        return false;
    }
    if (error != 0) {
        failed(v, e, error, &fault);
        return false;
    }
    return true;
}

static const enum vreg cr_regs[5] = { REG_CR0, REG_COUNT, REG_CR2, REG_CR3, REG_CR4 };

static bool cr_write(struct vcpu *v, struct exit_record *e, uint8_t number, uint64_t value) {
    if (number == 8) {
        if (value > CR8_MAX) {
            return exit_inject(v, e, EXC_GP, true, 0);
        }
        irq_cr8_written(v, (uint8_t)value);
        return true;
    }
    if (number > 4 || cr_regs[number] == REG_COUNT) {
        return exit_inject(v, e, EXC_UD, false, 0);
    }
    // The back end knows which bits may be set and what follows from a change.
    if (virt->reg_set(v, cr_regs[number], value) != 0) {
        return exit_inject(v, e, EXC_GP, true, 0);
    }
    return true;
}

// Sets but never clears PE (SDM 2A, LMSW).
static uint64_t lmsw_result(uint64_t cr0, uint16_t source) {
    return (cr0 & ~(uint64_t)(LMSW_MASK & ~CR0_PE)) | (source & LMSW_MASK);
}

static bool lmsw_memory(struct vcpu *v, struct exit_record *e, const struct insn *insn) {
    struct emulation m;
    struct operand o;
    emulation_begin(&m, v, insn);
    int error = operand_of_insn(&m, ACCESS_READ, &o);
    uint16_t source = 0;
    if (error == 0) {
        operand_read(&m, &o, &source);
    }
    emulation_end(&m, e, error);
    return error != 0 ? true : cr_write(v, e, 0, lmsw_result(virt->reg_get(v, REG_CR0), source));
}

static bool smsw(struct vcpu *v, struct exit_record *e, const struct insn *insn) {
    uint64_t cr0 = virt->reg_get(v, REG_CR0);
    if (insn->size == 0) {
        gpr_write(v, insn->reg, insn->reg_size, false, cr0);
        e->length = insn->length;
        return true;
    }
    struct emulation m;
    struct operand o;
    emulation_begin(&m, v, insn);
    int error = operand_at(&m, (enum vseg)insn->segment, insn_offset(v, insn), LMSW_SIZE, ACCESS_WRITE, &o);
    if (error == 0) {
        operand_write(&m, &o, &cr0);
    }
    return emulation_end(&m, e, error);
}

bool emulate_msw(struct vcpu *v, struct exit_record *e, const struct insn *insn) {
    return insn->class == INSN_LMSW ? lmsw_memory(v, e, insn) : smsw(v, e, insn);
}

uint64_t emulate_written(struct vcpu *v) {
    const struct insn *insn;
    struct walk_fault fault;
    bool known = vcpu_insn(v, &insn, &fault) == 0 && (insn->class == INSN_MOV_CR || insn->class == INSN_MOV_DR);
    return known && insn->write ? v->gpr[insn->reg] : 0;
}

bool emulate_cr(struct vcpu *v, struct exit_record *e) {
    uint8_t number = e->cr.number, op = e->cr.op, gpr = e->cr.gpr;
    uint16_t lmsw = e->cr.lmsw_source;
    if (exit_cpl(v) != 0) {
        return exit_inject(v, e, EXC_GP, true, 0);
    }
    if (!e->cr.decoded) {
        const struct insn *insn;
        if (!decode_operands(v, e, &insn)) {
            return true;
        }
        number = insn->special;
        gpr = insn->reg;
        op = insn->class == INSN_CLTS ? CR_CLTS : insn->class == INSN_LMSW ? CR_LMSW
            : insn->write ? CR_WRITE : CR_READ;
        if (insn->class == INSN_LMSW) {
            if (insn->size != 0) {
                return lmsw_memory(v, e, insn);
            }
            lmsw = (uint16_t)v->gpr[gpr];
        } else if (insn->class == INSN_SMSW) {
            return smsw(v, e, insn);
        }
        e->length = insn->length;
    }
    uint64_t cr0 = virt->reg_get(v, REG_CR0);
    switch (op) {
        case CR_CLTS:
            return cr_write(v, e, 0, cr0 & ~CR0_TS);
        case CR_LMSW:
            return cr_write(v, e, 0, lmsw_result(cr0, lmsw));
        case CR_WRITE: {
            struct segment cs;
            virt->seg_get(v, SEG_CS, &cs);
            uint64_t value = v->gpr[gpr];
            return cr_write(v, e, number, (cs.attributes & SEG_ATTR_L) != 0 ? value : (uint32_t)value);
        }
        default:
            v->gpr[gpr] = number == 8 ? v->tpr : number < 5 && cr_regs[number] != REG_COUNT
                ? virt->reg_get(v, cr_regs[number]) : 0;
            return true;
    }
}

bool emulate_dr(struct vcpu *v, struct exit_record *e) {
    uint8_t number = e->dr.number, gpr = e->dr.gpr;
    bool write = e->dr.write;
    uint64_t dr7 = virt->reg_get(v, REG_DR7);
    if (exit_cpl(v) != 0) {
        return exit_inject(v, e, EXC_GP, true, 0);
    }
    if (!e->dr.decoded) {
        const struct insn *insn;
        if (!decode_operands(v, e, &insn)) {
            return true;
        }
        number = insn->special;
        gpr = insn->reg;
        write = insn->write;
        e->length = insn->length;
    }
    if (number == 4 || number == 5) { // aliases of 6 and 7 unless CR4.DE (SDM 3B 17.2.2)
        if ((virt->reg_get(v, REG_CR4) & CR4_DE) != 0) {
            return exit_inject(v, e, EXC_UD, false, 0);
        }
        number = (uint8_t)(number + 2);
    }
    if ((dr7 & DR7_GD) != 0) {
        virt->reg_set(v, REG_DR7, dr7 & ~DR7_GD);
        virt->reg_set(v, REG_DR6, virt->reg_get(v, REG_DR6) | DR6_BD);
        return exit_inject(v, e, EXC_DB, false, 0);
    }
    if (!write) {
        v->gpr[gpr] = number < 4 ? v->dr[number] : virt->reg_get(v, number == 6 ? REG_DR6 : REG_DR7);
        return true;
    }
    uint64_t value = v->gpr[gpr];
    if (number >= 6 && value >> 32 != 0) {
        return exit_inject(v, e, EXC_GP, true, 0);
    }
    if (number < 4) {
        v->dr[number] = value;
    } else {
        virt->reg_set(v, number == 6 ? REG_DR6 : REG_DR7,
            number == 6 ? (value & ~UINT64_C(0x1000)) | DR6_FIXED : (value & ~UINT64_C(0xD000)) | DR7_FIXED);
    }
    return true;
}
