// Control registers: what the guest writes is in force and reads back, and what the
// manuals forbid faults.
#include "check.h"
#include "guest.h"
#include "paging.h"
#include "traps.h"

#define GUARDED_WRITE(name, register) \
    static void name(uint64_t value) { \
        trap_clear(); \
        __asm__ volatile (GUARD("mov %0, %%" register) : : "r" (value) : "memory"); \
    }
GUARDED_WRITE(try_cr0, "cr0")
GUARDED_WRITE(try_cr3, "cr3")
GUARDED_WRITE(try_cr4, "cr4")
GUARDED_WRITE(try_cr8, "cr8")

enum { PF_PRESENT_WRITE = 3 };

static void check_wp(void) {
    volatile uint8_t *byte = (volatile uint8_t *)PAGE_WINDOW;
    uint64_t cr0 = read_cr0();
    static uint8_t page[PAGE_SIZE] __attribute__((aligned(4096)));
    page_set(PAGE_WINDOW, (uintptr_t)page | PTE_PRESENT | PTE_USER);
    write_cr0(cr0 | CR0_WP);
    trap_clear();
    __asm__ volatile (GUARD("movb $1, (%0)") : : "r" (byte) : "memory");
    bool faulted = trap_was(TRAP_PF) && last_trap.error == PF_PRESENT_WRITE &&
        last_trap.address == PAGE_WINDOW;
    expect("WP set: a read-only page is kept", faulted && page[0] == 0, "error %llx, CR2 %llx",
        (unsigned long long)last_trap.error, (unsigned long long)last_trap.address);
    write_cr0(cr0 & ~(uint64_t)CR0_WP);
    trap_clear();
    __asm__ volatile (GUARD("movb $1, (%0)") : : "r" (byte) : "memory");
    expect("WP clear: CPL 0 writes it", !last_trap.taken && page[0] == 1, "vector %u",
        last_trap.vector);
    write_cr0(cr0);
    expect("CR0 reads back", read_cr0() == cr0, "%llx, wrote %llx",
        (unsigned long long)read_cr0(), (unsigned long long)cr0);
}

static void check_ts(void) {
    uint64_t cr0 = read_cr0();
    write_cr0(cr0 | CR0_TS);
    trap_clear();
    __asm__ volatile (GUARD("fnop") : : : "memory");
    expect_trap("TS set: x87 raises #NM", TRAP_NM, false);
    __asm__ volatile ("clts");
    expect("CLTS", !(read_cr0() & CR0_TS), "%llx", (unsigned long long)read_cr0());
    trap_clear();
    __asm__ volatile (GUARD("fnop") : : : "memory");
    expect("TS clear: x87 runs", !last_trap.taken, "vector %u", last_trap.vector);
    uint16_t word = (uint16_t)(cr0 | CR0_TS);
    __asm__ volatile ("lmsw %0" : : "r" (word));
    expect("LMSW sets TS", read_cr0() == (cr0 | CR0_TS), "%llx", (unsigned long long)read_cr0());
    word = 0;
    __asm__ volatile ("lmsw %0" : : "r" (word));
    uint64_t got = read_cr0();
    expect("LMSW clears TS and MP, never PE", (got & (CR0_PE | CR0_MP | CR0_TS)) == CR0_PE, "%llx",
        (unsigned long long)got);
    write_cr0(cr0);
    uint64_t smsw;
    __asm__ volatile ("smsw %0" : "=r" (smsw));
    expect("SMSW", (smsw & 0xFFFF) == (cr0 & 0xFFFF), "%llx", (unsigned long long)smsw);
}

static void check_cr4(void) {
    uint64_t cr4 = read_cr4();
    bool good = true;
    for (unsigned i = 0; i < 10; i++) {
        write_cr4(cr4 | CR4_PGE);
        good &= read_cr4() == (cr4 | CR4_PGE);
        write_cr4(cr4);
        good &= read_cr4() == cr4;
    }
    expect("PGE toggles", good, "CR4 %llx", (unsigned long long)read_cr4());
    write_cr4(cr4 | CR4_TSD | CR4_DE);
    expect("TSD and DE read back", read_cr4() == (cr4 | CR4_TSD | CR4_DE), "%llx",
        (unsigned long long)read_cr4());
    write_cr4(cr4);
}

static void check_cr3(void) {
    uint64_t cr3 = read_cr3();
    static uint64_t other[512] __attribute__((aligned(4096)));
    extern uint64_t boot_pml4[512];
    memcpy(other, boot_pml4, sizeof(other));
    write_cr3((uintptr_t)other);
    uint64_t got = read_cr3();
    write_cr3(cr3);
    expect("CR3 reads back", got == (uintptr_t)other && read_cr3() == cr3, "%llx",
        (unsigned long long)got);
}

static void check_cr8(void) {
    bool good = true;
    for (uint64_t priority = 0; priority < 16; priority++) {
        write_cr8(priority);
        good &= read_cr8() == priority;
    }
    write_cr8(0);
    expect("CR8 reads back", good, "CR8 %llx", (unsigned long long)read_cr8());
    try_cr8(16);
    expect_trap("CR8 reserved bit", TRAP_GP, cpu_is_tcg());
    write_cr8(0);
}

// Every general register can be the operand.
static void check_operands(void) {
    uint64_t cr0 = read_cr0();
    bool good = true;
#define OPERAND(register) do { \
    uint64_t value; \
    __asm__ volatile ("mov %%cr0, %%" register "\n mov %%" register ", %%cr0\n mov %%" register \
        ", %0" : "=m" (value) : : register, "memory"); \
    good &= value == cr0 && read_cr0() == cr0; \
} while (0)
    OPERAND("rax");
    OPERAND("rcx");
    OPERAND("rdx");
    OPERAND("rbx");
    OPERAND("rsi");
    OPERAND("rdi");
    OPERAND("r8");
    OPERAND("r9");
    OPERAND("r12");
    OPERAND("r13");
    OPERAND("r15");
