// What each CPU gets switched on for the monitor's own use.
#include <stdint.h>

#include "cpu/insn.h"
#include "cpu/smp.h"

enum {
    CR4_PAE = 1 << 5, CR4_MCE = 1 << 6, CR4_OSFXSR = 1 << 9, CR4_OSXMMEXCPT = 1 << 10, CR4_OSXSAVE = 1 << 18,
    CR4_SMEP = 1 << 20,
    CPUID1_ECX_XSAVE = 26, CPUID1_EDX_MCE = 7, CPUID7_EBX_SMEP = 7,
    XCR0_X87_SSE = 3,
};

void cpu_features_init(void) {
    uint64_t cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    struct cpuid_regs one = cpuid(1, 0);
    if ((one.edx >> CPUID1_EDX_MCE & 1) != 0) {
        cr4 |= CR4_MCE;
    }
    if (cpuid(0, 0).eax >= 7 && (cpuid(7, 0).ebx >> CPUID7_EBX_SMEP & 1) != 0) {
        cr4 |= CR4_SMEP;
    }
    if ((one.ecx >> CPUID1_ECX_XSAVE & 1) != 0) {
        cr4 |= CR4_OSXSAVE;
    }
    write_cr4(cr4);
    if ((cr4 & CR4_OSXSAVE) != 0) {
        xsetbv(0, XCR0_X87_SSE);
    }
}
