// What a guest may do at its worst: values at random for every port, MSR and register of a device,
// and instructions at random whose memory is a device's. Whatever comes of it, only this guest may
// suffer; nothing here asks what the answers are.
//
//   seed=N     another row of the same game; one seed is always the same
//   rounds=N   how many moves
//   wild       instructions at CPL 0, resets and all that ends a guest: it need not live to the end
//   only=N     a mask of the kinds of moves (enum kind)
#include "check.h"
#include "guest.h"
#include "paging.h"
#include "traps.h"

enum kind { PORT, STRING_PORT, MSR, APIC, IOAPIC, PCI, FWCFG, MEMORY, INSTRUCTION, HYPERCALL, KINDS };
enum { RFLAGS_FIXED = 2, RFLAGS_TF = 1 << 8, RFLAGS_WILD = 0x254CD5, CODE_BYTES = 16, STRING_MAX = 64 };
enum { TESTDEV_MEMORY = 0xFF000000u, APIC_PAGE = 0xFEE00000u, IOAPIC_PAGE = 0xFEC00000u };

struct registers {
    uint64_t r[16];
};
void run_wild(const struct registers *r, const void *code, uint64_t rflags, uint64_t selectors); // run.S

static uint64_t state;
static bool wild;
static volatile bool running; // an instruction of ours, at CPL 0
static uint8_t code[2 * PAGE_SIZE] __attribute__((aligned(4096))), scratch[2 * PAGE_SIZE];

// xorshift64*
static uint64_t any(void) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545F4914F6CDD1Dull;
}

static uint64_t below(uint64_t limit) {
    return (any() >> 16) % limit;
}

// Mostly what is special somewhere.
static uint64_t value(void) {
    switch (below(6)) {
        case 0: return below(2) - 1;
        case 1: return 1ull << below(64);
        case 2: return below(256);
        case 3: return ~(1ull << below(64));
        default: return any();
    }
}

// ---- Ports ----

static const struct {
    uint16_t first, count;
} ports[] = {
    {0x20, 2}, {0xA0, 2}, {0x40, 4}, {0x60, 5}, {0x70, 4}, {0x80, 1}, {0x92, 1}, {0xB2, 2}, {0xE0, 8}, {0xE9, 1},
    {0x3B0, 48}, {0x3F8, 8}, {0x4D0, 2}, {0x510, 8}, {0x600, 64}, {0xB000, 64}, {0xCF8, 8}, {0x2000, 24},
    {0x1F0, 8}, {0x170, 8}, {0x2F8, 8}, {0, 0xFFF},
};

static uint16_t port(void) {
    if (below(16) == 0) {
        return (uint16_t)any();
    }
    unsigned i = (unsigned)below(sizeof(ports) / sizeof(ports[0]));
    return (uint16_t)(ports[i].first + below(ports[i].count));
}

// What would end the guest, or its console.
static bool ends(uint16_t at, unsigned size) {
    static const uint16_t last[] = {0x64, 0x92, 0xE9, 0xF4, 0xCF9};
    for (unsigned i = 0; i < sizeof(last) / sizeof(last[0]); i++) {
        if (last[i] >= at && last[i] < at + size) {
            return true;
        }
    }
    return (at & 0xFFF8) == 0x3F8 || at == 0x3F7 || at == 0x3F6 || at == 0x3F5 || (at >= 0x600 && at < 0x610)
        || (at >= 0x5FD && at < 0x600) || (at >= 0xB000 && at < 0xB040);
}

static void move_port(void) {
    uint16_t at = port();
    unsigned size = 1u << below(3);
    if (below(2) == 0) {
        (void)(size == 1 ? inb(at) : size == 2 ? inw(at) : inl(at));
    } else if (wild || !ends(at, size)) {
        uint64_t v = value();
        size == 1 ? outb(at, (uint8_t)v) : size == 2 ? outw(at, (uint16_t)v) : outl(at, (uint32_t)v);
    }
}

static uint64_t place(void) {
    switch (below(8)) {
        case 0: return (uintptr_t)scratch + PAGE_SIZE - below(16);
        case 1: return APIC_PAGE + below(PAGE_SIZE);
        case 2: return IOAPIC_PAGE + below(PAGE_SIZE);
        case 3: return 0xA0000 + below(0x60000); // the screen, ACPI tables
        case 4: return 0xC0000000 + below(0x1000000); // nothing
        case 5: return TESTDEV_MEMORY + 0xFFF0 + below(32); // its end
        default: return TESTDEV_MEMORY + below(0x10000);
    }
}

