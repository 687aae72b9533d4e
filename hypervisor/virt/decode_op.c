// Which operation an instruction is that is carried out here when its memory lies on a
// device (enum insn_op).
#include "virt/decode_zydis.h"

#include <stddef.h>

// Instruction bytes (SDM 2A 2.1).
enum { OPCODE_IMUL_8 = 0xF6, OPCODE_IMUL = 0xF7, MODRM_NEAR_CALL = 2, MODRM_NEAR_JMP = 4, MODRM_FAR_JMP = 5 };
enum { OPCODE_CALL_RELATIVE = 0xE8, OPCODE_RET = 0xC3, OPCODE_RET_IMMEDIATE = 0xC2 };
enum { OPCODE_HIGH = 0xF0, OPCODE_SETCC = 0x90, OPCODE_CMOVCC = 0x40 }; // behind 0F

// Which operation a mnemonic is; the operands may yet speak against it.
enum insn_op decode_op(const ZydisDecodedInstruction *i) {
#define OPERATION(name) case ZYDIS_MNEMONIC_##name: return OP_##name
    bool one_byte = i->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT;
    switch (i->mnemonic) {
    OPERATION(ADD);
    OPERATION(OR);
    OPERATION(ADC);
    OPERATION(SBB);
    OPERATION(AND);
    OPERATION(SUB);
    OPERATION(XOR);
    OPERATION(CMP);
    OPERATION(TEST);
    OPERATION(XADD);
    OPERATION(BSF);
    OPERATION(BSR);
    OPERATION(NOT);
    OPERATION(NEG);
    OPERATION(INC);
    OPERATION(DEC);
    OPERATION(ROL);
    OPERATION(ROR);
    OPERATION(RCL);
    OPERATION(RCR);
    OPERATION(SHL);
    OPERATION(SHR);
    OPERATION(SAR);
    OPERATION(BT);
    OPERATION(BTS);
    OPERATION(BTR);
    OPERATION(BTC);
    OPERATION(SHLD);
    OPERATION(SHRD);
    OPERATION(XCHG);
    OPERATION(CMPXCHG);
    OPERATION(MOVBE);
    OPERATION(PUSH);
    OPERATION(POP);
    OPERATION(DIV);
    OPERATION(IDIV);
    OPERATION(LEAVE);
    OPERATION(ENTER);
#undef OPERATION
    case ZYDIS_MNEMONIC_MOV:
        return OP_MOV_SEGMENT; // the other MOVs have a class of their own
    case ZYDIS_MNEMONIC_MUL:
        return OP_MUL_WIDE;
    case ZYDIS_MNEMONIC_IMUL:
        return one_byte && (i->opcode == OPCODE_IMUL_8 || i->opcode == OPCODE_IMUL) ? OP_IMUL_WIDE : OP_IMUL;
    case ZYDIS_MNEMONIC_CMPXCHG8B:
    case ZYDIS_MNEMONIC_CMPXCHG16B:
        return OP_CMPXCHG_PAIR;
    case ZYDIS_MNEMONIC_CLFLUSH:
    case ZYDIS_MNEMONIC_CLFLUSHOPT:
    case ZYDIS_MNEMONIC_CLWB:
        return OP_TOUCH;
    case ZYDIS_MNEMONIC_CALL:
        return i->opcode == OPCODE_CALL_RELATIVE || i->raw.modrm.reg == MODRM_NEAR_CALL ? OP_CALL : OP_NONE;
    case ZYDIS_MNEMONIC_RET: // far returns have the same name
        return i->opcode == OPCODE_RET || i->opcode == OPCODE_RET_IMMEDIATE ? OP_RET : OP_NONE;
    case ZYDIS_MNEMONIC_JMP:
        return i->raw.modrm.reg == MODRM_NEAR_JMP ? OP_JMP : i->raw.modrm.reg == MODRM_FAR_JMP ? OP_JMP_FAR : OP_NONE;
    case ZYDIS_MNEMONIC_LLDT:
    case ZYDIS_MNEMONIC_LTR:
        return OP_LOAD_SEGMENT;
    case ZYDIS_MNEMONIC_SLDT:
    case ZYDIS_MNEMONIC_STR:
        return OP_MOV_SEGMENT;
    case ZYDIS_MNEMONIC_MOVSB:
    case ZYDIS_MNEMONIC_MOVSW:
    case ZYDIS_MNEMONIC_MOVSQ:
        return OP_MOVS;
    case ZYDIS_MNEMONIC_MOVSD: // there is a scalar MOVSD too
        return one_byte ? OP_MOVS : OP_VECTOR;
    case ZYDIS_MNEMONIC_STOSB:
    case ZYDIS_MNEMONIC_STOSW:
    case ZYDIS_MNEMONIC_STOSD:
    case ZYDIS_MNEMONIC_STOSQ:
        return OP_STOS;
    case ZYDIS_MNEMONIC_LODSB:
    case ZYDIS_MNEMONIC_LODSW:
    case ZYDIS_MNEMONIC_LODSD:
    case ZYDIS_MNEMONIC_LODSQ:
        return OP_LODS;
    case ZYDIS_MNEMONIC_CMPSB:
    case ZYDIS_MNEMONIC_CMPSW:
    case ZYDIS_MNEMONIC_CMPSQ:
        return OP_CMPS;
    case ZYDIS_MNEMONIC_CMPSD:
        return one_byte ? OP_CMPS : OP_NONE;
    case ZYDIS_MNEMONIC_SCASB:
    case ZYDIS_MNEMONIC_SCASW:
    case ZYDIS_MNEMONIC_SCASD:
    case ZYDIS_MNEMONIC_SCASQ:
        return OP_SCAS;
    case ZYDIS_MNEMONIC_INSB:
    case ZYDIS_MNEMONIC_INSW:
    case ZYDIS_MNEMONIC_INSD:
        return OP_INS;
    case ZYDIS_MNEMONIC_OUTSB:
    case ZYDIS_MNEMONIC_OUTSW:
    case ZYDIS_MNEMONIC_OUTSD:
        return OP_OUTS;
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVAPS:
    case ZYDIS_MNEMONIC_MOVAPD:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_MOVDQA:
    case ZYDIS_MNEMONIC_MOVNTDQ:
    case ZYDIS_MNEMONIC_MOVNTDQA:
    case ZYDIS_MNEMONIC_MOVNTPS:
    case ZYDIS_MNEMONIC_MOVNTPD:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_MOVD:
    case ZYDIS_MNEMONIC_MOVQ:
    case ZYDIS_MNEMONIC_MOVSS:
        return OP_VECTOR;
    case ZYDIS_MNEMONIC_MOVLPS:
    case ZYDIS_MNEMONIC_MOVLPD:
        return OP_VECTOR_LOW;
    case ZYDIS_MNEMONIC_MOVHPS:
    case ZYDIS_MNEMONIC_MOVHPD:
        return OP_VECTOR_HIGH;
    default:
        break;
    }
    if (i->opcode_map == ZYDIS_OPCODE_MAP_0F && i->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY) {
        switch (i->opcode & OPCODE_HIGH) {
        case OPCODE_SETCC:
            return OP_SETCC;
        case OPCODE_CMOVCC:
            return OP_CMOVCC;
        default:
            break;
        }
    }
    return OP_NONE;
}

