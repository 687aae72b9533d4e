// The same RIP, another instruction: after the code changed, after the page table
// changed, after CR3 changed. An instruction length remembered by address alone is
// wrong here.
#include "check.h"
#include "guest.h"
#include "paging.h"
#include "traps.h"

enum { ROUNDS = 8, OFFSET = 0x40, INT3 = 0xCC };

// Each sets EAX to a leaf or an MSR's low half and returns; lengths 2, 3, 4 and 2.
struct code {
    const char *name;
    uint8_t length, bytes[8];
};
static const struct code codes[] = {
    {"CPUID", 3, {0x0F, 0xA2, 0xC3}},
    {"66 CPUID", 4, {0x66, 0x0F, 0xA2, 0xC3}},
    {"66 REX CPUID", 5, {0x66, 0x48, 0x0F, 0xA2, 0xC3}},
    {"RDMSR", 3, {0x0F, 0x32, 0xC3}},
};
enum { CODES = sizeof(codes) / sizeof(codes[0]), CODE_RDMSR = 3 };

static uint8_t pages[CODES][PAGE_SIZE] __attribute__((aligned(4096)));
static uint64_t second_pml4[512] __attribute__((aligned(4096)));
static uint64_t second_pdpt[512] __attribute__((aligned(4096)));
static uint64_t second_pd[512] __attribute__((aligned(4096)));
static uint64_t second_pt[512] __attribute__((aligned(4096)));

static void put(uint8_t *at, const struct code *code) {
    for (unsigned i = 0; i < sizeof(code->bytes); i++) {
        at[i] = i < code->length ? code->bytes[i] : INT3;
    }
}

// Runs what lies at `at` with ECX = EFER; true when it answered as it should.
static bool answers(const void *at, unsigned code) {
    uint32_t eax = 0, ebx = 0, ecx = MSR_EFER, edx = 0;
    // A serialising instruction between the change and its execution (AMD APM vol. 2,
    // section 7.6.1).
    write_cr2(0);
    __asm__ volatile ("call *%4" : "+a" (eax), "+b" (ebx), "+c" (ecx), "+d" (edx)
        : "r" (at) : "memory");
    if (code == CODE_RDMSR) {
        return eax & EFER_LMA;
    }
    struct cpuid right = cpuid(0, 0);
    return eax == right.eax && ebx == right.ebx;
}

static void check_code_changes(void) {
    bool good = true;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned c = 0; c < CODES; c++) {
            put(pages[0] + OFFSET, &codes[c]);
            good &= answers(pages[0] + OFFSET, c);
            good &= answers(pages[0] + OFFSET, c);
        }
    }
    expect("code changes in place", good, "a wrong answer");
}

static void check_table_changes(void) {
    for (unsigned c = 0; c < CODES; c++) {
        put(pages[c] + OFFSET, &codes[c]);
    }
    bool good = true;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned c = 0; c < CODES; c++) {
            page_set(PAGE_WINDOW, (uintptr_t)pages[c] | PTE_PRESENT_WRITE_USER);
            good &= answers((void *)(uintptr_t)(PAGE_WINDOW + OFFSET), c);
            good &= answers((void *)(uintptr_t)(PAGE_WINDOW + OFFSET), c);
        }
    }
    expect("page-table entry changes", good, "a wrong answer");
}

// Two address spaces that differ in one page.
static void check_space_changes(void) {
    extern uint64_t boot_pml4[512], boot_pdpt[512];
    enum { WINDOW_PDPT = PAGE_WINDOW >> 30 };
    memcpy(second_pml4, boot_pml4, sizeof(second_pml4));
    memcpy(second_pdpt, boot_pdpt, sizeof(second_pdpt));
    second_pml4[0] = (uintptr_t)second_pdpt | PTE_PRESENT_WRITE_USER;
    second_pdpt[WINDOW_PDPT] = (uintptr_t)second_pd | PTE_PRESENT_WRITE_USER;
    second_pd[0] = (uintptr_t)second_pt | PTE_PRESENT_WRITE_USER;
    second_pt[0] = (uintptr_t)pages[1] | PTE_PRESENT_WRITE_USER;
    page_set(PAGE_WINDOW, (uintptr_t)pages[0] | PTE_PRESENT_WRITE_USER);
    uint64_t first = read_cr3();
    bool good = true;
    for (unsigned round = 0; round < ROUNDS; round++) {
        write_cr3(first);
        good &= answers((void *)(uintptr_t)(PAGE_WINDOW + OFFSET), 0);
        write_cr3((uintptr_t)second_pml4);
        good &= answers((void *)(uintptr_t)(PAGE_WINDOW + OFFSET), 1);
    }
    expect("CR3 changes", good, "a wrong answer");
    // The table that was walked changes, not the CR3 and not the code.
    write_cr3((uintptr_t)second_pml4);
    for (unsigned round = 0; round < ROUNDS; round++) {
        second_pt[0] = (uintptr_t)pages[round % CODES] | PTE_PRESENT_WRITE_USER;
        invlpg((void *)(uintptr_t)PAGE_WINDOW);
        good &= answers((void *)(uintptr_t)(PAGE_WINDOW + OFFSET), round % CODES);
    }
    write_cr3(first);
    expect("the other space's table changes", good, "a wrong answer");
}

int guest_main(void) {
    check_code_changes();
    check_table_changes();
    check_space_changes();
    return check_end();
}
