// Zydis' registers and operands in the terms of struct insn.
#include "virt/decode_zydis.h"

// enum gpr of a general register; INSN_NO_REG for any other.
static uint8_t gpr_of(ZydisRegister reg, bool *high_byte) {
    *high_byte = false;
    if (reg >= ZYDIS_REGISTER_AL && reg <= ZYDIS_REGISTER_BL) {
        return (uint8_t)(reg - ZYDIS_REGISTER_AL);
    }
    if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) {
        *high_byte = true;
        return (uint8_t)(reg - ZYDIS_REGISTER_AH);
    }
    if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B) {
        return (uint8_t)(reg - ZYDIS_REGISTER_SPL + GPR_RSP);
    }
    if (reg >= ZYDIS_REGISTER_AX && reg <= ZYDIS_REGISTER_R15W) {
        return (uint8_t)(reg - ZYDIS_REGISTER_AX);
    }
    if (reg >= ZYDIS_REGISTER_EAX && reg <= ZYDIS_REGISTER_R15D) {
        return (uint8_t)(reg - ZYDIS_REGISTER_EAX);
    }
    if (reg >= ZYDIS_REGISTER_RAX && reg <= ZYDIS_REGISTER_R15) {
        return (uint8_t)(reg - ZYDIS_REGISTER_RAX);
    }
    return INSN_NO_REG;
}

uint8_t decode_address_register(ZydisRegister reg) {
    if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP) {
        return INSN_RIP;
    }
    bool high_byte;
    return gpr_of(reg, &high_byte);
}

uint8_t decode_segment(ZydisRegister reg) {
    switch (reg) {
    case ZYDIS_REGISTER_ES:
        return SEG_ES;
    case ZYDIS_REGISTER_CS:
        return SEG_CS;
    case ZYDIS_REGISTER_SS:
        return SEG_SS;
    case ZYDIS_REGISTER_FS:
        return SEG_FS;
    case ZYDIS_REGISTER_GS:
        return SEG_GS;
    default:
        return SEG_DS;
    }
}

void decode_memory(const ZydisDecodedOperand *op, struct insn *insn) {
    insn->size = (uint8_t)(op->size / 8);
    insn->segment = decode_segment(op->mem.segment);
    insn->base = decode_address_register(op->mem.base);
    insn->index = decode_address_register(op->mem.index);
    insn->scale = op->mem.scale;
    insn->displacement = op->mem.disp.has_displacement ? op->mem.disp.value : 0;
    insn->read = op->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
    insn->write = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
}

void decode_register(const ZydisDecodedOperand *op, struct insn *insn) {
    uint8_t reg = gpr_of(op->reg.value, &insn->high_byte);
    if (reg != INSN_NO_REG) {
        insn->reg = reg;
        insn->reg_size = (uint8_t)(op->size / 8);
    }
}

void decode_immediate(const ZydisDecodedOperand *op, struct insn *insn) {
    insn->has_immediate = true;
    insn->immediate = op->imm.value.u;
}

static bool special_number(ZydisRegister reg, struct insn *insn) {
    if (reg >= ZYDIS_REGISTER_CR0 && reg <= ZYDIS_REGISTER_CR15) {
        insn->class = INSN_MOV_CR;
        insn->special = (uint8_t)(reg - ZYDIS_REGISTER_CR0);
        return true;
    }
    if (reg >= ZYDIS_REGISTER_DR0 && reg <= ZYDIS_REGISTER_DR15) {
        insn->class = INSN_MOV_DR;
        insn->special = (uint8_t)(reg - ZYDIS_REGISTER_DR0);
        return true;
    }
    return false;
}

// MOV between a general register and a control or debug register.
bool decode_special(const ZydisDecodedOperand *ops, struct insn *insn) {
    for (int i = 0; i < 2; i++) {
        if (ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER && special_number(ops[i].reg.value, insn)) {
            insn->write = i == 0;
            decode_register(&ops[1 - i], insn);
            return true;
        }
    }
    return false;
}
