// Debug registers: breakpoints of the guest's own hit in the guest, with the right
// DR6, and survive exits; single steps go on behind an instruction that exits.
#include "check.h"
#include "guest.h"
#include "traps.h"

enum {
    DR6_B0 = 1 << 0,
    DR6_B1 = 1 << 1,
    DR6_B2 = 1 << 2,
    DR6_BD = 1 << 13,
    DR6_BS = 1 << 14,
    DR7_L0 = 1 << 0,
    DR7_L1 = 1 << 2,
    DR7_L2 = 1 << 4,
    DR7_GD = 1 << 13,
    DR7_WRITE1_4BYTES = 0xD << 20,
    DR7_ACCESS1_4BYTES = 0xF << 20,
    RFLAGS_TF = 1 << 8,
    RFLAGS_RF = 1 << 16,
    STEPS = 16,
};
#define DR6_INIT 0xFFFF0FF0ull
#define DR7_INIT 0x400ull

static struct {
    unsigned hits;
    uint64_t dr6, rip[STEPS];
} debug;

static bool on_debug(struct trap_frame *frame) {
    if (debug.hits < STEPS) {
        debug.rip[debug.hits] = frame->rip;
    }
    debug.hits++;
    debug.dr6 = read_dr6();
    write_dr6(DR6_INIT);
    frame->rflags |= RFLAGS_RF; // an execution breakpoint is a fault: do not meet it again
    if (debug.hits >= STEPS) {
        frame->rflags &= ~(uint64_t)RFLAGS_TF;
        write_dr7(DR7_INIT);
    }
    return true;
}

static void reset(void) {
    write_dr7(DR7_INIT);
    write_dr6(DR6_INIT);
    memset(&debug, 0, sizeof(debug));
}

static void check_values(void) {
    write_dr0(0x1111);
    write_dr1(0xFFFF800000002222);
    write_dr2(0x3333);
    write_dr3(0x4444);
    bool good = read_dr0() == 0x1111 && read_dr1() == 0xFFFF800000002222 && read_dr2() == 0x3333 &&
        read_dr3() == 0x4444;
    expect("DR0 to DR3 read back", good, "%llx %llx %llx %llx", (unsigned long long)read_dr0(),
        (unsigned long long)read_dr1(), (unsigned long long)read_dr2(),
        (unsigned long long)read_dr3());
    write_dr7(DR7_INIT | 2);
    expect("DR7 reads back", read_dr7() == (DR7_INIT | 2), "%llx", (unsigned long long)read_dr7());
    reset();
}

__attribute__((noinline)) static void check_execute(unsigned exits_between) {
    extern uint8_t breakpoint[];
    reset();
    write_dr0((uintptr_t)breakpoint);
    write_dr7(DR7_INIT | DR7_L0);
    for (unsigned i = 0; i < exits_between; i++) {
        cpuid(0, 0);
    }
    unsigned steps = 0;
    __asm__ volatile ("inc %0\n .globl breakpoint\n breakpoint: inc %0" : "+r" (steps));
    write_dr7(DR7_INIT);
    bool good = debug.hits == 1 && debug.rip[0] == (uintptr_t)breakpoint &&
        (debug.dr6 & (DR6_B0 | DR6_BS)) == DR6_B0 && steps == 2;
    expect(exits_between ? "execution breakpoint after exits" : "execution breakpoint", good,
        "%u hits, DR6 %llx, RIP %llx", debug.hits, (unsigned long long)debug.dr6,
        (unsigned long long)debug.rip[0]);
}

// The breakpoint lies on an instruction that exits.
__attribute__((noinline)) static void check_on_cpuid(void) {
    extern uint8_t breakpoint_cpuid[];
    reset();
    write_dr0((uintptr_t)breakpoint_cpuid);
    write_dr7(DR7_INIT | DR7_L0);
    uint32_t eax = 0, ecx = 0;
    __asm__ volatile (".globl breakpoint_cpuid\n breakpoint_cpuid: cpuid"
        : "+a" (eax), "+c" (ecx) : : "ebx", "edx");
    write_dr7(DR7_INIT);
    expect("execution breakpoint on CPUID", debug.hits == 1 && eax == cpuid(0, 0).eax,
        "%u hits, DR6 %llx", debug.hits, (unsigned long long)debug.dr6);
}

