#include "segments.h"
#include "check.h"
#include "guest.h"
#include "paging.h"
#include "traps.h"

enum { GDT_BOOT = 7, PORT_ECHO = 0xE0, MARK = 0x5A5A1234 };
#define DEVICE_MEMORY 0xFF000000ull
#define WINDOW PAGE_WINDOW
#define SECOND (WINDOW + PAGE_SIZE)

extern uint64_t boot_gdt[];
extern void run32(void (*code)(void));
static uint8_t pages[2][PAGE_SIZE] __attribute__((aligned(4096)));

// Selectors behind the boot code's: 32-bit code, then data segments that begin at the
// window and have a limit of one page.
static uint64_t gdt[12] = {
    [7] = GDT_CODE32,
    [8] = 0x8040930000000FFF, // 0x40: writable
    [9] = 0x8040970000000FFF, // 0x48: expand-down, so from the second page on
    [10] = 0x8040910000000FFF, // 0x50: read-only
    [11] = 0x8000930000000FFF, // 0x58: writable, as a stack of 16 bits
};

// What the 32-bit code begins and ends with.
struct regs32 {
    uint32_t eax, ecx, esi, edi, flags;
} regs32;

#define CODE32(name, segments, insn) \
    __asm__ (".pushsection .text\n .code32\n .globl " #name "\n" #name ":\n" \
        "movl regs32 + 8, %esi\n movl regs32 + 12, %edi\n movl regs32 + 4, %ecx\n movl $0xE0, %edx\n" \
        "movl regs32, %ebx\n" segments "movl %ebx, %eax\n" \
        GUARD(insn) \
        "movl %eax, %ebx\n movl $0x10, %eax\n movl %eax, %ds\n movl %eax, %ss\n pushfl\n" \
        "movl %ebx, regs32\n movl %ecx, regs32 + 4\n movl %esi, regs32 + 8\n movl %edi, regs32 + 12\n" \
        "popl regs32 + 16\n" \
        "ljmp $0x08, $back64\n .code64\n .popsection\n"); \
    extern void name(void);
#define LOAD(segment, selector) "movl $" #selector ", %eax\n movl %eax, %" #segment "\n"

CODE32(add_based, LOAD(es, 0x40), "addl %eax, %es:0x20")
CODE32(load_based, LOAD(ds, 0x50), "movl 0x20, %eax")
CODE32(add_16, LOAD(es, 0x40), "addw %ax, %es:(%di)")
CODE32(movs_both, LOAD(ds, 0x40) LOAD(es, 0x48), "rep movsl")
CODE32(outs_based, LOAD(ds, 0x40), "rep outsl")
CODE32(outs_null, LOAD(ds, 0), "rep outsl")
CODE32(outs_ss, LOAD(ss, 0x58), "rep outsl %ss:(%esi), %dx")
CODE32(ins_read_only, LOAD(es, 0x50), "rep insl")
CODE32(ins_down, LOAD(es, 0x48), "rep insl")
CODE32(push_based, LOAD(es, 0x40), "pushl %es:0x20\n popl %eax")

static void run(void (*code)(void), uint32_t eax, uint32_t ecx, uint32_t esi, uint32_t edi) {
    regs32 = (struct regs32) { eax, ecx, esi, edi, 0 };
    trap_clear();
    run32(code);
}

static void expect_regs(const char *name, int vector, uint32_t ecx, uint32_t esi, uint32_t edi, bool good) {
    if (vector >= 0 && !last_trap.taken && cpu_is_tcg() && !under_vipervisor()) {
        skip(name, "this emulated CPU does not check segment limits and types");
        return;
    }
    int got = last_trap.taken ? (int)last_trap.vector : -1;
    expect(name, got == vector && (vector < 0 || last_trap.error == 0) && regs32.ecx == ecx && regs32.esi == esi
        && regs32.edi == edi && good, "vector %d error %llx ECX %x ESI %x EDI %x, data %s", got,
        (unsigned long long)last_trap.error, regs32.ecx, regs32.esi, regs32.edi, good ? "right" : "wrong");
    trap_clear();
}