// What has no memory operand of its own: that which is pushed or popped lies on a device.
static enum insn_op stack_op(enum insn_op op, const ZydisDecodedInstruction *i, const ZydisDecodedOperand *ops,
    struct insn *insn) {
    insn->memory_at = INSN_STACK_ONLY;
    insn->size = (uint8_t)(i->operand_width / 8);
    switch (op) {
    case OP_PUSH:
    case OP_CALL:
        return insn->reg_size || insn->has_immediate ? op : OP_NONE; // not a segment register
    case OP_POP:
        return insn->reg_size ? op : OP_NONE;
    case OP_ENTER:
        return ops[1].imm.value.u == 0 ? op : OP_NONE; // no nesting
    case OP_RET:
    case OP_LEAVE:
        return op;
    default:
        return OP_NONE;
    }
}

// The segment register of a MOV or of LLDT, LTR, SLDT and STR, which imply theirs.
static uint8_t segment_named(const ZydisDecodedInstruction *i, const ZydisDecodedOperand *named) {
    switch (i->mnemonic) {
    case ZYDIS_MNEMONIC_LLDT:
    case ZYDIS_MNEMONIC_SLDT:
        return SEG_LDTR;
    case ZYDIS_MNEMONIC_LTR:
    case ZYDIS_MNEMONIC_STR:
        return SEG_TR;
    default:
        return named ? decode_segment(named->reg.value) : INSN_NO_REG;
    }
}

// Whether what the operation needs besides memory was found among the operands.
enum insn_op decode_checked_op(enum insn_op op, const ZydisDecodedInstruction *i, const ZydisDecodedOperand *ops,
    struct insn *insn) {
    const ZydisDecodedOperand *memory = NULL, *vector = NULL;
    for (int n = 0; n < i->operand_count_visible; n++) {
        if (ops[n].type == ZYDIS_OPERAND_TYPE_MEMORY && !memory) {
            memory = &ops[n];
            insn->memory_at = (uint8_t)n;
        } else if (ops[n].type == ZYDIS_OPERAND_TYPE_REGISTER && !vector) {
            vector = &ops[n];
        }
    }
    if (op >= OP_MOVS) {
        insn->size = (uint8_t)(i->operand_width / 8);
        for (int n = 0; n < i->operand_count; n++) {
            const ZydisDecodedOperand *o = &ops[n];
            if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && decode_address_register(o->mem.base) == GPR_RSI) {
                insn->segment = decode_segment(o->mem.segment);
            }
        }
        return op;
    }
    if (!memory) {
        return stack_op(op, i, ops, insn);
    }
    insn->condition = i->opcode & (uint8_t)~OPCODE_HIGH;
    switch (op) {
    case OP_VECTOR:
    case OP_VECTOR_LOW:
    case OP_VECTOR_HIGH:
        if (op == OP_VECTOR && vector && vector->reg.value >= ZYDIS_REGISTER_MM0
            && vector->reg.value <= ZYDIS_REGISTER_MM7) {
            insn->other_reg = (uint8_t)(vector->reg.value - ZYDIS_REGISTER_MM0);
            return OP_MMX;
        }
        if (i->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || !vector
            || vector->reg.value < ZYDIS_REGISTER_XMM0 || vector->reg.value > ZYDIS_REGISTER_XMM15) {
            return OP_NONE;
        }
        insn->other_reg = (uint8_t)(vector->reg.value - ZYDIS_REGISTER_XMM0);
        return op;
    case OP_MOV_SEGMENT:
    case OP_LOAD_SEGMENT:
        insn->other_reg = segment_named(i, vector);
        return insn->other_reg == INSN_NO_REG ? OP_NONE : insn->write ? OP_MOV_SEGMENT : OP_LOAD_SEGMENT;
    default:
        return op;
    }
}