static void move_string(void) {
    uint16_t at = port();
    uint64_t count = below(STRING_MAX), memory = place();
    unsigned form = (unsigned)below(6);
    if (form >= 3 && !wild && ends(at, 4)) {
        return;
    }
    if (!wild && form < 3) {
        memory = TESTDEV_MEMORY + below(0xF000); // registers of an APIC would take it
    }
    trap_clear();
#define STRING(insn) __asm__ volatile (GUARD("rep " insn) \
        : "+c" (count), "+S" (memory), "+D" (memory) : "d" (at) : "memory")
    switch (form) {
        case 0: STRING("insb"); break;
        case 1: STRING("insw"); break;
        case 2: STRING("insl"); break;
        case 3: STRING("outsb"); break;
        case 4: STRING("outsw"); break;
        default: STRING("outsl"); break;
    }
#undef STRING
}

// ---- MSRs and the registers of devices ----

static uint32_t msr(void) {
    switch (below(8)) {
        case 0: return (uint32_t)any();
        case 1: return 0xC0000080u + (uint32_t)below(0x90);
        case 2: return 0x4B564D00u + (uint32_t)below(8);
        case 3: return 0x40000000u + (uint32_t)below(0x100);
        case 4: return 0xC0010000u + (uint32_t)below(0x400);
        case 5: return 0x800u + (uint32_t)below(0x100);
        default: return (uint32_t)below(0x1000);
    }
}

// What decides where this code itself runs, and how it is interrupted.
static bool vital(uint32_t index) {
    return index == 0xC0000080u || index == 0xC0000100u || index == 0xC0000101u || index == 0x830 || index == 0x83F
        || index == 0x1B || (index & ~1u) == 0x4B564D00u || index == 0x11 || index == 0x12;
}

static void move_msr(void) {
    uint32_t index = msr(), low, high;
    trap_clear();
    if (below(2) == 0) {
        __asm__ volatile (GUARD("rdmsr") : "=a" (low), "=d" (high) : "c" (index) : "memory");
    } else if (wild || !vital(index)) {
        uint64_t v = value();
        __asm__ volatile (GUARD("wrmsr") : : "a" ((uint32_t)v), "d" ((uint32_t)(v >> 32)), "c" (index) : "memory");
    }
}

// ICR: INIT and start-ups would end or restart this code, which they may in wild ones.
static void move_apic(void) {
    uint32_t at = (uint32_t)below(0x40) * 16;
    uint32_t v = (uint32_t)value();
    volatile uint32_t *reg = (volatile uint32_t *)(uintptr_t)(APIC_PAGE + at + (below(8) == 0 ? below(16) : 0));
    if (below(2) == 0) {
        (void)*reg;
    } else if (wild || at != 0x300 || (v & 0x700) < 0x400) {
        *reg = v;
    }
}

static void move_ioapic(void) {
    volatile uint32_t *select = (volatile uint32_t *)(uintptr_t)IOAPIC_PAGE, *window = select + 4;
    *select = (uint32_t)(below(4) == 0 ? value() : below(0x48));
    if (below(2) == 0) {
        (void)*window;
    } else {
        uint32_t v = (uint32_t)value();
        *window = wild ? v : v & ~0x700u; // fixed
    }
}

static void move_pci(void) {
    outl(0xCF8, (uint32_t)(below(4) == 0 ? value() : 0x80000000u | below(0x10000)));
    uint16_t at = (uint16_t)(0xCFC + below(4));
    if (below(2) == 0) {
        (void)inl(at);
    } else {
        outl(at, (uint32_t)value());
    }
}

static void move_fwcfg(void) {
    outw(0x510, (uint16_t)(below(2) == 0 ? below(0x40) : any()));
    for (uint64_t n = below(40); n > 0; n--) {
        if (below(16) == 0) {
            outb(0x511, (uint8_t)any());
        } else {
            (void)inb(0x511);
        }
    }
}

// ---- Memory and instructions ----

static void move_memory(void) {
    uint64_t at = place();
    uint64_t v = value();
    bool apic = at - APIC_PAGE < PAGE_SIZE || at - IOAPIC_PAGE < PAGE_SIZE;
    trap_clear();
    if (below(2) == 0 || (apic && !wild)) {
        __asm__ volatile (GUARD("movq (%1), %0") : "=r" (v) : "r" (at) : "memory");
    } else {
        __asm__ volatile (GUARD("movq %0, (%1)") : : "r" (v), "r" (at) : "memory");
    }
}

