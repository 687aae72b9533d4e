// INS and OUTS: both directions, any size, across pages, onto devices, into faults in the
// middle, at CPL 3, in single steps; A and D bits.
#include "check.h"
#include "guest.h"
#include "paging.h"
#include "segments.h"
#include "traps.h"

enum {
    PORT_ECHO = 0xE0,
    PF_PRESENT = 1, PF_WRITE = 2, PF_USER = 4,
    PTE_ACCESSED = 0x20, PTE_DIRTY = 0x40,
    RFLAGS_TF = 0x100, RFLAGS_IOPL_3 = 0x3000, RFLAGS_FIXED = 2,
};
#define DEVICE_MEMORY 0xFF000000ull
#define WINDOW PAGE_WINDOW
#define SECOND (WINDOW + PAGE_SIZE)
#define NOT_CANONICAL 0x8000000000000000ull
#define ECHO 0xA1B2C3D4u

static uint8_t pages[2][PAGE_SIZE] __attribute__((aligned(4096)));

struct io {
    uint64_t address, count;
};

#define RUN(name, before, insn, register) \
    static struct io name(uint64_t address, uint64_t count) { \
        __asm__ volatile (before GUARD(insn) "cld" : "+" register (address), "+c" (count) \
            : "d" (PORT_ECHO), "a" (0) : "memory", "cc"); \
        return (struct io) { address, count }; \
    }
RUN(insb_up, "", "rep insb", "D")
RUN(insw_up, "", "rep insw", "D")
RUN(insl_up, "", "rep insl", "D")
RUN(insl_down, "std\n", "rep insl", "D")
RUN(insl_one, "", "insl", "D")
RUN(insl_32, "", "addr32 rep insl", "D")
RUN(outsb_up, "", "rep outsb", "S")
RUN(outsw_up, "", "rep outsw", "S")
RUN(outsl_up, "", "rep outsl", "S")
RUN(outsl_down, "std\n", "rep outsl", "S")
RUN(outsl_one, "", "outsl", "S")
RUN(outsl_fs, "", "rep outsl %%fs:(%%rsi), %%dx", "S")

static void map(uint64_t first, uint64_t second) {
    page_set(WINDOW, first);
    page_set(SECOND, second);
}

static void map_ram(uint64_t second_bits) {
    map((uintptr_t)pages[0] | PTE_PRESENT_WRITE_USER, (uintptr_t)pages[1] | second_bits);
    memset(pages, 0x11, sizeof(pages));
}

static bool echoes(uint64_t address, unsigned count) {
    bool good = true;
    for (unsigned i = 0; i < count; i++) {
        good &= ((volatile uint32_t *)address)[i] == ECHO;
    }
    return good;
}

static void expect_io(const char *name, struct io io, uint64_t address, uint64_t count, bool good) {
    expect(name, io.address == address && io.count == count && good && !last_trap.taken,
        "address %llx, count %llx, data %s, vector %d", (unsigned long long)io.address,
        (unsigned long long)io.count, good ? "right" : "wrong", last_trap.taken ? (int)last_trap.vector : -1);
    trap_clear();
}

// The instruction first, then what it left behind.
#define EXPECT_IO(name, run, address, count, good) do { \
    struct io done = run; \
    expect_io(name, done, address, count, good); \
} while (0)

static void check_ins(void) {
    outl(PORT_ECHO, ECHO);
    map_ram(PTE_PRESENT_WRITE_USER);
    EXPECT_IO("REP INSL across pages", insl_up(SECOND - 8, 4), SECOND + 8, 0, echoes(SECOND - 8, 4));
    memset(pages, 0, sizeof(pages));
    EXPECT_IO("REP INSL, each element in two pages", insl_up(SECOND - 6, 3), SECOND + 6, 0, echoes(SECOND - 6, 3));
    memset(pages, 0, sizeof(pages));
    EXPECT_IO("REP INSL downwards", insl_down(SECOND + 2, 3), SECOND - 10, 0, echoes(SECOND - 6, 3));
    EXPECT_IO("INSL", insl_one(WINDOW + 1, 7), WINDOW + 5, 7, echoes(WINDOW + 1, 1));
    EXPECT_IO("REP INSB", insb_up(WINDOW, 3), WINDOW + 3, 0, pages[0][0] == 0xD4 && pages[0][2] == 0xD4);
    EXPECT_IO("REP INSW", insw_up(WINDOW, 2), WINDOW + 4, 0, pages[0][1] == 0xC3 && pages[0][3] == 0xC3);
    EXPECT_IO("REP INSL of nothing", insl_up(WINDOW, 0), WINDOW, 0, true);
    EXPECT_IO("REP INSL with 32-bit addresses", insl_32(WINDOW | 5ull << 32, 2 | 7ull << 32), WINDOW + 8, 0,
        echoes(WINDOW, 2));
    EXPECT_IO("REP INSL of 2000", insl_up((uint64_t)pages, 2000), (uint64_t)pages + 8000, 0,
        echoes((uint64_t)pages, 2000));
    map(DEVICE_MEMORY | PTE_PRESENT_WRITE_USER, (uintptr_t)pages[1] | PTE_PRESENT_WRITE_USER);
    memset(pages, 0, sizeof(pages));
    EXPECT_IO("REP INSL from device memory into RAM", insl_up(SECOND - 10, 5), SECOND + 10, 0,
        echoes(SECOND - 10, 5));
}

