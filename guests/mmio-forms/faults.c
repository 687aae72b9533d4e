#include "faults.h"
#include "check.h"
#include "guest.h"
#include "traps.h"
#include "window.h"

enum {
    CR0_EM_TS = CR0_EM | CR0_TS,
    FCW_UNMASKED = 0,
    SEL_BEYOND = 0x7F8,
    SEL_ABSENT = SEL_USER_DATA & ~3,
    TSS_BUSY_BIT = 41,
    PRESENT_BIT = 47,
};
#define NOT_CANONICAL 0x1111111111111111ull

#define BYTES ((volatile uint8_t *)DEVICE_MEMORY)
static volatile uint16_t *const word = (volatile uint16_t *)DEVICE_MEMORY;
static volatile uint64_t *const quad = (volatile uint64_t *)DEVICE_MEMORY;

extern uint64_t boot_gdt[];

static void expect_fault(const char *name, unsigned vector, uint64_t error) {
    bool good = trap_was(vector) && last_trap.error == error;
    expect(name, good, "%s %u, error %llx; %u, error %llx was due", last_trap.taken ? "vector" : "no exception, last",
        last_trap.vector, (unsigned long long)last_trap.error, vector, (unsigned long long)error);
}

static void check_divide(void) {
    uint64_t rax = 1, rdx = 2;
    *quad = 0;
    trap_clear();
    __asm__ volatile (GUARD("divq (%2)") : "+a" (rax), "+d" (rdx) : "r" (BYTES) : "cc");
    expect_fault("DIV by zero", TRAP_DE, 0);
    expect("DIV by zero keeps its registers", rax == 1 && rdx == 2, "%llx %llx", (unsigned long long)rax,
        (unsigned long long)rdx);
    *quad = 2;
    trap_clear();
    __asm__ volatile (GUARD("divq (%2)") : "+a" (rax), "+d" (rdx) : "r" (BYTES) : "cc");
    expect_fault("DIV whose quotient is too large", TRAP_DE, 0);
    rax = 1ull << 63;
    rdx = ~0ull;
    *quad = ~0ull;
    trap_clear();
    __asm__ volatile (GUARD("idivq (%2)") : "+a" (rax), "+d" (rdx) : "r" (BYTES) : "cc");
    expect_fault("IDIV of the least number by -1", TRAP_DE, 0);
    rax = 1ull << 63;
    rdx = ~0ull;
    *quad = 1;
    trap_clear();
    __asm__ volatile (GUARD("idivq (%2)") : "+a" (rax), "+d" (rdx) : "r" (BYTES) : "cc");
    expect("IDIV of the least number by 1", !last_trap.taken && rax == 1ull << 63 && rdx == 0, "%llx %llx",
        (unsigned long long)rax, (unsigned long long)rdx);
}

// An x87 exception that waits goes first; the device is not touched.
static void check_mmx(void) {
    uint16_t control = FCW_UNMASKED, initial = 0x37F;
    write_cr0((read_cr0() & ~(uint64_t)CR0_EM_TS) | CR0_NE);
    *quad = 7;
    trap_clear();
    __asm__ volatile ("fninit; fldcw %0; fldz; fldz; fdivp" : : "m" (control));
    __asm__ volatile (GUARD("movq %%mm0, (%0)") : : "r" (BYTES) : "memory");
    __asm__ volatile ("fnclex; emms; fldcw %0" : : "m" (initial));
    expect_fault("MOVQ of MMX while an x87 exception waits", TRAP_MF, 0);
    expect("MOVQ that faults writes nothing", *quad == 7, "%llx", (unsigned long long)*quad);
}

