// CPUID in every form a guest may write it: what it answers and where the guest
// goes on. CPUID exits always on VT-x and as asked on AMD-V, and neither CPU needs
// to say how long the instruction was.
#include "check.h"
#include "guest.h"
#include "paging.h"
#include "traps.h"

enum {
    LEAF_HYPERVISOR = 0x40000000,
    LEAF1_ECX_VMX = 1 << 5,
    LEAF1_ECX_XSAVE = 1 << 26,
    LEAF1_ECX_OSXSAVE = 1 << 27,
    LEAF1_ECX_HYPERVISOR = 1u << 31,
    EXT1_ECX_SVM = 1 << 2,
};

// Sets every register before CPUID and looks at every register after it.
struct registers {
    uint64_t rax, rcx, rdx, rbx, unused, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t flags;
};
enum { CF_PF_AF_ZF_SF_OF = 0x8D5, RFLAGS_FIXED = 2 };
extern void call_with_registers(struct registers *registers, const void *code);

// Each form is followed by RET, so a wrong length runs into something else: the bytes
// behind it are INT3, and the bytes within it are no CPUID.
static const struct {
    const char *name;
    uint8_t length, bytes[8];
} forms[] = {
    {"plain", 2, {0x0F, 0xA2}},
    {"66 prefix", 3, {0x66, 0x0F, 0xA2}},
    {"F3 prefix", 3, {0xF3, 0x0F, 0xA2}},
    {"F2 prefix", 3, {0xF2, 0x0F, 0xA2}},
    {"REX.W prefix", 3, {0x48, 0x0F, 0xA2}},
    {"CS segment prefix", 3, {0x2E, 0x0F, 0xA2}},
    {"66 F3 REX prefixes", 5, {0x66, 0xF3, 0x4F, 0x0F, 0xA2}},
    {"67 prefix", 3, {0x67, 0x0F, 0xA2}},
};
enum { FORMS = sizeof(forms) / sizeof(forms[0]), INT3 = 0xCC, RET = 0xC3 };

static uint8_t frames[2][PAGE_SIZE] __attribute__((aligned(4096)));

static struct registers pattern(uint32_t leaf) {
    struct registers r;
    uint64_t *word = (uint64_t *)&r;
    for (unsigned i = 0; i < sizeof(r) / 8; i++) {
        word[i] = 0xA5A5000000000000 + i * 0x0101010101;
    }
    r.rax = 0xFFFFFFFF00000000 | leaf;
    r.rcx = 0xFFFFFFFF00000000;
    r.flags = (r.flags & CF_PF_AF_ZF_SF_OF) | RFLAGS_FIXED; // never TF, IF, IOPL, or DF in C
    return r;
}

// Runs the form at `at` and compares with the compiler's own CPUID.
static void run(const char *where, const char *form, const void *at) {
    struct registers before = pattern(0), r = before;
    struct cpuid right = cpuid(0, 0);
    call_with_registers(&r, at);
    char name[64];
    size_t length = strlen(form);
    memcpy(name, form, length);
    memcpy(name + length, where, strlen(where) + 1);
    bool same = r.rax == right.eax && r.rbx == right.ebx && r.rcx == right.ecx && r.rdx == right.edx;
    bool kept = memcmp(&r.rbp, &before.rbp, offsetof(struct registers, flags) -
        offsetof(struct registers, rbp)) == 0;
    bool flags = (r.flags & CF_PF_AF_ZF_SF_OF) == (before.flags & CF_PF_AF_ZF_SF_OF);
    expect(name, same && kept && flags, "answer %s, RBP to R15 %s, flags %s",
        same ? "right" : "wrong", kept ? "kept" : "changed", flags ? "kept" : "changed");
}

static void place(unsigned form, uint8_t *at, uint8_t *next, unsigned first) {
    for (unsigned i = 0; i < forms[form].length; i++) {
        *(i < first ? at + i : next + i - first) = forms[form].bytes[i];
    }
}