#undef OPERAND
    expect("CR0 through eleven registers", good, "CR0 %llx", (unsigned long long)read_cr0());
}

// A feature that CPUID does not show cannot be switched on.
static void check_hidden(void) {
    uint32_t one = cpuid(1, 0).ecx, seven_ebx = cpuid(7, 0).ebx, seven_ecx = cpuid(7, 0).ecx;
    const struct {
        const char *name;
        uint64_t bit;
        uint32_t shown;
    } features[] = {
        {"CR4.UMIP", CR4_UMIP, seven_ecx >> 2 & 1},
        {"CR4.LA57", CR4_LA57, 0}, // not in long mode
        {"CR4.FSGSBASE", CR4_FSGSBASE, seven_ebx & 1},
        {"CR4.PCIDE", CR4_PCIDE, one >> 17 & 1},
        {"CR4.OSXSAVE", CR4_OSXSAVE, one >> 26 & 1},
        {"CR4.SMEP", CR4_SMEP, seven_ebx >> 7 & 1},
        {"CR4.SMAP", CR4_SMAP, seven_ebx >> 20 & 1},
        {"CR4.PKE", CR4_PKE, seven_ecx >> 3 & 1},
        {"CR4.CET", CR4_CET, seven_ecx >> 7 & 1},
        {"CR4.PKS", CR4_PKS, seven_ecx >> 31 & 1},
    };
    uint64_t cr4 = read_cr4();
    for (unsigned i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        if (features[i].shown) {
            continue; // SMEP and SMAP would end this guest, whose pages are all the user's
        }
        if (cpu_is_tcg() && !under_vipervisor()) {
            skip(features[i].name, "this emulated CPU does not check it");
            continue;
        }
        try_cr4(cr4 | features[i].bit);
        bool good = trap_was(TRAP_GP) && read_cr4() == cr4;
        write_cr4(cr4);
        expect(features[i].name, good, "it is hidden, but can be set");
    }
}

// What a MOV sets is in force at once, whoever carried it out.
static void check_flushed(void) {
    static uint8_t pages[2][PAGE_SIZE] __attribute__((aligned(4096)));
    volatile uint8_t *byte = (volatile uint8_t *)PAGE_WINDOW;
    uint64_t cr4 = read_cr4();
    pages[0][0] = 1;
    pages[1][0] = 2;
    write_cr4(cr4 | CR4_PGE);
    page_set(PAGE_WINDOW, (uintptr_t)pages[0] | PTE_PRESENT | PTE_WRITE | PTE_GLOBAL);
    uint8_t first = *byte;
    *page_entry(PAGE_WINDOW) = (uintptr_t)pages[1] | PTE_PRESENT | PTE_WRITE | PTE_GLOBAL;
    write_cr4(cr4);
    uint8_t second = *byte;
    expect("clearing PGE drops global pages", first == 1 && second == 2, "%u, then %u", first, second);
}

static void check_forbidden(void) {
    uint64_t cr0 = read_cr0(), cr3 = read_cr3(), cr4 = read_cr4();
    bool tcg = cpu_is_tcg(), judged = !tcg || under_vipervisor(); // which does it itself
    try_cr0(cr0 | 1ull << 32);
    expect_trap("CR0 upper half", TRAP_GP, tcg);
    if (judged) { // a CPU that let these through would not come back
        try_cr4(cr4 | 1ull << 63);
        expect_trap("CR4 upper half", TRAP_GP, false);
        try_cr4(cr4 | 1ull << 30);
        expect_trap("CR4 reserved bit", TRAP_GP, false);
        try_cr3(cr3 | 1ull << 62);
        expect_trap("CR3 reserved bit", TRAP_GP, false);
        try_cr0((cr0 | CR0_NW) & ~(uint64_t)CR0_CD);
        expect_trap("CR0.NW without CD", TRAP_GP, false);
        try_cr0(cr0 & ~(uint64_t)CR0_PE);
        expect_trap("CR0.PG without PE", TRAP_GP, false);
    } else {
        skip("CR4 upper half", "this emulated CPU does not check it");
        skip("CR4 reserved bit", "this emulated CPU does not check it");
        skip("CR3 reserved bit", "this emulated CPU does not check it");
        skip("CR0.NW without CD", "this emulated CPU does not check it");
        skip("CR0.PG without PE", "this emulated CPU does not check it");
    }
    if (judged) {
        try_cr4(cr4 & ~(uint64_t)CR4_PAE);
        expect_trap("long mode without PAE", TRAP_GP, false);
    } else { // which goes on without page tables
        skip("long mode without PAE", "this emulated CPU does not check it");
    }
    if (!under_vipervisor()) {
        skip("CR4.VMXE is refused", "not under Vipervisor");
        return;
    }
    expect("CR4.VMXE is hidden", !(cr4 & CR4_VMXE), "%llx", (unsigned long long)cr4);
    try_cr4(cr4 | CR4_VMXE);
    expect_trap("CR4.VMXE is refused", TRAP_GP, false);
}

static void user_read(void) {
    read_cr0();
}

int guest_main(void) {
    check_wp();
    check_ts();
    check_cr3();
    check_cr4();
    check_cr8();
    check_operands();
    check_forbidden();
    check_hidden();
    check_flushed();
    trap_clear();
    user_run(user_read);
    expect_trap("CR0 at CPL 3", TRAP_GP, false);
    return check_end();
}
