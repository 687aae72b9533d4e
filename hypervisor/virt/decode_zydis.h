// What the files that know Zydis share.
#ifndef VIPERVISOR_VIRT_DECODE_ZYDIS_H
#define VIPERVISOR_VIRT_DECODE_ZYDIS_H

#include <stdbool.h>
#include <stdint.h>

#include <Zydis/DecoderTypes.h>

#include "virt/decode.h"

// decode_operand.c
uint8_t decode_address_register(ZydisRegister reg); // enum gpr, INSN_RIP or INSN_NO_REG
uint8_t decode_segment(ZydisRegister reg); // enum vseg
void decode_memory(const ZydisDecodedOperand *op, struct insn *insn);
void decode_register(const ZydisDecodedOperand *op, struct insn *insn); // none unless a general one
void decode_immediate(const ZydisDecodedOperand *op, struct insn *insn);
bool decode_special(const ZydisDecodedOperand *ops, struct insn *insn);

// decode_op.c
enum insn_op decode_op(const ZydisDecodedInstruction *i);
enum insn_op decode_checked_op(enum insn_op op, const ZydisDecodedInstruction *i, const ZydisDecodedOperand *ops,
    struct insn *insn);

#endif