static void map(uint64_t first, uint64_t second) {
    page_set(WINDOW, first | PTE_PRESENT_WRITE_USER);
    page_set(SECOND, second | PTE_PRESENT_WRITE_USER);
}

static uint32_t at(uint64_t address) {
    return *(volatile uint32_t *)address;
}

static void put(uint64_t address, uint32_t value) {
    *(volatile uint32_t *)address = value;
}

static void check_device(void) {
    map(DEVICE_MEMORY, DEVICE_MEMORY + PAGE_SIZE);
    put(WINDOW + 0x20, 0xFFFFFFFF);
    run(add_based, 2, 0, 0, 0);
    expect_regs("32-bit ADD by a segment with a base", -1, 0, 0, 0, at(WINDOW + 0x20) == 1 && (regs32.flags & 1));
    run(load_based, 2, 0, 0, 0);
    expect_regs("32-bit load from a read-only segment", -1, 0, 0, 0, regs32.eax == 1);
    run(push_based, 0, 0, 0, 0);
    expect_regs("32-bit PUSH of device memory", -1, 0, 0, 0, regs32.eax == 1);
    run(add_16, 7, 0, 0, 0x20);
    expect_regs("ADD of 16 bits", -1, 0, 0, 0x20, at(WINDOW + 0x20) == 8);
    for (unsigned i = 0; i < 4; i++) {
        put(WINDOW + 0xFF0 + 4 * i, MARK + i);
        put(SECOND + 4 * i, 0);
    }
    run(movs_both, 0, 3, 0xFF0, 0x1000);
    expect_regs("REP MOVSL into an expand-down segment", -1, 0, 0xFFC, 0x100C,
        at(SECOND) == MARK && at(SECOND + 8) == MARK + 2 && at(SECOND + 12) == 0);
    run(movs_both, 0, 6, 0xFF8, 0x1000);
    expect_regs("REP MOVSL over the source's limit", TRAP_GP, 4, 0x1000, 0x1008,
        at(SECOND) == MARK + 2 && at(SECOND + 4) == MARK + 3);
    run(movs_both, 0, 2, 0xF00, 0xFFE);
    expect_regs("REP MOVSL below an expand-down segment", TRAP_GP, 2, 0xF00, 0xFFE, true);
}

static void check_io(void) {
    map((uintptr_t)pages[0], (uintptr_t)pages[1]);
    put(WINDOW + 0xFF8, 0x11111111);
    put(WINDOW + 0xFFC, 0x22222222);
    run(outs_based, 0, 2, 0xFF8, 0);
    expect_regs("32-bit REP OUTSL from a segment with a base", -1, 0, 0x1000, 0, inl(PORT_ECHO) == 0x22222222);
    run(outs_based, 0, 3, 0xFFA, 0);
    expect_regs("REP OUTSL over the limit", TRAP_GP, 2, 0xFFE, 0, inl(PORT_ECHO) == 0x22221111);
    run(outs_ss, 0, 1, 0xFFE, 0);
    expect_regs("REP OUTSL over the stack's limit", TRAP_SS, 1, 0xFFE, 0, true);
    run(outs_null, 0, 1, 0x10, 0);
    expect_regs("REP OUTSL by a null segment", TRAP_GP, 1, 0x10, 0, true);
    run(ins_read_only, 0, 1, 0, 0x10);
    expect_regs("REP INSL into a read-only segment", TRAP_GP, 1, 0, 0x10, true);
    outl(PORT_ECHO, 0x22221111);
    run(ins_down, 0, 2, 0, 0x1000);
    expect_regs("REP INSL into an expand-down segment", -1, 0, 0, 0x1008, at(SECOND + 4) == 0x22221111);
    run(ins_down, 0, 2, 0, 0xFFE);
    expect_regs("REP INSL below an expand-down segment", TRAP_GP, 2, 0, 0xFFE, true);
}

void check_segments(void) {
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = { sizeof(gdt) - 1, (uintptr_t)gdt };
    memcpy(gdt, boot_gdt, GDT_BOOT * sizeof(gdt[0]));
    __asm__ volatile ("lgdt %0" : : "m" (pointer));
    check_device();
    check_io();
}
