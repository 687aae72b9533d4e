// MSRs: those a guest owns keep what it writes, unknown ones fault, and every form of
// RDMSR and WRMSR is as long as it says.
#include "check.h"
#include "guest.h"
#include "traps.h"

enum {
    MSR_TSC = 0x10,
    MSR_APIC_BASE = 0x1B,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MISC_ENABLE = 0x1A0,
    MSR_PAT = 0x277,
    MSR_STAR = 0xC0000081,
    MSR_LSTAR = 0xC0000082,
    MSR_CSTAR = 0xC0000083,
    MSR_FMASK = 0xC0000084,
    MSR_FS_BASE = 0xC0000100,
    MSR_GS_BASE = 0xC0000101,
    MSR_KERNEL_GS_BASE = 0xC0000102,
    MSR_UNKNOWN = 0x4FFFFFF1,
    APIC_ENABLED = 1 << 11,
    LEAF1_EDX_APIC = 1 << 9,
};
#define APIC_ADDRESS 0xFEE00000ull

static uint64_t guarded_rdmsr(uint32_t index) {
    uint32_t low = 0, high = 0;
    trap_clear();
    __asm__ volatile (GUARD("rdmsr") : "+a" (low), "+d" (high) : "c" (index) : "memory");
    return low | (uint64_t)high << 32;
}

static void guarded_wrmsr(uint32_t index, uint64_t value) {
    trap_clear();
    __asm__ volatile (GUARD("wrmsr") : : "a" ((uint32_t)value), "d" ((uint32_t)(value >> 32)),
        "c" (index) : "memory");
}

static void keeps(const char *name, uint32_t index, uint64_t value) {
    uint64_t old = rdmsr(index);
    wrmsr(index, value);
    uint64_t got = rdmsr(index);
    wrmsr(index, old);
    uint64_t again = rdmsr(index);
    expect(name, got == value && again == old, "wrote %llx, read %llx", (unsigned long long)value,
        (unsigned long long)got);
}

static void check_efer(void) {
    uint64_t efer = rdmsr(MSR_EFER);
    expect("EFER shows long mode", (efer & (EFER_LME | EFER_LMA)) == (EFER_LME | EFER_LMA), "%llx",
        (unsigned long long)efer);
    wrmsr(MSR_EFER, efer | EFER_SCE);
    bool set = rdmsr(MSR_EFER) & EFER_SCE;
    wrmsr(MSR_EFER, efer & ~(uint64_t)EFER_SCE);
    bool clear = !(rdmsr(MSR_EFER) & EFER_SCE);
    wrmsr(MSR_EFER, efer);
    expect("EFER.SCE follows writes", set && clear, "set %u, clear %u", set, clear);
    guarded_wrmsr(MSR_EFER, efer | 1ull << 60);
    expect_trap("EFER reserved bit", TRAP_GP, cpu_is_tcg());
    wrmsr(MSR_EFER, efer);
    guarded_wrmsr(MSR_EFER, efer & ~(uint64_t)EFER_LME);
    expect_trap("EFER.LME under paging", TRAP_GP, cpu_is_tcg());
    wrmsr(MSR_EFER, efer);
    if (!under_vipervisor()) {
        skip("EFER.SVME is hidden", "not under Vipervisor");
        return;
    }
    expect("EFER.SVME is hidden", !(efer & EFER_SVME), "%llx", (unsigned long long)efer);
    guarded_wrmsr(MSR_EFER, efer | EFER_SVME);
    expect_trap("EFER.SVME is refused", TRAP_GP, false);
}

static void check_unknown(void) {
    if (!under_vipervisor()) {
        skip("unknown MSR read", "QEMU answers unknown MSRs with 0");
        skip("unknown MSR write", "QEMU takes writes to unknown MSRs");
        return;
    }
    guarded_rdmsr(MSR_UNKNOWN);
    expect_trap("unknown MSR read", TRAP_GP, false);
    expect("its error code", last_trap.error == 0, "%llx", (unsigned long long)last_trap.error);
    guarded_wrmsr(MSR_UNKNOWN, 1);
    expect_trap("unknown MSR write", TRAP_GP, false);
}