static void check_write(void) {
    static volatile uint32_t watched;
    reset();
    write_dr1((uintptr_t)&watched);
    write_dr7(DR7_INIT | DR7_L1 | DR7_WRITE1_4BYTES);
    cpuid(0, 0);
    watched = 1;
    uint32_t seen = watched;
    write_dr7(DR7_INIT);
    bool good = debug.hits == 1 && (debug.dr6 & (DR6_B1 | DR6_B0)) == DR6_B1 && seen == 1;
    expect("write breakpoint", good, "%u hits, DR6 %llx", debug.hits, (unsigned long long)debug.dr6);
}

// A match sets its own bit and clears the other three; BS stays as software left it.
__attribute__((noinline)) static void check_status_bits(void) {
    extern uint8_t breakpoint_status[];
    static volatile uint32_t watched;
    reset();
    write_dr2((uintptr_t)breakpoint_status);
    write_dr7(DR7_INIT | DR7_L2);
    write_dr6(DR6_INIT | DR6_BS | DR6_B1);
    __asm__ volatile (".globl breakpoint_status\n breakpoint_status: nop");
    write_dr7(DR7_INIT);
    expect("DR6 of a breakpoint: B2 set, B1 cleared, BS kept",
        debug.hits == 1 && debug.dr6 == (DR6_INIT | DR6_BS | DR6_B2), "%u hits, DR6 %llx", debug.hits,
        (unsigned long long)debug.dr6);
    reset();
    write_dr1((uintptr_t)&watched);
    write_dr7(DR7_INIT | DR7_L1 | DR7_WRITE1_4BYTES);
    write_dr6(DR6_INIT | DR6_BS);
    watched = 1;
    write_dr7(DR7_INIT);
    expect("DR6 of a write: BS kept", debug.hits == 1 && debug.dr6 == (DR6_INIT | DR6_BS | DR6_B1),
        "%u hits, DR6 %llx", debug.hits, (unsigned long long)debug.dr6);
    reset();
    uint64_t cr4 = read_cr4(), alias;
    write_cr4(cr4 & ~(uint64_t)CR4_DE);
    write_dr6(DR6_INIT | DR6_BS | DR6_B1);
    __asm__ volatile ("mov %%db4, %0" : "=r" (alias) : : "memory");
    expect("DR4 is DR6 without CR4.DE", alias == (DR6_INIT | DR6_BS | DR6_B1), "%llx",
        (unsigned long long)alias);
    write_cr4(cr4);
    reset();
}

// The handler of an execution breakpoint returns with RF set, which ends with the
// instruction, whoever carried it out: the next one's breakpoint strikes, too.
__attribute__((noinline)) static void check_rows(void) {
    extern uint8_t row_1[], row_2[], row_3[];
    reset();
    write_dr0((uintptr_t)row_1);
    write_dr1((uintptr_t)row_2);
    write_dr2((uintptr_t)row_3);
    write_dr7(DR7_INIT | DR7_L0 | DR7_L1 | DR7_L2);
    uint32_t eax = 0, ecx = 0;
    __asm__ volatile (".globl row_1, row_2, row_3\n row_1: cpuid\n row_2: in $0x80, %%al\n row_3: nop"
        : "+a" (eax), "+c" (ecx) : : "ebx", "edx");
    write_dr7(DR7_INIT);
    bool good = debug.hits == 3 && debug.rip[0] == (uintptr_t)row_1 && debug.rip[1] == (uintptr_t)row_2 &&
        debug.rip[2] == (uintptr_t)row_3;
    expect("breakpoints on CPUID, IN and what follows", good, "%u hits", debug.hits);
}