static void check_outs(void) {
    map_ram(PTE_PRESENT_WRITE_USER);
    uint32_t *data = (uint32_t *)(SECOND - 6);
    data[0] = 1;
    data[1] = 0x20304050;
    data[2] = 0x99887766;
    EXPECT_IO("REP OUTSL across pages", outsl_up(SECOND - 6, 2), SECOND + 2, 0, inl(PORT_ECHO) == data[1]);
    EXPECT_IO("REP OUTSL downwards", outsl_down(SECOND + 2, 2), SECOND - 6, 0, inl(PORT_ECHO) == data[1]);
    EXPECT_IO("OUTSL", outsl_one(SECOND + 2, 5), SECOND + 6, 5, inl(PORT_ECHO) == data[2]);
    EXPECT_IO("REP OUTSB", outsb_up(SECOND - 2, 2), SECOND, 0, inb(PORT_ECHO) == *(uint8_t *)(SECOND - 1));
    EXPECT_IO("REP OUTSW", outsw_up(SECOND, 1), SECOND + 2, 0, inw(PORT_ECHO) == *(uint16_t *)SECOND);
    wrmsr(0xC0000100, SECOND - 0x1000); // FS.base
    EXPECT_IO("REP OUTSL from FS", outsl_fs(0x1000 - 6, 2), 0x1000 + 2, 0, inl(PORT_ECHO) == data[1]);
    wrmsr(0xC0000100, 0);
    *(volatile uint64_t *)(DEVICE_MEMORY + 0xFF8) = 0x4433221100000000ull;
    map(DEVICE_MEMORY | PTE_PRESENT_WRITE_USER, (uintptr_t)pages[1] | PTE_PRESENT_WRITE_USER);
    EXPECT_IO("REP OUTSL from device memory", outsl_up(SECOND - 8, 2), SECOND, 0, inl(PORT_ECHO) == 0x44332211);
}

static void expect_fault(const char *name, struct io io, uint64_t address, uint64_t count, unsigned vector,
    uint64_t error, uint64_t cr2) {
    bool good = last_trap.taken && last_trap.vector == vector && last_trap.error == error
        && (vector != TRAP_PF || last_trap.address == cr2);
    expect(name, good && io.address == address && io.count == count,
        "vector %d error %llx CR2 %llx, address %llx, count %llx", last_trap.taken ? (int)last_trap.vector : -1,
        (unsigned long long)last_trap.error, (unsigned long long)last_trap.address, (unsigned long long)io.address,
        (unsigned long long)io.count);
    trap_clear();
}

static void check_faults(void) {
    outl(PORT_ECHO, ECHO);
    map_ram(0);
    struct io io = insl_up(SECOND - 8, 5);
    expect_fault("REP INSL into an absent page", io, SECOND, 3, TRAP_PF, PF_WRITE, SECOND);
    expect("what came before it is stored", echoes(SECOND - 8, 2), "it is not");
    io = insl_up(SECOND - 6, 5);
    expect_fault("an element half in an absent page", io, SECOND - 2, 4, TRAP_PF, PF_WRITE, SECOND);
    bool kept = pages[0][PAGE_SIZE - 1] == 0xA1 || pages[0][PAGE_SIZE - 1] == 0xC3;
    expect("that element's first half is not stored", !kept || pages[0][PAGE_SIZE - 2] != 0xD4, "%x",
        pages[0][PAGE_SIZE - 2]);
    io = outsl_up(SECOND - 4, 2);
    expect_fault("REP OUTSL from an absent page", io, SECOND, 1, TRAP_PF, 0, SECOND);
    map_ram(PTE_PRESENT | PTE_USER);
    write_cr0(read_cr0() | CR0_WP);
    io = insl_up(SECOND - 4, 3);
    expect_fault("REP INSL into a read-only page", io, SECOND, 2, TRAP_PF, PF_WRITE | PF_PRESENT, SECOND);
    write_cr0(read_cr0() & ~(uint64_t)CR0_WP);
    io = outsl_up(NOT_CANONICAL, 2);
    expect_fault("REP OUTSL from a non-canonical address", io, NOT_CANONICAL, 2, TRAP_GP, 0, 0);
}

static void check_accessed_dirty(void) {
    map_ram(PTE_PRESENT_WRITE_USER);
    outl(PORT_ECHO, ECHO);
    map((uintptr_t)pages[0] | PTE_PRESENT_WRITE_USER, (uintptr_t)pages[1] | PTE_PRESENT_WRITE_USER);
    insl_up(WINDOW, 1);
    outsl_up(SECOND, 1);
    uint64_t written = *page_entry(WINDOW), read = *page_entry(SECOND);
    expect("INS sets A and D", (written & (PTE_ACCESSED | PTE_DIRTY)) == (PTE_ACCESSED | PTE_DIRTY), "%llx",
        (unsigned long long)written);
    expect("OUTS sets A alone", (read & (PTE_ACCESSED | PTE_DIRTY)) == PTE_ACCESSED, "%llx", (unsigned long long)read);
}

