// XSETBV: the feature sets that the CPU shows can be switched on, CPUID follows, and
// what the manuals forbid faults.
#include "check.h"
#include "guest.h"
#include "traps.h"

enum {
    LEAF1_ECX_XSAVE = 1 << 26,
    LEAF_XSAVE = 0xD,
    XCR0_X87 = 1 << 0,
    XCR0_SSE = 1 << 1,
    XCR0_AVX = 1 << 2,
    XSAVE_LEGACY_SIZE = 576, // with the header, Intel SDM vol. 1, section 13.4
};

static uint64_t xgetbv(void) {
    uint32_t low, high;
    __asm__ volatile ("xgetbv" : "=a" (low), "=d" (high) : "c" (0));
    return low | (uint64_t)high << 32;
}

static void try_xsetbv(uint32_t index, uint64_t value) {
    trap_clear();
    __asm__ volatile (GUARD("xsetbv") : : "a" ((uint32_t)value), "d" ((uint32_t)(value >> 32)),
        "c" (index) : "memory");
}

static void sets(const char *name, uint64_t value) {
    try_xsetbv(0, value);
    bool good = !last_trap.taken && xgetbv() == value;
    expect(name, good, "vector %u, XCR0 %llx", last_trap.taken ? last_trap.vector : 0,
        (unsigned long long)xgetbv());
}

static void user_xsetbv(void) {
    __asm__ volatile ("xsetbv" : : "a" (XCR0_X87), "d" (0), "c" (0));
}

int guest_main(void) {
    if (!(cpuid(1, 0).ecx & LEAF1_ECX_XSAVE)) {
        skip("XSETBV", "no XSAVE shown");
        return check_end();
    }
    try_xsetbv(0, XCR0_X87);
    expect_trap("XSETBV without CR4.OSXSAVE", TRAP_UD, false);
    write_cr4(read_cr4() | CR4_OSXSAVE);
    expect("XCR0 at the start", xgetbv() == XCR0_X87, "%llx", (unsigned long long)xgetbv());
    struct cpuid shown = cpuid(LEAF_XSAVE, 0);
    uint64_t all = shown.eax | (uint64_t)shown.edx << 32;
    sets("x87 and SSE", XCR0_X87 | XCR0_SSE);
    uint32_t size = cpuid(LEAF_XSAVE, 0).ebx;
    expect("area of x87 and SSE", size == XSAVE_LEGACY_SIZE, "%u bytes", size);
    if (all & XCR0_AVX) {
        sets("x87, SSE and AVX", XCR0_X87 | XCR0_SSE | XCR0_AVX);
        size = cpuid(LEAF_XSAVE, 0).ebx;
        struct cpuid avx = cpuid(LEAF_XSAVE, 2);
        expect("area with AVX", size == avx.ebx + avx.eax, "%u bytes, AVX ends at %u", size,
            avx.ebx + avx.eax);
    } else {
        skip("x87, SSE and AVX", "no AVX shown");
    }
    sets("all that is shown", all);
    size = cpuid(LEAF_XSAVE, 0).ebx;
    expect("area of all", size <= shown.ecx && size >= XSAVE_LEGACY_SIZE, "%u of %u bytes", size,
        shown.ecx);
    try_xsetbv(0, XCR0_SSE);
    expect_trap("XCR0 without x87", TRAP_GP, false);
    try_xsetbv(0, XCR0_X87 | XCR0_AVX);
    expect_trap("AVX without SSE", TRAP_GP, cpu_is_tcg());
    try_xsetbv(0, all | 1ull << 62);
    expect_trap("XCR0 reserved bit", TRAP_GP, false);
    try_xsetbv(1, XCR0_X87);
    expect_trap("XCR1", TRAP_GP, false);
    sets("x87 alone again", XCR0_X87);
    trap_clear();
    user_run(user_xsetbv);
    expect_trap("XSETBV at CPL 3", TRAP_GP, false);
    return check_end();
}