// What MOV SS holds up and INT1 raises come together.
__attribute__((noinline)) static void check_mov_ss(void) {
    extern uint8_t shadow_over[];
    static volatile uint16_t selector;
    if (cpu_is_tcg()) {
        skip("breakpoints in the shadow of MOV SS, INT1", "this emulated CPU has neither");
        return;
    }
    reset();
    __asm__ volatile ("mov %%ss, %0" : "=m" (selector));
    write_dr1((uintptr_t)&selector);
    write_dr7(DR7_INIT | DR7_L1 | DR7_ACCESS1_4BYTES);
    __asm__ volatile ("mov %0, %%ss\n .byte 0x2E, 0x2E, 0xF1" : : "m" (selector) : "memory");
    write_dr7(DR7_INIT);
    expect("a breakpoint in the shadow of MOV SS, with INT1", debug.hits == 1, "%u hits, DR6 %llx", debug.hits,
        (unsigned long long)debug.dr6);
    reset();
    write_dr1((uintptr_t)&selector);
    write_dr7(DR7_INIT | DR7_L1 | DR7_ACCESS1_4BYTES);
    uint32_t eax = 0, ecx = 0;
    __asm__ volatile ("mov %2, %%ss\n cpuid\n .globl shadow_over\n shadow_over: nop\n nop"
        : "+a" (eax), "+c" (ecx) : "m" (selector) : "ebx", "edx", "memory");
    write_dr7(DR7_INIT);
    expect("a breakpoint in the shadow of MOV SS, with CPUID", debug.hits == 1 &&
        debug.rip[0] == (uintptr_t)shadow_over && debug.dr6 == (DR6_INIT | DR6_B1), "%u hits, RIP %llx, DR6 %llx",
        debug.hits, (unsigned long long)debug.rip[0], (unsigned long long)debug.dr6);
    reset();
}

// INT1 raises #DB behind itself, whatever prefixes it has, with nothing new in DR6; of a step
// that ends with it nothing is heard.
__attribute__((noinline)) static void check_int1(void) {
    extern uint8_t int1_plain[], int1_prefixed[], int1_stepped[];
    if (cpu_is_tcg()) {
        skip("INT1", "this emulated CPU has none");
        return;
    }
    reset();
    __asm__ volatile (".byte 0xF1\n .globl int1_plain\n int1_plain:" : : : "memory");
    expect("INT1", debug.hits == 1 && debug.rip[0] == (uintptr_t)int1_plain && debug.dr6 == DR6_INIT,
        "%u hits, DR6 %llx", debug.hits, (unsigned long long)debug.dr6);
    reset();
    __asm__ volatile (".byte 0x2E, 0x66, 0xF1\n .globl int1_prefixed\n int1_prefixed:" : : : "memory");
    expect("INT1 with prefixes", debug.hits == 1 && debug.rip[0] == (uintptr_t)int1_prefixed,
        "%u hits, RIP %llx", debug.hits, (unsigned long long)debug.rip[0]);
    reset();
    __asm__ volatile ("pushfq; orl $0x100, (%%rsp); popfq\n"
        " .byte 0xF1\n"
        " .globl int1_stepped\n"
        "int1_stepped: pushfq; andl $0xFFFFFEFF, (%%rsp); popfq" : : : "memory", "cc");
    expect("INT1 in single steps", debug.hits == 4 && debug.rip[0] == (uintptr_t)int1_stepped &&
        debug.rip[1] == (uintptr_t)int1_stepped + 1 && (debug.dr6 & DR6_BS), "%u hits, the first at %llx",
        debug.hits, (unsigned long long)debug.rip[0]);
    reset();
}

static void user_int1(void) {
    __asm__ volatile (".byte 0xF1\n ud2");
}