// ---- CPL 3 ----

static volatile uint64_t user_address;
static volatile bool user_writes;

static void user_io(void) {
    uint64_t address = user_address, count = 2;
    if (user_writes) {
        __asm__ volatile ("rep insl" : "+D" (address), "+c" (count) : "d" (PORT_ECHO) : "memory");
    } else {
        __asm__ volatile ("rep outsl" : "+S" (address), "+c" (count) : "d" (PORT_ECHO) : "memory");
    }
    __asm__ volatile ("ud2");
}

static void check_user(const char *name, bool writes, uint64_t address, unsigned vector, uint64_t error) {
    user_address = address;
    user_writes = writes;
    trap_clear();
    user_run_with(user_io, RFLAGS_FIXED | RFLAGS_IOPL_3);
    expect(name, last_trap.taken && last_trap.vector == vector && last_trap.error == error
        && (vector != TRAP_PF || last_trap.address == address), "vector %u error %llx CR2 %llx", last_trap.vector,
        (unsigned long long)last_trap.error, (unsigned long long)last_trap.address);
    trap_clear();
}

static void check_users(void) {
    map((uintptr_t)pages[0] | PTE_PRESENT_WRITE_USER, (uintptr_t)pages[1] | PTE_PRESENT | PTE_WRITE);
    check_user("REP INSL at CPL 3", true, WINDOW, TRAP_UD, 0);
    check_user("REP OUTSL at CPL 3", false, WINDOW, TRAP_UD, 0);
    check_user("REP INSL at CPL 3 into the system's page", true, SECOND, TRAP_PF, PF_PRESENT | PF_WRITE | PF_USER);
    check_user("REP OUTSL at CPL 3 from the system's page", false, SECOND, TRAP_PF, PF_PRESENT | PF_USER);
}

// ---- Single steps ----

static volatile unsigned steps;
static volatile uint64_t step_rip[8];

static bool stepped(struct trap_frame *frame) {
    if (steps < 8) {
        step_rip[steps] = frame->rip;
    }
    steps++;
    return true;
}

__attribute__((noinline)) static void check_steps(void) {
    extern uint8_t step_rep[], step_rep_end[], step_load_end[], step_add_end[];
    uint64_t from = (uint64_t)pages, count = 3;
    uint32_t value = 0;
    trap_hook(TRAP_DB, stepped);
    steps = 0;
    __asm__ volatile ("pushf\n orq %[tf], (%%rsp)\n popf\n"
        ".globl step_rep, step_rep_end\n"
        "step_rep: rep outsb\n"
        "step_rep_end: pushf\n andq %[not_tf], (%%rsp)\n popf\n"
        : "+S" (from), "+c" (count) : "d" (PORT_ECHO), [tf] "i" (RFLAGS_TF), [not_tf] "i" (~RFLAGS_TF)
        : "memory", "cc");
    expect("single steps through REP OUTSB", steps >= 5 && step_rip[0] == (uintptr_t)step_rep
        && step_rip[1] == (uintptr_t)step_rep && step_rip[2] == (uintptr_t)step_rep_end && count == 0,
        "%u steps at %llx %llx %llx, REP is at %llx", steps, (unsigned long long)step_rip[0],
        (unsigned long long)step_rip[1], (unsigned long long)step_rip[2], (unsigned long long)(uintptr_t)step_rep);
    steps = 0;
    __asm__ volatile ("pushf\n orq %[tf], (%%rsp)\n popf\n"
        ".globl step_load_end, step_add_end\n"
        "movl 4(%[device]), %[value]\n"
        "step_load_end: addl %[value], 8(%[device])\n"
        "step_add_end: pushf\n andq %[not_tf], (%%rsp)\n popf\n"
        : [value] "+r" (value) : [device] "r" (DEVICE_MEMORY), [tf] "i" (RFLAGS_TF), [not_tf] "i" (~RFLAGS_TF)
        : "memory", "cc");
    expect("single steps over loads from a device", steps >= 4 && step_rip[0] == (uintptr_t)step_load_end
        && step_rip[1] == (uintptr_t)step_add_end, "%u steps at %llx %llx, the load ends at %llx", steps,
        (unsigned long long)step_rip[0], (unsigned long long)step_rip[1],
        (unsigned long long)(uintptr_t)step_load_end);
    trap_hook(TRAP_DB, NULL);
}

int guest_main(void) {
    outl(PORT_ECHO, ECHO);
    if (inl(PORT_ECHO) != ECHO) {
        skip("INS and OUTS", "no test device: start with --device testdev");
        return check_end();
    }
    check_ins();
    check_outs();
    check_faults();
    check_accessed_dirty();
    check_users();
    check_steps();
    check_segments();
    return check_end();
}
