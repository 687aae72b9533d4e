// Vector and x87 registers stay what the guest made them, through every kind of exit.
#include "fpu.h"
#include "check.h"
#include "guest.h"
#include "hypercall.h"
#include "traps.h"

enum {
    LEAF1_ECX_XSAVE = 1 << 26,
    LEAF1_ECX_AVX = 1 << 28,
    XCR0_X87_SSE_AVX = 7,
    ROUNDS = 200,
    MSR_STAR = 0xC0000081,
    PIC1_DATA = 0x21,
    TICK_HZ = 1000,
    MXCSR_ALL_MASKED_FTZ = 0x9F80,
    MXCSR_DEFAULT = 0x1F80,
};

static bool amd, under;

static void exits(void) {
    cpuid(0, 0);
    outb(PIC1_DATA, inb(PIC1_DATA));
    wrmsr(MSR_STAR, rdmsr(MSR_STAR));
    if (under) {
        hypercall(amd, HYPERCALL_NOP, 0);
    }
    write_cr3(read_cr3());
    wait_for_interrupt();
}

static void fill(struct vectors *v, unsigned size, unsigned seed) {
    memset(v, 0, sizeof(*v));
    for (unsigned r = 0; r < 16; r++) {
        for (unsigned i = 0; i < size; i++) {
            v->lanes[r][i] = (uint8_t)(seed + 17 * r + 3 * i + 1);
        }
    }
}

static void check_vectors(const char *name, unsigned size, void (*load)(const struct vectors *),
    void (*store)(struct vectors *)) {
    static struct vectors set, got;
    for (unsigned round = 0; round < ROUNDS; round++) {
        fill(&set, size, round);
        memset(&got, 0, sizeof(got));
        load(&set);
        exits();
        store(&got);
        if (memcmp(&set, &got, sizeof(set)) != 0) {
            expect(name, false, "round %u: a register changed", round);
            return;
        }
    }
    expect(name, true, "unchanged");
}

static void check_x87(void) {
    uint64_t in = 0x123456789ABCDEF, out = 0;
    uint16_t control = 0x27F, seen = 0; // double precision, all masked
    __asm__ volatile ("fninit; fldcw %0; fildll %1" : : "m" (control), "m" (in));
    for (unsigned round = 0; round < ROUNDS; round++) {
        exits();
    }
    __asm__ volatile ("fistpll %0; fnstcw %1" : "=m" (out), "=m" (seen));
    expect("x87 stack and control word", out == in && seen == control, "%llx, control %x",
        (unsigned long long)out, seen);
}

static void check_mxcsr(void) {
    uint32_t value = MXCSR_ALL_MASKED_FTZ, got = 0;
    __asm__ volatile ("ldmxcsr %0" : : "m" (value));
    for (unsigned round = 0; round < ROUNDS; round++) {
        exits();
    }
    __asm__ volatile ("stmxcsr %0" : "=m" (got));
    expect("MXCSR", got == value, "%x, %x was due", got, value);
    value = MXCSR_DEFAULT;
    __asm__ volatile ("ldmxcsr %0" : : "m" (value));
}

int guest_main(void) {
    amd = cpu_is_amd();
    under = under_vipervisor();
    irq_init();
    pit_periodic(TICK_HZ);
    irq_unmask(0);
    check_vectors("SSE registers", 16, load_sse, store_sse);
    check_x87();
    check_mxcsr();
    uint32_t features = cpuid(1, 0).ecx;
    if ((features & LEAF1_ECX_XSAVE) && (features & LEAF1_ECX_AVX)) {
        write_cr4(read_cr4() | CR4_OSXSAVE);
        __asm__ volatile ("xsetbv" : : "a" (XCR0_X87_SSE_AVX), "d" (0), "c" (0));
        check_vectors("AVX registers", 32, load_avx, store_avx);
        uint32_t low, high;
        __asm__ volatile ("xgetbv" : "=a" (low), "=d" (high) : "c" (0));
        expect("XCR0", low == XCR0_X87_SSE_AVX && high == 0, "%x", low);
    } else {
        skip("AVX registers", "no XSAVE or no AVX shown");
    }
    return check_end();
}
