// Exceptions reach the guest's own handlers with the error code, CR2 and RIP of a bare
// machine, also when exits lie between.
#include "check.h"
#include "guest.h"
#include "paging.h"
#include "traps.h"

// Page-fault error code, Intel SDM vol. 3, section 4.7.
enum { PF_P = 1, PF_W = 2, PF_U = 4 };
enum { NOT_CANONICAL_HIGH = 0x8000, SELECTOR_BEYOND = 0x100, BEYOND_IDT = 150, IDT_BIT = 2 };

static void due(const char *name, unsigned vector, uint64_t error) {
    if (last_trap.taken && last_trap.vector == vector) {
        expect(name, last_trap.error == error, "error %llx, %llx was due",
            (unsigned long long)last_trap.error, (unsigned long long)error);
    } else {
        expect_trap(name, vector, false);
    }
}

static void check_faults(void) {
    trap_clear();
    __asm__ volatile (GUARD("ud2"));
    due("#UD by UD2", TRAP_UD, 0);
    trap_clear();
    __asm__ volatile (GUARD("divl %0") : : "r" (0), "a" (1), "d" (0));
    due("#DE by division", TRAP_DE, 0);
    trap_clear();
    __asm__ volatile (GUARD("mov (%0), %%al") : : "r" (1ull << 63 | NOT_CANONICAL_HIGH) : "rax");
    due("#GP by a non-canonical address", TRAP_GP, 0);
    trap_clear();
    __asm__ volatile (GUARD("mov %0, %%fs") : : "r" (SELECTOR_BEYOND));
    due("#GP by a selector beyond the GDT", TRAP_GP, SELECTOR_BEYOND);
    trap_clear();
    // RBP addresses the stack segment; RSP itself must stay good to take the trap.
    __asm__ volatile ("push %%rbp\n mov %0, %%rbp\n" GUARD("mov (%%rbp), %%al") "pop %%rbp"
        : : "r" (1ull << 62) : "rax", "memory");
    if (cpu_is_tcg() && last_trap.vector == TRAP_GP) {
        skip("#SS by a non-canonical stack address", "this emulated CPU raises #GP");
    } else {
        due("#SS by a non-canonical stack address", TRAP_SS, 0);
    }
    // The IDT ends before the vector for this one.
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } idt, whole;
    __asm__ volatile ("sidt %0" : "=m" (whole));
    idt = whole;
    idt.limit = BEYOND_IDT * 16 - 1;
    __asm__ volatile ("lidt %0" : : "m" (idt));
    trap_clear();
    __asm__ volatile (GUARD("int %0") : : "i" (BEYOND_IDT));
    __asm__ volatile ("lidt %0" : : "m" (whole));
    // TCG shifts by one too many in long mode; the vector is what an exit could spoil.
    bool shifted = cpu_is_tcg() && last_trap.error == BEYOND_IDT * 16 + IDT_BIT;
    due("#GP by INT beyond the IDT", TRAP_GP, shifted ? last_trap.error : BEYOND_IDT * 8 + IDT_BIT);
    // BP and INT n are traps: they return behind themselves.
    uint32_t steps = 0;
    trap_clear();
    __asm__ volatile ("cpuid\n" GUARD("ud2") "inc %0" : "+S" (steps) : : "eax", "ebx", "ecx", "edx");
    expect("#UD right behind an exit", trap_was(TRAP_UD) && steps == 1, "%u steps", steps);
}

