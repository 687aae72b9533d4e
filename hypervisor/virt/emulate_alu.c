#include "virt/emulate_alu.h"

#include <stddef.h>

// Loads the six flags, runs an instruction and takes them back. IF and the rest of
// RFLAGS are the monitor's own throughout. The stack pointer moves out of the way of a
// red zone, for host tests.
#define WITH_FLAGS(text) \
    "leaq -128(%%rsp), %%rsp\n" \
    "pushfq\n" \
    "andq %[keep], (%%rsp)\n" \
    "orq %[f], (%%rsp)\n" \
    "popfq\n" \
    text "\n" \
    "pushfq\n" \
    "popq %[f]\n" \
    "leaq 128(%%rsp), %%rsp"
#define KEEP_OTHERS [keep] "i" (~(int64_t)RFLAGS_ARITHMETIC)

typedef void alu_fn(uint8_t size, uint64_t *a, uint64_t *b, uint64_t *f);

#define RUN(text) \
    __asm__ volatile (WITH_FLAGS(text) : [a] "+r" (*a), [b] "+c" (*b), [f] "+r" (*f) : KEEP_OTHERS : "cc", "memory"); \
    break

// An instruction in its four sizes; `bytes` is what it does for one byte.
#define DEFINE(name, bytes, words, longs, quads) \
    static void name(uint8_t size, uint64_t *a, uint64_t *b, uint64_t *f) { \
        switch (size) { \
            case 1: RUN(bytes); \
            case 2: RUN(words); \
            case 4: RUN(longs); \
            default: RUN(quads); \
        } \
    }
