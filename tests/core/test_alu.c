// sources: hypervisor/virt/emulate_alu.c
// Results and flags of emulated arithmetic against a model of the manual's rules (SDM
// volume 2), over random operands of all sizes. The model knows no instruction.
#include <stdlib.h>

#include "check.h"
#include "virt/emulate_alu.h"

enum { TIMES = 20000 };
#define OTHER_FLAGS UINT64_C(0x40202) // AC, IF and bit 1: not arithmetic's business

static uint64_t next_random(void) {
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

// Random, often at a border.
static uint64_t operand(void) {
    static const uint64_t borders[] = {0, 1, ~UINT64_C(0), 0x7F, 0x80, 0x7FFF, 0x8000, 0x7FFFFFFF, 0x80000000,
        UINT64_C(0x7FFFFFFFFFFFFFFF), UINT64_C(0x8000000000000000)};
    uint64_t r = next_random();
    return r % 4 ? next_random() : borders[next_random() % (sizeof(borders) / sizeof(borders[0]))];
}

struct sample {
    uint8_t size;
    unsigned bits;
    uint64_t mask, sign, a, b, flags;
};

static struct sample sample(unsigned smallest) {
    struct sample s;
    do {
        s.size = (uint8_t)(1u << next_random() % 4);
    } while (s.size < smallest);
    s.bits = s.size * 8u;
    s.mask = s.size == 8 ? ~UINT64_C(0) : (UINT64_C(1) << s.bits) - 1;
    s.sign = UINT64_C(1) << (s.bits - 1);
    s.a = operand();
    s.b = operand();
    s.flags = OTHER_FLAGS | (next_random() & RFLAGS_ARITHMETIC);
    return s;
}

static uint64_t result_flags(const struct sample *s, uint64_t r) {
    return ((r & s->mask) == 0 ? RFLAGS_ZF : 0) | (r & s->sign ? RFLAGS_SF : 0)
        | (__builtin_parityll(r & 0xFF) ? 0 : RFLAGS_PF);
}

static uint64_t add_flags(const struct sample *s, uint64_t a, uint64_t b, uint64_t carry, uint64_t r) {
    unsigned __int128 wide = (unsigned __int128)(a & s->mask) + (b & s->mask) + carry;
    return result_flags(s, r) | (wide >> s->bits ? RFLAGS_CF : 0) | ((a ^ b ^ r) & 0x10 ? RFLAGS_AF : 0)
        | (~(a ^ b) & (a ^ r) & s->sign ? RFLAGS_OF : 0);
}

static uint64_t sub_flags(const struct sample *s, uint64_t a, uint64_t b, uint64_t borrow, uint64_t r) {
    unsigned __int128 less = (unsigned __int128)(b & s->mask) + borrow;
    return result_flags(s, r) | ((a & s->mask) < less ? RFLAGS_CF : 0) | ((a ^ b ^ r) & 0x10 ? RFLAGS_AF : 0)
        | ((a ^ b) & (a ^ r) & s->sign ? RFLAGS_OF : 0);
}

// Runs the operation and compares; `defined` are the flags that the manual defines.
static void compare(enum insn_op op, const struct sample *s, uint64_t r, uint64_t flags, uint64_t defined) {
    uint64_t a = s->a, b = s->b, f = s->flags;
    CHECK(alu(op, s->size, &a, &b, &f));
    bool right = ((a ^ r) & s->mask) == 0 && ((f ^ flags) & defined) == 0
        && (f & ~RFLAGS_ARITHMETIC) == OTHER_FLAGS;
    if (!right) {
        printf("# operation %d size %d: %" PRIx64 " with %" PRIx64 ", flags %" PRIx64 ": %" PRIx64 " flags %" PRIx64
            ", due %" PRIx64 " flags %" PRIx64 "\n", op, s->size, s->a, s->b, s->flags, a, f, r, flags);
    }
    CHECK(right);
}

CASE(additions_and_subtractions) {
    for (int i = 0; i < TIMES; i++) {
        struct sample s = sample(1);
        uint64_t carry = s.flags & RFLAGS_CF, keeps_cf = RFLAGS_ARITHMETIC & ~RFLAGS_CF;
        uint64_t sum = s.a + s.b, difference = s.a - s.b;
        compare(OP_ADD, &s, sum, add_flags(&s, s.a, s.b, 0, sum), RFLAGS_ARITHMETIC);
        compare(OP_ADC, &s, sum + carry, add_flags(&s, s.a, s.b, carry, sum + carry), RFLAGS_ARITHMETIC);
        compare(OP_SUB, &s, difference, sub_flags(&s, s.a, s.b, 0, difference), RFLAGS_ARITHMETIC);
        compare(OP_SBB, &s, difference - carry, sub_flags(&s, s.a, s.b, carry, difference - carry),
            RFLAGS_ARITHMETIC);
        compare(OP_CMP, &s, s.a, sub_flags(&s, s.a, s.b, 0, difference), RFLAGS_ARITHMETIC);
        compare(OP_NEG, &s, 0 - s.a, sub_flags(&s, 0, s.a, 0, 0 - s.a), RFLAGS_ARITHMETIC);
        compare(OP_INC, &s, s.a + 1, (add_flags(&s, s.a, 1, 0, s.a + 1) & keeps_cf) | carry, RFLAGS_ARITHMETIC);
        compare(OP_DEC, &s, s.a - 1, (sub_flags(&s, s.a, 1, 0, s.a - 1) & keeps_cf) | carry, RFLAGS_ARITHMETIC);
        compare(OP_XADD, &s, sum, add_flags(&s, s.a, s.b, 0, sum), RFLAGS_ARITHMETIC);
        uint64_t a = s.a, b = s.b, f = s.flags;
        CHECK(alu(OP_XADD, s.size, &a, &b, &f) && ((b ^ s.a) & s.mask) == 0);
    }
}

CASE(logic) {
    for (int i = 0; i < TIMES; i++) {
        struct sample s = sample(1);
        uint64_t defined = RFLAGS_ARITHMETIC & ~RFLAGS_AF;
        compare(OP_AND, &s, s.a & s.b, result_flags(&s, s.a & s.b), defined);
        compare(OP_OR, &s, s.a | s.b, result_flags(&s, s.a | s.b), defined);
        compare(OP_XOR, &s, s.a ^ s.b, result_flags(&s, s.a ^ s.b), defined);
        compare(OP_TEST, &s, s.a, result_flags(&s, s.a & s.b), defined);
        compare(OP_NOT, &s, ~s.a, s.flags, RFLAGS_ARITHMETIC);
    }
}

static uint64_t carry_if(bool set) {
    return set ? RFLAGS_CF : 0;
}

// One shift or rotate, bit by bit.
static uint64_t shift_once(enum insn_op op, const struct sample *s, uint64_t a, bool *carry) {
    bool high = a & s->sign, low = a & 1, before = *carry;
    bool left = op == OP_SHL || op == OP_ROL || op == OP_RCL;
    *carry = left ? high : low;
    bool in = op == OP_ROL ? high : op == OP_ROR ? low : op == OP_RCL || op == OP_RCR ? before
        : op == OP_SAR ? high : false;
    return left ? ((a << 1) | in) & s->mask : (a >> 1) | (in ? s->sign : 0);
}

CASE(shifts_and_rotates) {
    static const enum insn_op ops[] = {OP_ROL, OP_ROR, OP_RCL, OP_RCR, OP_SHL, OP_SHR, OP_SAR};
    for (int i = 0; i < TIMES; i++) {
        for (size_t n = 0; n < sizeof(ops) / sizeof(ops[0]); n++) {
            struct sample s = sample(1);
            unsigned count = s.b & (s.size == 8 ? 63 : 31);
            uint64_t a = s.a & s.mask;
            bool carry = s.flags & RFLAGS_CF;
            for (unsigned c = 0; c < count; c++) {
                a = shift_once(ops[n], &s, a, &carry);
            }
            bool rotate = ops[n] < OP_SHL;
            uint64_t flags = rotate || !count ? s.flags : result_flags(&s, a);
            uint64_t defined = RFLAGS_ARITHMETIC & ~RFLAGS_OF & ~(rotate || !count ? 0 : RFLAGS_AF);
            bool cf_defined = rotate || count <= s.bits;
            compare(ops[n], &s, a, (flags & ~RFLAGS_CF) | carry_if(carry), cf_defined ? defined : defined & ~RFLAGS_CF);
            if (count == 0) {
                compare(ops[n], &s, a, s.flags, RFLAGS_ARITHMETIC);
            }
        }
    }
}

CASE(double_shifts) {
    for (int i = 0; i < TIMES; i++) {
        struct sample s = sample(2);
        unsigned count = (unsigned)next_random() % s.bits;
        uint64_t a = s.a & s.mask, b = s.b & s.mask;
        for (int right = 0; right < 2; right++) {
            uint64_t due = !count ? a : right ? a >> count | b << (s.bits - count) : a << count | b >> (s.bits - count);
            uint64_t got = s.a, f = s.flags;
            CHECK(alu_double_shift(right ? OP_SHRD : OP_SHLD, s.size, &got, s.b, (uint8_t)count, &f));
            if (count < (s.size == 8 ? 64u : 32u)) {
                CHECK(((got ^ due) & s.mask) == 0);
                bool out = count && (right ? a >> (count - 1) & 1 : a >> (s.bits - count) & 1);
                CHECK(!count || (f & RFLAGS_CF) == carry_if(out));
            }
        }
    }
}

CASE(bits) {
    for (int i = 0; i < TIMES; i++) {
        struct sample s = sample(2);
        uint64_t bit = UINT64_C(1) << (s.b & (s.bits - 1));
        uint64_t flags = (s.flags & ~RFLAGS_CF) | carry_if(s.a & bit), defined = RFLAGS_CF | RFLAGS_ZF;
        compare(OP_BT, &s, s.a, flags, defined);
        compare(OP_BTS, &s, s.a | bit, flags, defined);
        compare(OP_BTR, &s, s.a & ~bit, flags, defined);
        compare(OP_BTC, &s, s.a ^ bit, flags, defined);
        uint64_t b = s.b & s.mask;
        if (b) {
            compare(OP_BSF, &s, (uint64_t)__builtin_ctzll(b), s.flags & ~RFLAGS_ZF, RFLAGS_ZF);
            compare(OP_BSR, &s, 63u - (uint64_t)__builtin_clzll(b), s.flags & ~RFLAGS_ZF, RFLAGS_ZF);
        }
    }
}

static __int128 extended(const struct sample *s, uint64_t value) {
    unsigned unused = 64 - s->bits;
    return (int64_t)(value << unused) >> unused;
}

CASE(products) {
    uint64_t over = RFLAGS_CF | RFLAGS_OF;
    for (int i = 0; i < TIMES; i++) {
        struct sample s = sample(1);
        __int128 product = extended(&s, s.a) * extended(&s, s.b);
        bool fits = extended(&s, (uint64_t)product) == product;
        if (s.size > 1) {
            compare(OP_IMUL, &s, (uint64_t)product, fits ? 0 : over, over);
        }
        unsigned __int128 unsigned_product = (unsigned __int128)(s.a & s.mask) * (s.b & s.mask);
        for (int is_signed = 0; is_signed < 2; is_signed++) {
            unsigned __int128 due = is_signed ? (unsigned __int128)product : unsigned_product;
            bool small = is_signed ? fits : unsigned_product >> s.bits == 0;
            uint64_t low = s.a, high = 0, f = s.flags;
            CHECK(alu_multiply(is_signed ? OP_IMUL_WIDE : OP_MUL_WIDE, s.size, &low, &high, s.b, &f));
            CHECK((f & over) == (small ? 0 : over));
            if (s.size == 1) {
                CHECK((uint16_t)low == (uint16_t)due && high == 0);
            } else {
                CHECK(((low ^ (uint64_t)due) & s.mask) == 0 && ((high ^ (uint64_t)(due >> s.bits)) & s.mask) == 0);
            }
        }
    }
}

CASE(division) {
    unsigned refused = 0;
    for (unsigned n = 0; n < TIMES; n++) {
        struct sample s = sample(1);
        // Mostly quotients that fit; else the borders of operand().
        bool is_signed = n % 2, small = n % 8 < 6;
        uint64_t low = s.a, high = small ? (is_signed && (s.a & s.sign) ? ~UINT64_C(0) : 0) : operand();
        unsigned __int128 dividend = (unsigned __int128)(high & s.mask) << s.bits | (low & s.mask);
        if (s.size == 1) {
            low = (low & 0xFF) | (high & 0xFF) << 8;
        }
        uint64_t divisor = s.b & s.mask;
        bool negative = is_signed && (dividend >> (2 * s.bits - 1) & 1);
        bool divisor_negative = is_signed && (divisor & s.sign);
        unsigned __int128 wide_mask = s.size == 8 ? ~(unsigned __int128)0 : ((unsigned __int128)1 << 2 * s.bits) - 1;
        unsigned __int128 magnitude = negative ? -dividend & wide_mask : dividend;
        uint64_t divisor_magnitude = divisor_negative ? -divisor & s.mask : divisor;
        bool fits = false;
        unsigned __int128 quotient = 0, rest = 0;
        if (divisor_magnitude != 0) {
            quotient = magnitude / divisor_magnitude;
            rest = magnitude % divisor_magnitude;
            unsigned __int128 limit = is_signed ? s.sign - (negative == divisor_negative) : s.mask;
            fits = quotient <= limit;
        }
        CHECK(alu_divides(is_signed, s.size, low, high, s.b) == fits);
        if (!fits) {
            refused++;
            continue;
        }
        uint64_t f = s.flags, q = (uint64_t)(negative != divisor_negative ? -quotient : quotient);
        uint64_t r = (uint64_t)(negative ? -rest : rest);
        alu_divide(is_signed, s.size, &low, &high, s.b, &f);
        CHECK((f & ~RFLAGS_ARITHMETIC) == OTHER_FLAGS);
        if (s.size == 1) {
            CHECK((uint16_t)low == ((q & 0xFF) | (r & 0xFF) << 8));
        } else {
            CHECK(((low ^ q) & s.mask) == 0 && ((high ^ r) & s.mask) == 0);
        }
    }
    CHECK(refused > TIMES / 100 && refused < TIMES / 2);
}

CASE(conditions) {
    for (unsigned bits = 0; bits < 32; bits++) {
        bool c = bits & 1, p = bits & 2, z = bits & 4, s = bits & 8, o = bits & 16;
        uint64_t f = (c ? RFLAGS_CF : 0) | (p ? RFLAGS_PF : 0) | (z ? RFLAGS_ZF : 0) | (s ? RFLAGS_SF : 0)
            | (o ? RFLAGS_OF : 0);
        bool due[8] = {o, c, z, c || z, s, p, s != o, z || s != o};
        for (uint8_t n = 0; n < 16; n++) {
            CHECK(alu_condition(n, f) == (due[n / 2] != (n & 1)));
        }
    }
}

CASE(what_is_not_arithmetic_is_refused) {
    uint64_t a = 0, b = 0, f = 0;
    CHECK(!alu(OP_XCHG, 4, &a, &b, &f));
    CHECK(!alu(OP_NONE, 4, &a, &b, &f));
    CHECK(!alu(OP_COUNT, 4, &a, &b, &f));
    CHECK(!alu(OP_ADD, 3, &a, &b, &f));
    CHECK(!alu(OP_BT, 1, &a, &b, &f));
    CHECK(!alu_double_shift(OP_SHLD, 1, &a, b, 1, &f));
    CHECK(!alu_multiply(OP_MUL_WIDE, 16, &a, &b, 0, &f));
}