// The flags that a fault pushes have RF set, so that a breakpoint on its instruction does not
// strike twice.
static void check_resume_flag(void) {
    enum { RFLAGS_RF = 1 << 16, NO_MSR = 0x1234567 };
    if (cpu_is_tcg() && !under_vipervisor()) {
        skip("a fault of RDMSR pushes RF", "this emulated CPU never does");
        skip("a fault of MOV CR4 pushes RF", "this emulated CPU never does");
        return;
    }
    trap_clear();
    __asm__ volatile (GUARD("rdmsr") : : "c" (NO_MSR) : "rax", "rdx", "memory");
    if (last_trap.taken || under_vipervisor()) {
        expect("a fault of RDMSR pushes RF", trap_was(TRAP_GP) && (last_trap.flags & RFLAGS_RF), "flags %llx",
            (unsigned long long)last_trap.flags);
    } else {
        skip("a fault of RDMSR pushes RF", "this CPU has every MSR");
    }
    trap_clear();
    __asm__ volatile (GUARD("mov %0, %%cr4") : : "r" (1ull << 63) : "memory");
    expect("a fault of MOV CR4 pushes RF", trap_was(TRAP_GP) && (last_trap.flags & RFLAGS_RF), "flags %llx",
        (unsigned long long)last_trap.flags);
    uint64_t flags;
    __asm__ volatile ("pushfq\n pop %0" : "=r" (flags));
    expect("RF is gone behind it", !(flags & RFLAGS_RF), "flags %llx", (unsigned long long)flags);
}

static unsigned breakpoints;
static bool on_breakpoint(struct trap_frame *frame) {
    (void)frame;
    breakpoints++;
    return true;
}

static void check_page_faults(void) {
    static uint8_t page[PAGE_SIZE] __attribute__((aligned(4096)));
    uint8_t *at = (uint8_t *)PAGE_WINDOW + 0x123;
    page_set(PAGE_WINDOW, 0);
    trap_clear();
    __asm__ volatile (GUARD("mov (%0), %%al") : : "r" (at) : "rax", "memory");
    due("#PF by a read of nothing", TRAP_PF, 0);
    expect("its CR2", last_trap.address == (uintptr_t)at, "%llx",
        (unsigned long long)last_trap.address);
    trap_clear();
    __asm__ volatile (GUARD("movb $1, (%0)") : : "r" (at) : "memory");
    due("#PF by a write to nothing", TRAP_PF, PF_W);
    page_set(PAGE_WINDOW, (uintptr_t)page | PTE_PRESENT);
    trap_clear();
    __asm__ volatile (GUARD("movb $1, (%0)") : : "r" (at) : "memory");
    due("#PF by a write to a read-only page", TRAP_PF, PF_P | PF_W);
    trap_clear();
    uint64_t saved = *page_entry(0x200000);
    page_set(0x200000, 0);
    __asm__ volatile (GUARD("mov 0x200000, %%al") : : : "rax", "memory");
    due("#PF by a page taken away", TRAP_PF, 0);
    page_set(0x200000, saved);
    trap_clear();
    uint8_t value = *(volatile uint8_t *)0x200000;
    expect("the page is back", !last_trap.taken, "vector %u, value %u", last_trap.vector, value);
}

static void user_read(void) {
    *(volatile uint8_t *)PAGE_WINDOW;
}

static void user_cli(void) {
    interrupts_off();
}

static void user_ud(void) {
    __asm__ volatile ("ud2");
}

static void check_user(void) {
    trap_clear();
    user_run(user_read);
    due("#PF at CPL 3", TRAP_PF, PF_P | PF_U);
    expect("it came from CPL 3", (last_trap.cs & 3) == 3, "CS %llx",
        (unsigned long long)last_trap.cs);
    trap_clear();
    user_run(user_cli);
    due("#GP by CLI at CPL 3", TRAP_GP, 0);
    trap_clear();
    user_run(user_ud);
    due("#UD at CPL 3", TRAP_UD, 0);
}

int guest_main(void) {
    check_faults();
    check_resume_flag();
    trap_hook(TRAP_BP, on_breakpoint);
    __asm__ volatile ("int3; cpuid; int3" : : : "eax", "ebx", "ecx", "edx");
    expect("#BP twice, an exit between", breakpoints == 2, "%u", breakpoints);
    check_page_faults();
    check_user();
    return check_end();
}