#define TWO(name) \
    DEFINE(do_##name, #name "b %b[b], %b[a]", #name "w %w[b], %w[a]", #name "l %k[b], %k[a]", #name "q %q[b], %q[a]")
#define ONE(name) \
    DEFINE(do_##name, #name "b %b[a]", #name "w %w[a]", #name "l %k[a]", #name "q %q[a]")
#define SHIFT(name) \
    DEFINE(do_##name, #name "b %%cl, %b[a]", #name "w %%cl, %w[a]", #name "l %%cl, %k[a]", #name "q %%cl, %q[a]")
#define WIDE(name) /* there is no byte form */ \
    DEFINE(do_##name, "ud2", #name "w %w[b], %w[a]", #name "l %k[b], %k[a]", #name "q %q[b], %q[a]")

TWO(add)
TWO(or)
TWO(adc)
TWO(sbb)
TWO(and)
TWO(sub)
TWO(xor)
TWO(cmp)
TWO(test)
TWO(xadd)
WIDE(imul)
WIDE(bsf)
WIDE(bsr)
ONE(not)
ONE(neg)
ONE(inc)
ONE(dec)
SHIFT(rol)
SHIFT(ror)
SHIFT(rcl)
SHIFT(rcr)
SHIFT(shl)
SHIFT(shr)
SHIFT(sar)
WIDE(bt)
WIDE(bts)
WIDE(btr)
WIDE(btc)

static const struct {
    alu_fn *run;
    bool wide; // no byte form
} operations[] = {
    [OP_ADD] = { do_add, false }, [OP_OR] = { do_or, false }, [OP_ADC] = { do_adc, false },
    [OP_SBB] = { do_sbb, false }, [OP_AND] = { do_and, false }, [OP_SUB] = { do_sub, false },
    [OP_XOR] = { do_xor, false }, [OP_CMP] = { do_cmp, false }, [OP_TEST] = { do_test, false },
    [OP_XADD] = { do_xadd, false }, [OP_IMUL] = { do_imul, true }, [OP_BSF] = { do_bsf, true },
    [OP_BSR] = { do_bsr, true }, [OP_NOT] = { do_not, false }, [OP_NEG] = { do_neg, false },
    [OP_INC] = { do_inc, false }, [OP_DEC] = { do_dec, false }, [OP_ROL] = { do_rol, false },
    [OP_ROR] = { do_ror, false }, [OP_RCL] = { do_rcl, false }, [OP_RCR] = { do_rcr, false },
    [OP_SHL] = { do_shl, false }, [OP_SHR] = { do_shr, false }, [OP_SAR] = { do_sar, false },
    [OP_BT] = { do_bt, true }, [OP_BTS] = { do_bts, true }, [OP_BTR] = { do_btr, true },
    [OP_BTC] = { do_btc, true },
};

static bool has_size(uint8_t size, bool wide) {
    return size == 2 || size == 4 || size == 8 || (size == 1 && !wide);
}

static void take_flags(uint64_t *flags, uint64_t f) {
    *flags = (*flags & ~RFLAGS_ARITHMETIC) | (f & RFLAGS_ARITHMETIC);
}

bool alu(enum insn_op op, uint8_t size, uint64_t *a, uint64_t *b, uint64_t *flags) {
    bool known = op < sizeof(operations) / sizeof(operations[0]) && operations[op].run != NULL;
    if (!known || !has_size(size, operations[op].wide)) {
        return false;
    }
    uint64_t f = *flags & RFLAGS_ARITHMETIC;
    operations[op].run(size, a, b, &f);
    take_flags(flags, f);
    return true;
}

bool alu_double_shift(enum insn_op op, uint8_t size, uint64_t *a, uint64_t b, uint8_t count, uint64_t *flags) {
    uint64_t f = *flags & RFLAGS_ARITHMETIC;
#define RUN_DOUBLE(text) \
    __asm__ volatile (WITH_FLAGS(text) : [a] "+r" (*a), [f] "+r" (f) : [b] "r" (b), "c" (count), KEEP_OTHERS \
        : "cc", "memory"); \
    break
    switch (size | (op == OP_SHRD ? 1 : 0)) {
        case 2: RUN_DOUBLE("shldw %%cl, %w[b], %w[a]");
        case 3: RUN_DOUBLE("shrdw %%cl, %w[b], %w[a]");
        case 4: RUN_DOUBLE("shldl %%cl, %k[b], %k[a]");
        case 5: RUN_DOUBLE("shrdl %%cl, %k[b], %k[a]");
        case 8: RUN_DOUBLE("shldq %%cl, %q[b], %q[a]");
        case 9: RUN_DOUBLE("shrdq %%cl, %q[b], %q[a]");
        default:
            return false;
    }
#undef RUN_DOUBLE
    take_flags(flags, f);
    return true;
}

bool alu_multiply(enum insn_op op, uint8_t size, uint64_t *low, uint64_t *high, uint64_t b, uint64_t *flags) {
    uint64_t f = *flags & RFLAGS_ARITHMETIC;
#define RUN_MULTIPLY(text) \
    __asm__ volatile (WITH_FLAGS(text) : "+a" (*low), "+d" (*high), [f] "+r" (f) : [b] "r" (b), KEEP_OTHERS \
        : "cc", "memory"); \
    break
    bool is_signed = op == OP_IMUL_WIDE;
    switch (size) {
        case 1:
            if (is_signed) {
                RUN_MULTIPLY("imulb %b[b]");
            }
            RUN_MULTIPLY("mulb %b[b]");
        case 2:
            if (is_signed) {
                RUN_MULTIPLY("imulw %w[b]");
            }
            RUN_MULTIPLY("mulw %w[b]");
        case 4:
            if (is_signed) {
                RUN_MULTIPLY("imull %k[b]");
            }
            RUN_MULTIPLY("mull %k[b]");
        case 8:
            if (is_signed) {
                RUN_MULTIPLY("imulq %q[b]");
            }
            RUN_MULTIPLY("mulq %q[b]");
        default:
            return false;
    }
#undef RUN_MULTIPLY
    take_flags(flags, f);
    return true;
}

bool alu_divides(bool is_signed, uint8_t size, uint64_t low, uint64_t high, uint64_t divisor) {
    unsigned bits = size * 8u;
    uint64_t mask = UINT64_MAX >> (64 - bits), sign = UINT64_C(1) << (bits - 1);
    if (size == 1) {
        high = low >> 8;
    }
    low &= mask;
    high &= mask;
    divisor &= mask;
    bool negative = is_signed && (high & sign), negative_divisor = is_signed && (divisor & sign);
    if (negative) {
        low = -low & mask;
        high = (~high + (low == 0)) & mask;
    }
    if (negative_divisor) {
        divisor = -divisor & mask;
    }
    if (high >= divisor) {
        return false; // zero among them
    }
    uint64_t quotient = low, rest = high;
    if (bits == 64) {
        __asm__ ("divq %2" : "+a" (quotient), "+d" (rest) : "r" (divisor) : "cc");
    } else {
        quotient = (high << bits | low) / divisor;
    }
    return !is_signed || quotient < sign || (quotient == sign && negative != negative_divisor);
}

void alu_divide(bool is_signed, uint8_t size, uint64_t *low, uint64_t *high, uint64_t divisor, uint64_t *flags) {
    uint64_t f = *flags & RFLAGS_ARITHMETIC;
#define RUN_DIVIDE(text) \
    __asm__ volatile (WITH_FLAGS(text) : "+a" (*low), "+d" (*high), [f] "+r" (f) : [b] "r" (divisor), KEEP_OTHERS \
        : "cc", "memory"); \
    break
    switch (size | (is_signed ? 16 : 0)) {
        case 1: RUN_DIVIDE("divb %b[b]");
        case 2: RUN_DIVIDE("divw %w[b]");
        case 4: RUN_DIVIDE("divl %k[b]");
        case 8: RUN_DIVIDE("divq %q[b]");
        case 16 + 1: RUN_DIVIDE("idivb %b[b]");
        case 16 + 2: RUN_DIVIDE("idivw %w[b]");
        case 16 + 4: RUN_DIVIDE("idivl %k[b]");
        case 16 + 8: RUN_DIVIDE("idivq %q[b]");
        default:
            break;
    }
#undef RUN_DIVIDE
    take_flags(flags, f);
}

bool alu_condition(uint8_t condition, uint64_t flags) {
    bool sign_differs = !(flags & RFLAGS_SF) != !(flags & RFLAGS_OF);
    bool holds;
    switch (condition >> 1 & 7) {
        case 0: holds = flags & RFLAGS_OF; break;
        case 1: holds = flags & RFLAGS_CF; break;
        case 2: holds = flags & RFLAGS_ZF; break;
        case 3: holds = flags & (RFLAGS_CF | RFLAGS_ZF); break;
        case 4: holds = flags & RFLAGS_SF; break;
        case 5: holds = flags & RFLAGS_PF; break;
        case 6: holds = sign_differs; break;
        default: holds = sign_differs || (flags & RFLAGS_ZF); break;
    }
    return holds != (condition & 1);
}
