// Exact conversion between clocks: value * to / from with a 128-bit product, so
// that no rounding error ever adds up. One MUL and one DIV; the compiler's own
// 128-bit division would call a library that the core does not have.
#ifndef VIPERVISOR_DEV_RATIO_H
#define VIPERVISOR_DEV_RATIO_H

#include <stdint.h>

__extension__ typedef unsigned __int128 ratio_product;

// UINT64_MAX where the quotient does not fit (DIV would fault).
static inline uint64_t ratio_divide(ratio_product product, uint64_t divisor) {
    uint64_t low = (uint64_t)product, high = (uint64_t)(product >> 64), quotient, remainder;
    if (high >= divisor) {
        return UINT64_MAX;
    }
    __asm__("divq %[divisor]"
            : "=a"(quotient), "=d"(remainder)
            : "a"(low), "d"(high), [divisor] "rm"(divisor)
            : "cc");
    return quotient;
}

// Ticks of the clock `to` that lie within `value` ticks of the clock `from`.
static inline uint64_t ratio_down(uint64_t value, uint64_t to, uint64_t from) {
    return ratio_divide((ratio_product)value * to, from);
}

// The first tick of `to` at which `value` ticks of `from` are complete.
static inline uint64_t ratio_up(uint64_t value, uint64_t to, uint64_t from) {
    return ratio_divide((ratio_product)value * to + (from - 1), from);
}

#endif