static void check_forms(void) {
    for (unsigned f = 0; f < FORMS; f++) {
        memset(frames, INT3, sizeof(frames));
        place(f, frames[0] + 64, frames[0] + 64, 0);
        frames[0][64 + forms[f].length] = RET;
        run(" within a page", forms[f].name, frames[0] + 64);
    }
    // The same across two pages that lie the other way round in memory.
    page_set(PAGE_WINDOW, (uintptr_t)frames[1] | PTE_PRESENT_WRITE_USER);
    page_set(PAGE_WINDOW + PAGE_SIZE, (uintptr_t)frames[0] | PTE_PRESENT_WRITE_USER);
    for (unsigned f = 0; f < FORMS; f++) {
        for (unsigned first = 1; first < forms[f].length; first++) {
            memset(frames, INT3, sizeof(frames));
            place(f, frames[1] + PAGE_SIZE - first, frames[0], first);
            frames[0][forms[f].length - first] = RET;
            run(" across two pages", forms[f].name,
                (const void *)(uintptr_t)(PAGE_WINDOW + PAGE_SIZE - first));
        }
    }
}

static void check_hypervisor_leaves(void) {
    if (!under_vipervisor()) {
        skip("hypervisor leaves", "not under Vipervisor");
        skip("virtualisation hidden", "not under Vipervisor");
        return;
    }
    struct cpuid r = cpuid(LEAF_HYPERVISOR, 0);
    expect("largest hypervisor leaf", r.eax >= LEAF_HYPERVISOR + 1, "%x", r.eax);
    r = cpuid(LEAF_HYPERVISOR + 1, 0);
    expect("ABI version", r.eax == 1, "%u, 1 was due", r.eax);
    expect("vCPU count", r.ecx >= 1, "%u", r.ecx);
    r = cpuid(1, 0);
    expect("hypervisor bit", r.ecx & LEAF1_ECX_HYPERVISOR, "ECX %x", r.ecx);
    bool hidden = !(r.ecx & LEAF1_ECX_VMX) && !(cpuid(0x80000001, 0).ecx & EXT1_ECX_SVM);
    expect("virtualisation hidden", hidden, "VMX or SVM is shown");
}

static void check_osxsave(void) {
    if (!(cpuid(1, 0).ecx & LEAF1_ECX_XSAVE)) {
        skip("OSXSAVE mirrors CR4", "no XSAVE");
        return;
    }
    write_cr4(read_cr4() | CR4_OSXSAVE);
    bool on = cpuid(1, 0).ecx & LEAF1_ECX_OSXSAVE;
    write_cr4(read_cr4() & ~(uint64_t)CR4_OSXSAVE);
    bool off = !(cpuid(1, 0).ecx & LEAF1_ECX_OSXSAVE);
    expect("OSXSAVE mirrors CR4", on && off, "set: %u, clear: %u", on, !off);
}

// LOCK goes with none of these (SDM 2A, LOCK). QEMU's CPU executes some of them.
static void check_locked(void) {
    bool lenient = cpu_is_tcg() && !under_vipervisor();
    uint32_t eax = 0, ecx = 0, edx;
    uint64_t value;
    trap_clear();
    __asm__ volatile (GUARD(".byte 0xF0, 0x0F, 0xA2") : "+a" (eax), "+c" (ecx), "=d" (edx) : : "ebx", "memory");
    expect_trap("LOCK CPUID", TRAP_UD, lenient);
    ecx = 0x10; // IA32_TIME_STAMP_COUNTER
    trap_clear();
    __asm__ volatile (GUARD(".byte 0xF0, 0x0F, 0x32") : "=a" (eax), "+c" (ecx), "=d" (edx) : : "memory");
    expect_trap("LOCK RDMSR", TRAP_UD, lenient);
    trap_clear();
    __asm__ volatile (GUARD(".byte 0xF0, 0x0F, 0x21, 0xF0") : "=a" (value) : : "memory"); // DR6
    expect_trap("LOCK MOV DR", TRAP_UD, lenient);
}

int guest_main(void) {
    check_forms();
    check_locked();
    check_hypervisor_leaves();
    check_osxsave();
    struct cpuid r = cpuid(0x8FFFFFFF, 0);
    expect("a leaf far out of range", true, "%x", r.eax);
    return check_end();
}
