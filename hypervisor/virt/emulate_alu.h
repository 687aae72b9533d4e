// Arithmetic of instructions that are carried out here, done by the same instruction
// of this CPU: so results and flags, the undefined ones too, are those that the guest
// would have got.
#ifndef VIPERVISOR_VIRT_EMULATE_ALU_H
#define VIPERVISOR_VIRT_EMULATE_ALU_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/decode.h"

#define RFLAGS_CF (UINT64_C(1) << 0)
#define RFLAGS_PF (UINT64_C(1) << 2)
#define RFLAGS_AF (UINT64_C(1) << 4)
#define RFLAGS_ZF (UINT64_C(1) << 6)
#define RFLAGS_SF (UINT64_C(1) << 7)
#define RFLAGS_DF (UINT64_C(1) << 10)
#define RFLAGS_OF (UINT64_C(1) << 11)
#define RFLAGS_ARITHMETIC (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

// Operations OP_ADD to OP_BTC: *a op= *b of `size` bytes (1, 2, 4, 8). XADD changes *b
// as well; CMP, TEST and BT leave *a; BSF and BSR look at *b; one-operand operations
// ignore *b; shifts take their count from its low byte. Bits of *flags other than the
// six stay. False: no such operation or size.
bool alu(enum insn_op op, uint8_t size, uint64_t *a, uint64_t *b, uint64_t *flags);
// SHLD and SHRD: *a shifted by `count`, filled from b.
bool alu_double_shift(enum insn_op op, uint8_t size, uint64_t *a, uint64_t b, uint8_t count, uint64_t *flags);
// MUL and IMUL into two registers: *low and *high are RAX and RDX, whole; for bytes AX.
bool alu_multiply(enum insn_op op, uint8_t size, uint64_t *low, uint64_t *high, uint64_t b, uint64_t *flags);
// DIV and IDIV of RDX:RAX, or AX for bytes: whether the quotient fits, else it is #DE; and
// the division itself, only when it does.
bool alu_divides(bool is_signed, uint8_t size, uint64_t low, uint64_t high, uint64_t divisor);
void alu_divide(bool is_signed, uint8_t size, uint64_t *low, uint64_t *high, uint64_t divisor, uint64_t *flags);
// Whether a condition (an opcode's low four bits, SDM 1 appendix B) holds.
bool alu_condition(uint8_t condition, uint64_t flags);

#endif
