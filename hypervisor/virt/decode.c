// From code bytes to struct insn, by Zydis: the only file that knows Zydis.
#include "virt/decode.h"

#include <Zydis/Decoder.h>

#include "cpu/err.h"

// Instruction bytes (SDM 2A 2.1).
enum { PREFIX_DATA = 0x66, PREFIX_REPNE = 0xF2, PREFIX_REP = 0xF3 };
enum { OPCODE_ESCAPE = 0x0F, OPCODE_SYSTEM = 0x01, MODRM_REGISTER_FORM = 3 };
enum { OPCODE_IMUL_8 = 0xF6, OPCODE_IMUL = 0xF7, MODRM_NEAR_CALL = 2, MODRM_NEAR_JMP = 4, MODRM_FAR_JMP = 5 };
enum { OPCODE_CALL_RELATIVE = 0xE8, OPCODE_RET = 0xC3, OPCODE_RET_IMMEDIATE = 0xC2 };
enum { OPCODE_HIGH = 0xF0, OPCODE_SETCC = 0x90, OPCODE_CMOVCC = 0x40 }; // behind 0F

static void decoder_init(ZydisDecoder *decoder, enum insn_mode mode) {
    static const struct {
        ZydisMachineMode machine;
        ZydisStackWidth stack;
    } modes[] = {
        [INSN_LEGACY_16] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
        [INSN_LEGACY_32] = {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
        [INSN_COMPAT_16] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16},
        [INSN_COMPAT_32] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
        [INSN_LONG_64] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
    };
    // Cannot fail: every pair above is one of Zydis' own.
    (void)ZydisDecoderInit(decoder, modes[mode].machine, modes[mode].stack);
}

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

static uint8_t address_register(ZydisRegister reg) {
    if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP) {
        return INSN_RIP;
    }
    bool high_byte;
    return gpr_of(reg, &high_byte);
}

static uint8_t segment_of(ZydisRegister reg) {
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

static void take_memory(const ZydisDecodedOperand *op, struct insn *insn) {
    insn->size = (uint8_t)(op->size / 8);
    insn->segment = segment_of(op->mem.segment);
    insn->base = address_register(op->mem.base);
    insn->index = address_register(op->mem.index);
    insn->scale = op->mem.scale;
    insn->displacement = op->mem.disp.has_displacement ? op->mem.disp.value : 0;
    insn->read = op->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
    insn->write = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
}

static void take_register(const ZydisDecodedOperand *op, struct insn *insn) {
    uint8_t reg = gpr_of(op->reg.value, &insn->high_byte);
    if (reg != INSN_NO_REG) {
        insn->reg = reg;
        insn->reg_size = (uint8_t)(op->size / 8);
    }
}

static void take_immediate(const ZydisDecodedOperand *op, struct insn *insn) {
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
static bool take_special(const ZydisDecodedOperand *ops, struct insn *insn) {
    for (int i = 0; i < 2; i++) {
        if (ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER && special_number(ops[i].reg.value, insn)) {
            insn->write = i == 0;
            take_register(&ops[1 - i], insn);
            return true;
        }
    }
    return false;
}

static bool is_string_io(ZydisMnemonic mnemonic) {
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_INSB:
    case ZYDIS_MNEMONIC_INSW:
    case ZYDIS_MNEMONIC_INSD:
    case ZYDIS_MNEMONIC_OUTSB:
    case ZYDIS_MNEMONIC_OUTSW:
    case ZYDIS_MNEMONIC_OUTSD:
        return true;
    default:
        return false;
    }
}

static bool is_mov(ZydisMnemonic mnemonic) {
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
    case ZYDIS_MNEMONIC_MOVZX:
    case ZYDIS_MNEMONIC_MOVSX:
    case ZYDIS_MNEMONIC_MOVSXD:
    case ZYDIS_MNEMONIC_MOVNTI:
        return true;
    default:
        return false;
    }
}

// Which operation a mnemonic is; the operands may yet speak against it.
static enum insn_op op_of(const ZydisDecodedInstruction *i) {
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
        return named ? segment_of(named->reg.value) : INSN_NO_REG;
    }
}