// The trap after each stepped instruction has the next one's address.
__attribute__((noinline)) static void check_step(void) {
    extern uint8_t step_1[], step_2[];
    reset();
    uint32_t eax = 0, ecx = 0;
    __asm__ volatile ("pushfq; orl $0x100, (%%rsp); popfq\n"
        " nop\n"
        " .globl step_1, step_2\n"
        "step_1: cpuid\n"
        "step_2: nop\n"
        "pushfq; andl $0xFFFFFEFF, (%%rsp)\n"
        "popfq\n"
        " nop" : "+a" (eax), "+c" (ecx) : : "ebx", "edx", "memory", "cc");
    expect("single step", debug.hits >= 3 && debug.rip[0] == (uintptr_t)step_1 &&
        (debug.dr6 & DR6_BS), "%u steps, first at %llx, DR6 %llx", debug.hits,
        (unsigned long long)debug.rip[0], (unsigned long long)debug.dr6);
    expect("single step over CPUID", debug.hits >= 3 && debug.rip[1] == (uintptr_t)step_2,
        "%u steps, second at %llx, CPUID ends at %llx", debug.hits,
        (unsigned long long)debug.rip[1], (unsigned long long)(uintptr_t)step_2);
}

// Delivery of a #DB clears DR7.GD, or its handler could not look at DR6.
__attribute__((noinline)) static void check_detect(void) {
    if (cpu_is_tcg() && !under_vipervisor()) {
        skip("DR7.GD", "this emulated CPU does not look at it");
        return;
    }
    reset();
    write_dr7(DR7_INIT | DR7_GD);
    __asm__ volatile ("pushfq; orl $0x100, (%%rsp); popfq\n"
        " nop\n"
        " pushfq; andl $0xFFFFFEFF, (%%rsp); popfq" : : : "memory", "cc");
    expect("a step clears DR7.GD", debug.hits == 4 && (debug.dr6 & (DR6_BS | DR6_BD)) == DR6_BS &&
        read_dr7() == DR7_INIT, "%u hits, DR6 %llx", debug.hits, (unsigned long long)debug.dr6);
    reset();
    write_dr7(DR7_INIT | DR7_GD);
    uint32_t eax = 0, ecx = 0;
    __asm__ volatile ("pushfq; orl $0x100, (%%rsp); popfq\n"
        " cpuid\n"
        " pushfq; andl $0xFFFFFEFF, (%%rsp); popfq" : "+a" (eax), "+c" (ecx) : : "ebx", "edx", "memory", "cc");
    expect("a step over CPUID clears DR7.GD", debug.hits == 4 && (debug.dr6 & (DR6_BS | DR6_BD)) == DR6_BS &&
        read_dr7() == DR7_INIT, "%u hits, DR6 %llx", debug.hits, (unsigned long long)debug.dr6);
    reset();
    write_dr7(DR7_INIT | DR7_GD);
    uint64_t value;
    __asm__ volatile ("mov %%db6, %0" : "=r" (value) : : "memory");
    expect("DR7.GD guards DR6", debug.hits == 1 && (debug.dr6 & (DR6_BS | DR6_BD)) == DR6_BD &&
        read_dr7() == DR7_INIT, "%u hits, DR6 %llx", debug.hits, (unsigned long long)debug.dr6);
    reset();
}

static void check_faults(void) {
    reset();
    uint64_t cr4 = read_cr4();
    write_cr4(cr4 | CR4_DE);
    trap_clear();
    uint64_t value = 0;
    __asm__ volatile (GUARD("mov %%db4, %0") : "+r" (value) : : "memory");
    expect_trap("DR4 with CR4.DE", TRAP_UD, cpu_is_tcg());
    write_cr4(cr4);
    trap_clear();
    __asm__ volatile (GUARD("mov %0, %%db7") : : "r" (1ull << 32) : "memory");
    expect_trap("DR7 upper half", TRAP_GP, cpu_is_tcg());
    reset();
}

static void user_read(void) {
    read_dr7();
}

int guest_main(void) {
    trap_hook(TRAP_DB, on_debug);
    check_values();
    check_execute(0);
    check_execute(100);
    check_on_cpuid();
    check_write();
    check_status_bits();
    check_rows();
    check_mov_ss();
    check_int1();
    check_step();
    check_detect();
    check_faults();
    trap_clear();
    user_run(user_read);
    expect_trap("DR7 at CPL 3", TRAP_GP, false);
    if (!cpu_is_tcg()) {
        reset();
        user_run(user_int1);
        expect("INT1 at CPL 3", debug.hits == 1 && trap_was(TRAP_UD), "%u hits, vector %u", debug.hits,
            last_trap.vector);
    }
    return check_end();
}
