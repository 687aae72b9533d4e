// Hypercalls: what they answer, that they keep every other register, and that only
// CPL 0 may call.
#include "check.h"
#include "guest.h"
#include "hypercall.h"
#include "traps.h"

enum { ENOSYS = 38 };

static bool amd;

static void user_call(void) {
    hypercall(amd, HYPERCALL_NOP, 0);
}

static void check_registers(void) {
    register uint64_t rax __asm__ ("rax") = HYPERCALL_NOP;
    register uint64_t rbx __asm__ ("rbx") = 0x1B1B1B1B1B1B1B1B;
    register uint64_t rcx __asm__ ("rcx") = 0x1C1C1C1C1C1C1C1C;
    register uint64_t rdx __asm__ ("rdx") = 0x1D1D1D1D1D1D1D1D;
    register uint64_t rsi __asm__ ("rsi") = 0x1E1E1E1E1E1E1E1E;
    register uint64_t rdi __asm__ ("rdi") = 0x1F1F1F1F1F1F1F1F;
    register uint64_t r8 __asm__ ("r8") = 0x0808080808080808;
    register uint64_t r15 __asm__ ("r15") = 0x1515151515151515;
    if (amd) {
        __asm__ volatile ("vmmcall" : "+r" (rax), "+r" (rbx), "+r" (rcx), "+r" (rdx), "+r" (rsi),
            "+r" (rdi), "+r" (r8), "+r" (r15) : : "memory");
    } else {
        __asm__ volatile ("vmcall" : "+r" (rax), "+r" (rbx), "+r" (rcx), "+r" (rdx), "+r" (rsi),
            "+r" (rdi), "+r" (r8), "+r" (r15) : : "memory");
    }
    bool kept = rbx == 0x1B1B1B1B1B1B1B1B && rcx == 0x1C1C1C1C1C1C1C1C &&
        rdx == 0x1D1D1D1D1D1D1D1D && rsi == 0x1E1E1E1E1E1E1E1E && rdi == 0x1F1F1F1F1F1F1F1F &&
        r8 == 0x0808080808080808 && r15 == 0x1515151515151515;
    expect("other registers are kept", kept, "one of RBX to R15 changed");
}

static void check_forms(void) {
    uint64_t rax = HYPERCALL_ABI;
    uint32_t steps = 0;
    if (amd) {
        __asm__ volatile (".byte 0x48, 0x0F, 0x01, 0xD9\n inc %1" : "+a" (rax), "+S" (steps) : :
            "memory");
    } else {
        __asm__ volatile (".byte 0x48, 0x0F, 0x01, 0xC1\n inc %1" : "+a" (rax), "+S" (steps) : :
            "memory");
    }
    expect("REX.W form", rax == 1 && steps == 1, "%llx, %u steps", (unsigned long long)rax, steps);
}

static void check_other_vendor(void) {
    trap_clear();
    if (amd) {
        __asm__ volatile (GUARD("vmcall") : : "a" (HYPERCALL_NOP) : "memory");
    } else {
        __asm__ volatile (GUARD("vmmcall") : : "a" (HYPERCALL_NOP) : "memory");
    }
    expect_trap("the other vendor's instruction", TRAP_UD, false);
}

int guest_main(void) {
    amd = cpu_is_amd();
    check_other_vendor();
    if (!under_vipervisor()) {
        skip("hypercalls", "not under Vipervisor");
        return check_end();
    }
    int64_t answer = hypercall(amd, HYPERCALL_ABI, 0);
    expect("ABI", answer == 1, "%lld, 1 was due", (long long)answer);
    answer = hypercall(amd, HYPERCALL_NOP, 0);
    expect("NOP", answer == 0, "%lld, 0 was due", (long long)answer);
    answer = hypercall(amd, HYPERCALL_NOBODY, 0);
    expect("unknown number", answer == -ENOSYS, "%lld, -38 was due", (long long)answer);
    for (const char *c = "console hypercall\r\n"; *c; c++) {
        answer = hypercall(amd, HYPERCALL_CONSOLE, (uint8_t)*c);
    }
    expect("CONSOLE", answer == 0, "%lld, 0 was due", (long long)answer);
    check_registers();
    check_forms();
    trap_clear();
    user_run(user_call);
    expect_trap("CPL 3", TRAP_UD, false);
    int status = check_end();
    console_drain();
    hypercall(amd, HYPERCALL_EXIT, (uint64_t)status);
    print("FAIL EXIT: came back\n");
    return 1;
}