// Whether what the operation needs besides memory was found among the operands.
static enum insn_op checked_op(enum insn_op op, const ZydisDecodedInstruction *i, const ZydisDecodedOperand *ops,
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
            if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && address_register(o->mem.base) == GPR_RSI) {
                insn->segment = segment_of(o->mem.segment);
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

// Operands into the neutral form, and what class that makes it.
static void classify(const ZydisDecodedInstruction *i, const ZydisDecodedOperand *ops, struct insn *insn) {
    if (i->mnemonic == ZYDIS_MNEMONIC_CLTS) {
        insn->class = INSN_CLTS;
        return;
    }
    if (i->mnemonic == ZYDIS_MNEMONIC_MOV && take_special(ops, insn)) {
        return;
    }
    bool memory = false;
    for (int n = 0; n < i->operand_count; n++) {
        const ZydisDecodedOperand *op = &ops[n];
        if (op->type == ZYDIS_OPERAND_TYPE_MEMORY) {
            // LEA addresses memory and touches none; of two operands (MOVS, PUSH
            // m) the one at a visible position comes first and is kept.
            bool touches = op->mem.type == ZYDIS_MEMOP_TYPE_MEM && op->actions;
            if (touches && !memory) {
                memory = true;
                take_memory(op, insn);
            }
        } else if (op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN) {
            continue;
        } else if (op->type == ZYDIS_OPERAND_TYPE_REGISTER && !insn->reg_size) {
            take_register(op, insn);
        } else if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && !insn->has_immediate) {
            take_immediate(op, insn);
        }
    }
    if (i->mnemonic == ZYDIS_MNEMONIC_LMSW) {
        insn->class = INSN_LMSW;
    } else if (i->mnemonic == ZYDIS_MNEMONIC_SMSW) {
        insn->class = INSN_SMSW;
    } else if (is_string_io(i->mnemonic)) {
        insn->class = INSN_STRING_IO;
        insn->op = (uint8_t)op_of(i);
        insn->size = (uint8_t)(insn->size ? insn->size : i->operand_width / 8);
    } else if (!memory || i->mnemonic == ZYDIS_MNEMONIC_NOP) {
        insn->class = INSN_OTHER;
    } else if (is_mov(i->mnemonic) && (insn->reg_size || (insn->write && insn->has_immediate))) {
        insn->class = insn->write ? INSN_MOV_STORE : INSN_MOV_LOAD;
        insn->sign_extend = i->mnemonic == ZYDIS_MNEMONIC_MOVSX || i->mnemonic == ZYDIS_MNEMONIC_MOVSXD;
        insn->zero_extend = i->mnemonic == ZYDIS_MNEMONIC_MOVZX;
        insn->op = OP_MOV;
    } else {
        insn->class = INSN_MODIFY;
        insn->op = (uint8_t)checked_op(op_of(i), i, ops, insn);
    }
}

// F2 works as F3 but for CMPS and SCAS; of both the last one counts.
static void take_repeat(const ZydisDecodedInstruction *i, struct insn *insn) {
    for (int n = 0; n < i->raw.prefix_count; n++) {
        uint8_t prefix = i->raw.prefixes[n].value;
        if (prefix == PREFIX_REPNE || prefix == PREFIX_REP) {
            insn->rep = true;
            insn->repne = prefix == PREFIX_REPNE;
        }
    }
}

// MONITOR, XSETBV and the rest of opcode 0F 01 with a register form: Zydis takes 66, F2
// or F3 before some of them for no instruction; CPUs differ, and the one that left the
// guest here has executed it. So the length is that without those prefixes, plus
// theirs. 0: not of these.
static uint8_t system_length(const ZydisDecoder *decoder, const uint8_t *bytes, size_t size) {
    uint8_t plain[INSN_LENGTH_MAX];
    size_t kept = 0, dropped = 0;
    for (size_t n = 0; n < size && n < INSN_LENGTH_MAX; n++) {
        bool before_opcode = !kept || plain[kept - 1] != OPCODE_ESCAPE;
        bool drop = bytes[n] == PREFIX_DATA || bytes[n] == PREFIX_REPNE || bytes[n] == PREFIX_REP;
        if (before_opcode && drop) {
            dropped++;
        } else {
            plain[kept++] = bytes[n];
        }
    }
    ZydisDecodedInstruction i;
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(decoder, ZYAN_NULL, plain, kept, &i))) {
        return 0;
    }
    bool system = i.opcode_map == ZYDIS_OPCODE_MAP_0F && i.opcode == OPCODE_SYSTEM
        && i.raw.modrm.mod == MODRM_REGISTER_FORM;
    return system && i.length + dropped <= INSN_LENGTH_MAX ? (uint8_t)(i.length + dropped) : 0;
}

int insn_decode(enum insn_mode mode, const uint8_t *bytes, size_t size, struct insn *insn) {
    ZydisDecoder decoder;
    ZydisDecoderContext context;
    ZydisDecodedInstruction i;
    decoder_init(&decoder, mode);
    ZyanStatus status = ZydisDecoderDecodeInstruction(&decoder, &context, bytes, size, &i);
    if (status == ZYDIS_STATUS_NO_MORE_DATA) {
        return -ERANGE;
    }
    *insn = (struct insn){
        .class = INSN_OTHER,
        .segment = SEG_DS,
        .base = INSN_NO_REG,
        .index = INSN_NO_REG,
    };
    if (!ZYAN_SUCCESS(status)) {
        insn->length = system_length(&decoder, bytes, size);
        return insn->length ? 0 : -EINVAL;
    }
    insn->length = i.length;
    insn->mnemonic = (uint16_t)i.mnemonic;
    insn->address_size = (uint8_t)(i.address_width / 8);
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    status = ZydisDecoderDecodeOperands(&decoder, &context, &i, ops, i.operand_count);
    if (!ZYAN_SUCCESS(status)) {
        return -EINVAL;
    }
    classify(&i, ops, insn);
    if (insn->op >= OP_MOVS) {
        take_repeat(&i, insn);
    }
    return 0;
}

uint64_t insn_offset(struct vcpu *v, const struct insn *insn) {
    uint64_t offset = (uint64_t)insn->displacement;
    if (insn->base == INSN_RIP) {
        offset += v->rip + insn->length;
    } else if (insn->base != INSN_NO_REG) {
        offset += v->gpr[insn->base];
    }
    if (insn->index != INSN_NO_REG) {
        offset += v->gpr[insn->index] * insn->scale;
    }
    switch (insn->address_size) {
    case 2:
        return (uint16_t)offset;
    case 4:
        return (uint32_t)offset;
    default:
        return offset;
    }
}
