// From code bytes to struct insn, by Zydis: its length and class. The operands are
// decode_operand.c's, the operation is decode_op.c's; no other file of the core knows Zydis.
#include "virt/decode.h"

#include <Zydis/Decoder.h>

#include "cpu/err.h"
#include "virt/decode_zydis.h"

// Instruction bytes (SDM 2A 2.1).
enum { PREFIX_DATA = 0x66, PREFIX_REPNE = 0xF2, PREFIX_REP = 0xF3 };
enum { OPCODE_ESCAPE = 0x0F, OPCODE_SYSTEM = 0x01, MODRM_REGISTER_FORM = 3 };

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

// Operands into the neutral form, and what class that makes it.
static void classify(const ZydisDecodedInstruction *i, const ZydisDecodedOperand *ops, struct insn *insn) {
    if (i->mnemonic == ZYDIS_MNEMONIC_CLTS) {
        insn->class = INSN_CLTS;
        return;
    }
    if (i->mnemonic == ZYDIS_MNEMONIC_MOV && decode_special(ops, insn)) {
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
                decode_memory(op, insn);
            }
        } else if (op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN) {
            continue;
        } else if (op->type == ZYDIS_OPERAND_TYPE_REGISTER && !insn->reg_size) {
            decode_register(op, insn);
        } else if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && !insn->has_immediate) {
            decode_immediate(op, insn);
        }
    }
    if (i->mnemonic == ZYDIS_MNEMONIC_LMSW) {
        insn->class = INSN_LMSW;
    } else if (i->mnemonic == ZYDIS_MNEMONIC_SMSW) {
        insn->class = INSN_SMSW;
    } else if (is_string_io(i->mnemonic)) {
        insn->class = INSN_STRING_IO;
        insn->op = (uint8_t)decode_op(i);
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
        insn->op = (uint8_t)decode_checked_op(decode_op(i), i, ops, insn);
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