static void check_jumps(void) {
    *quad = NOT_CANONICAL;
    trap_clear();
    __asm__ volatile (GUARD("jmp *(%0)") : : "r" (BYTES) : "memory");
    expect_fault("JMP to a non-canonical address", TRAP_GP, 0);
    quad[0] = 0;
    word[2] = SEL_BEYOND;
    trap_clear();
    __asm__ volatile (GUARD("ljmp *(%0)") : : "r" (BYTES) : "memory");
    expect_fault("far JMP to a selector beyond the GDT", TRAP_GP, SEL_BEYOND);
    word[2] = SEL_DATA;
    trap_clear();
    __asm__ volatile (GUARD("ljmp *(%0)") : : "r" (BYTES) : "memory");
    expect_fault("far JMP to a data segment", TRAP_GP, SEL_DATA);
    word[2] = 0;
    trap_clear();
    __asm__ volatile (GUARD("ljmp *(%0)") : : "r" (BYTES) : "memory");
    expect_fault("far JMP to a null selector", TRAP_GP, 0);
}

static void check_segments(void) {
    uint16_t ss, now;
    __asm__ volatile ("mov %%ss, %0" : "=r" (ss));
    *word = 3;
    trap_clear();
    __asm__ volatile (GUARD("mov (%1), %%ss") "mov %%ss, %0" : "=r" (now) : "r" (BYTES) : "memory");
    expect_fault("MOV SS of a null selector with another RPL", TRAP_GP, 0);
    expect("MOV SS that faults changes nothing", now == ss, "%x", now);
    *word = SEL_CODE64;
    trap_clear();
    __asm__ volatile (GUARD("mov (%0), %%ss") : : "r" (BYTES) : "memory");
    expect_fault("MOV SS of a code segment", TRAP_GP, SEL_CODE64);
    *word = SEL_BEYOND;
    trap_clear();
    __asm__ volatile (GUARD("mov (%0), %%fs") : : "r" (BYTES) : "memory");
    expect_fault("MOV FS of a selector beyond the GDT", TRAP_GP, SEL_BEYOND);
    uint64_t data = boot_gdt[SEL_USER_DATA / 8];
    boot_gdt[SEL_USER_DATA / 8] = boot_gdt[SEL_DATA / 8] & ~(1ull << PRESENT_BIT);
    *word = SEL_ABSENT;
    trap_clear();
    __asm__ volatile (GUARD("mov (%0), %%fs") : : "r" (BYTES) : "memory");
    expect_fault("MOV FS of a segment that is not present", TRAP_NP, SEL_ABSENT);
    trap_clear();
    __asm__ volatile (GUARD("mov (%0), %%ss") : : "r" (BYTES) : "memory");
    boot_gdt[SEL_USER_DATA / 8] = data;
    expect_fault("MOV SS of a segment that is not present", TRAP_SS, SEL_ABSENT);
}

static void check_task_register(void) {
    volatile uint64_t *descriptor = &boot_gdt[SEL_TSS / 8];
    uint16_t tr;
    *word = SEL_TSS;
    trap_clear();
    __asm__ volatile (GUARD("ltr (%0)") : : "r" (BYTES) : "memory");
    expect_fault("LTR of a busy TSS", TRAP_GP, SEL_TSS);
    *descriptor &= ~(1ull << TSS_BUSY_BIT);
    trap_clear();
    __asm__ volatile (GUARD("ltr (%1)") "str %0" : "=r" (tr) : "r" (BYTES) : "memory");
    bool busy = (*descriptor >> TSS_BUSY_BIT & 1) != 0;
    expect("LTR", !last_trap.taken && tr == SEL_TSS && busy, "TR %x, vector %u, busy %u", tr, last_trap.vector, busy);
    *word = 0;
    trap_clear();
    __asm__ volatile (GUARD("ltr (%0)") : : "r" (BYTES) : "memory");
    expect_fault("LTR of a null selector", TRAP_GP, 0);
}

void check_faults(void) {
    if (cpu_is_tcg() && !under_vipervisor()) {
        skip("instructions that fault", "this emulated CPU jumps anywhere");
        return;
    }
    check_divide();
    check_mmx();
    check_jumps();
    check_segments();
    check_task_register();
}