// The instruction behind each form adds one; a wrong length misses or repeats bytes.
#define FORM(name, bytes) do { \
    uint32_t low, high, steps = 0; \
    __asm__ volatile (bytes "\n inc %2" : "=a" (low), "=d" (high), "+S" (steps) \
        : "c" (MSR_STAR)); \
    uint64_t value = low | (uint64_t)high << 32; \
    expect(name, steps == 1 && value == star, "%u steps, %llx", steps, (unsigned long long)value); \
} while (0)

static void check_forms(void) {
    uint64_t old = rdmsr(MSR_STAR), star = 0x0018000812345678;
    wrmsr(MSR_STAR, star);
    FORM("RDMSR plain", ".byte 0x0F, 0x32");
    FORM("RDMSR 66", ".byte 0x66, 0x0F, 0x32");
    FORM("RDMSR REX.W", ".byte 0x48, 0x0F, 0x32");
    FORM("RDMSR CS 66 REX", ".byte 0x2E, 0x66, 0x4F, 0x0F, 0x32");
    uint32_t steps = 0;
    star = 0x0010000800000000;
    __asm__ volatile (".byte 0x66, 0x48, 0x0F, 0x30\n inc %0" : "+S" (steps)
        : "a" ((uint32_t)star), "d" ((uint32_t)(star >> 32)), "c" (MSR_STAR) : "memory");
    expect("WRMSR 66 REX.W", steps == 1 && rdmsr(MSR_STAR) == star, "%u steps", steps);
    uint64_t rax = ~0ull, rdx = ~0ull;
    __asm__ volatile ("rdmsr" : "+a" (rax), "+d" (rdx) : "c" (MSR_STAR));
    expect("RDMSR clears the upper halves", rax >> 32 == 0 && rdx >> 32 == 0, "%llx %llx",
        (unsigned long long)rax, (unsigned long long)rdx);
    wrmsr(MSR_STAR, old);
}

static void user_rdmsr(void) {
    __asm__ volatile ("rdmsr" : : "c" (MSR_STAR) : "eax", "edx");
}

int guest_main(void) {
    check_efer();
    keeps("STAR", MSR_STAR, 0x0018000800000000);
    keeps("LSTAR", MSR_LSTAR, 0xFFFFFFFF81000000);
    keeps("CSTAR", MSR_CSTAR, 0xFFFFFFFF81000100);
    keeps("FMASK", MSR_FMASK, 0x47700);
    keeps("FS base", MSR_FS_BASE, 0x00007FFF12345678);
    keeps("GS base", MSR_GS_BASE, 0xFFFF888012345678);
    keeps("kernel GS base", MSR_KERNEL_GS_BASE, 0x00007F0012345678);
    keeps("SYSENTER CS", MSR_SYSENTER_CS, 0x10);
    keeps("SYSENTER ESP", MSR_SYSENTER_ESP, 0xFFFF888000001000);
    keeps("SYSENTER EIP", MSR_SYSENTER_EIP, 0xFFFFFFFF81800000);
    keeps("MISC_ENABLE", MSR_MISC_ENABLE, rdmsr(MSR_MISC_ENABLE) ^ 1);
    keeps("PAT", MSR_PAT, 0x0407050600070106);
    uint64_t before = rdtsc(), tsc = rdmsr(MSR_TSC), after = rdtsc();
    if (tsc == 0 && !under_vipervisor()) {
        skip("TSC by RDMSR lies between two RDTSCs", "QEMU answers 0");
    } else {
        expect("TSC by RDMSR lies between two RDTSCs", before <= tsc && tsc <= after,
            "%llx %llx %llx", (unsigned long long)before, (unsigned long long)tsc,
            (unsigned long long)after);
    }
    if (cpuid(1, 0).edx & LEAF1_EDX_APIC) {
        uint64_t base = rdmsr(MSR_APIC_BASE);
        expect("APIC base", (base & APIC_ENABLED) && (base & 0xFFFFF000) == APIC_ADDRESS, "%llx",
            (unsigned long long)base);
    } else {
        skip("APIC base", "no local APIC shown");
    }
    check_unknown();
    check_forms();
    trap_clear();
    user_run(user_rdmsr);
    expect_trap("RDMSR at CPL 3", TRAP_GP, false);
    return check_end();
}
