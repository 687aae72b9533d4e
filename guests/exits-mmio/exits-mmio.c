// Memory that nobody claims reads all ones and drops writes, whatever form of MOV
// asks, from any register, and across a page whose neighbour is RAM.
#include "check.h"
#include "guest.h"
#include "paging.h"
#include "traps.h"

// Between RAM and the local APIC, where no device of this platform lies.
#define NOBODY 0xFE000000ull
#define PATTERN 0x1122334455667788ull

#define LOAD(name, insn, register, due) do { \
    uint64_t value; \
    uint32_t steps = 0; \
    __asm__ volatile ("mov %3, %%" register "\n" insn "\n incl %1\n mov %%" register ", %0" \
        : "=m" (value), "+m" (steps) : "D" (NOBODY), "m" (pattern) : register, "memory"); \
    expect(name, value == (due) && steps == 1, "%llx, %llx was due", (unsigned long long)value, \
        (unsigned long long)(due)); \
} while (0)

static void check_loads(void) {
    uint64_t pattern = PATTERN;
    LOAD("MOV r8", "movb (%2), %%al", "rax", PATTERN | 0xFF);
    LOAD("MOV AH", "movb (%2), %%ah", "rax", PATTERN | 0xFF00);
    LOAD("MOV SIL", "movb (%2), %%sil", "rsi", PATTERN | 0xFF);
    LOAD("MOV r16", "movw (%2), %%cx", "rcx", PATTERN | 0xFFFF);
    LOAD("MOV r32", "movl (%2), %%edx", "rdx", 0xFFFFFFFFull);
    LOAD("MOV r64", "movq (%2), %%rbx", "rbx", ~0ull);
    LOAD("MOV R8D", "movl (%2), %%r8d", "r8", 0xFFFFFFFFull);
    LOAD("MOV R15", "movq (%2), %%r15", "r15", ~0ull);
    LOAD("MOVZX r32, m8", "movzbl (%2), %%eax", "rax", 0xFFull);
    LOAD("MOVZX r64, m16", "movzwq (%2), %%r9", "r9", 0xFFFFull);
    LOAD("MOVSX r32, m8", "movsbl (%2), %%eax", "rax", 0xFFFFFFFFull);
    LOAD("MOVSX r64, m16", "movswq (%2), %%r10", "r10", ~0ull);
    LOAD("MOVSXD r64, m32", "movslq (%2), %%r11", "r11", ~0ull);
    LOAD("displacement", "movl 0x123(%2), %%eax", "rax", 0xFFFFFFFFull);
    LOAD("moffs", "movabs 0xFE000010, %%eax", "rax", 0xFFFFFFFFull);
    LOAD("32-bit address", "movl (%%edi), %%eax", "rax", 0xFFFFFFFFull);
    LOAD("REX and 66", ".byte 0x66, 0x44, 0x8B, 0x07", "r8", PATTERN | 0xFFFF);
}

static void check_stores(void) {
    volatile uint8_t *at = (volatile uint8_t *)NOBODY;
    uint32_t steps = 0;
    __asm__ volatile ("movb $1, (%1); inc %0\n movw $2, 2(%1); inc %0\n movl $3, 4(%1); inc %0\n"
        " movq $4, 8(%1); inc %0\n movb %%ah, (%1); inc %0\n movl %%r8d, (%1); inc %0\n"
        " mov %%r15, (%1); inc %0\n movabs %%eax, 0xFE000020; inc %0"
        : "+S" (steps) : "D" (at) : "memory");
    expect("eight forms of store", steps == 8, "%u", steps);
    uint64_t got = *(volatile uint64_t *)at;
    expect("stores are dropped", got == ~0ull, "%llx", (unsigned long long)got);
}

// A linear page of RAM whose translation becomes the hole's and back: no answer may
// be an old one.
static void check_remap(void) {
    static uint64_t page[512] __attribute__((aligned(4096)));
    volatile uint64_t *at = (volatile uint64_t *)PAGE_WINDOW;
    bool good = true;
    for (unsigned i = 0; i < 4; i++) {
        page[0] = i;
        page_set(PAGE_WINDOW, (uintptr_t)page | PTE_PRESENT_WRITE_USER);
        good &= *at == i;
        page_set(PAGE_WINDOW, NOBODY | PTE_PRESENT_WRITE_USER);
        good &= *at == ~0ull;
        *at = 99;
        good &= page[0] == i;
    }
    expect("a page moved to the hole and back", good, "an old translation was used");
}

int guest_main(void) {
    if (!under_vipervisor()) {
        skip("unclaimed memory", "QEMU answers unclaimed memory with 0");
        return check_end();
    }
    check_loads();
    check_stores();
    check_remap();
    uint64_t far = *(volatile uint32_t *)(NOBODY + 0x1FFFFC);
    expect("the hole's last word", far == 0xFFFFFFFF, "%llx", (unsigned long long)far);
    return check_end();
}