// LOCK with BTS, BTR or BTC of a register: QEMU itself ends at it, under Vipervisor or not.
static bool stops_qemu(const uint8_t *at) {
    bool lock = false;
    for (; *at != 0x0F && *at != 0xCC; at++) {
        lock |= *at == 0xF0;
    }
    return lock && *at == 0x0F && (at[1] == 0xAB || at[1] == 0xB3 || at[1] == 0xBB || at[1] == 0xBA)
        && at[2] >= 0xC0;
}

static void move_instruction(void) {
    static const uint8_t prefixes[] = {0x66, 0x67, 0xF2, 0xF3, 0xF0, 0x48, 0x4F, 0x64, 0x41};
    uint8_t *at = code + PAGE_SIZE - (below(4) == 0 ? below(CODE_BYTES) : CODE_BYTES);
    unsigned n = 0;
    memset(code + PAGE_SIZE - CODE_BYTES, 0xCC, 2 * CODE_BYTES);
    while (n < 4 && below(2) == 0) {
        at[n++] = prefixes[below(sizeof(prefixes))];
    }
    if (below(3) == 0) {
        at[n++] = 0x0F;
    }
    at[n++] = (uint8_t)any();
    at[n++] = (uint8_t)(below(4) == 0 ? any() : below(64) << 3 & 0xBF); // most have memory
    while (n < CODE_BYTES) {
        at[n++] = (uint8_t)(below(2) == 0 ? 0 : any());
    }
    if (stops_qemu(at)) {
        return;
    }
    struct registers r;
    for (unsigned i = 0; i < 16; i++) {
        r.r[i] = below(4) == 0 ? value() : wild ? place() : TESTDEV_MEMORY + below(0x10000);
    }
    if (below(2) == 0) {
        r.r[1] = below(4); // a count
    }
    uint64_t flags = (any() & RFLAGS_WILD & (wild ? ~0ull : ~0x3000ull)) | RFLAGS_FIXED | RFLAGS_TF;
    if (!wild || below(4) != 0) {
        run_wild(&r, at, flags & ~0x20000ull, SEL_USER_CODE64 | SEL_USER_DATA << 16);
        return;
    }
    if (below(2) == 0) {
        r.r[4] = (uintptr_t)scratch + sizeof(scratch);
    }
    running = true;
    run_wild(&r, at, flags & ~0x20000ull & ~0x200ull, SEL_CODE64 | SEL_DATA << 16);
    running = false;
}

static bool on_trap(struct trap_frame *frame) {
    if (!running || (frame->cs & 3) == 3) {
        return frame->vector == 2 || (frame->vector >= IRQ_BASE && (frame->cs & 3) == 0);
    }
    frame->rip = (uintptr_t)user_return;
    frame->cs = SEL_CODE64;
    frame->ss = SEL_DATA;
    frame->rsp = user_saved_rsp;
    frame->rflags = RFLAGS_FIXED;
    return true;
}

static void move_hypercall(void) {
    uint64_t number = below(2) == 0 ? below(16) : value() & 0xFFF; // those from 0x1000 on wait for Python
    uint64_t b = value(), c = value();
    if (number == 1 || number == 2) {
        return; // the guest's end, its console
    }
    trap_clear();
    if (cpu_is_amd()) {
        __asm__ volatile (GUARD("vmmcall") : "+a" (number), "+b" (b), "+c" (c) : : "memory");
    } else {
        __asm__ volatile (GUARD("vmcall") : "+a" (number), "+b" (b), "+c" (c) : : "memory");
    }
}

int guest_main(void) {
    static void (*const moves[KINDS])(void) = {
        [PORT] = move_port, [STRING_PORT] = move_string, [MSR] = move_msr, [APIC] = move_apic,
        [IOAPIC] = move_ioapic, [PCI] = move_pci, [FWCFG] = move_fwcfg, [MEMORY] = move_memory,
        [INSTRUCTION] = move_instruction, [HYPERCALL] = move_hypercall,
    };
    const char *ignored;
    uint64_t rounds = option_number("rounds", 2000), only = option_number("only", (1u << KINDS) - 1);
    state = option_number("seed", 1) * 0x9E3779B97F4A7C15ull | 1;
    wild = option("wild", &ignored);
    for (unsigned i = 0; i < TRAP_VECTORS; i++) {
        trap_hook(i, on_trap);
    }
    for (uint64_t n = 0; n < rounds; n++) {
        unsigned kind = (unsigned)below(KINDS);
        if (only >> kind & 1) {
            moves[kind]();
        }
    }
    running = false;
    console_init();
    expect("still here", true, "%llu", (unsigned long long)rounds);
    return check_end();
}
