// What an exit costs: `bench NAME COUNT`, TSC ticks of one round trip, each instruction
// at 64 different addresses, the same code without the instruction subtracted. Where
// the TSC counts instructions (QEMU -icount shift=0, Bochs), COUNT is instructions.
// Before all others `bench start COUNT`: ticks from its first instruction to this line.
// With `wait=1` it then waits for a byte typed at its console, and a little longer, so
// that what the host has to say at the beginning is not counted.
#include "guest.h"
#include "hypercall.h"

enum {
    PLACES = 64,
    ROUNDS = 32,
    WARM_UP = 2,
    MSR_TABLED = 0xFE, // MTRR capabilities, or the MSR given by msr=NUMBER
    PIC1_DATA = 0x21,
    PM_TIMER = 0x608,
    UART_ROUNDS = 4, // 256 characters
    CPUID_EDX_APIC = 1 << 9,
    TESTDEV_ECHO = 0xE0,
    TESTDEV_MARK = 0x1234567,
    PYTHON_ROUNDS = 4, // with `python=1`: somebody on the monitor answers
    HYPERCALL_TO_PYTHON = 0x1000,
    COM1_LINE_STATUS = PORT_COM1 + 5,
    LINE_STATUS_DATA = 1,
    SETTLE = 4000000, // ticks
};
#define TESTDEV_MEMORY 0xFF000000ull
#define LOCAL_APIC 0xFEE00000ull

// One round runs `insn` at 64 addresses, each with the registers it wants; the same
// without it is what to subtract.
#define BENCH_BODY(name, setup, insn) \
    static void name##_with(uint64_t a, uint64_t c) { \
        __asm__ volatile (".rept 64\n" setup "\n" insn "\n.endr" \
            : : "S" (a), "D" (c) : "rax", "rbx", "rcx", "rdx", "memory"); \
    } \
    static void name##_without(uint64_t a, uint64_t c) { \
        __asm__ volatile (".rept 64\n" setup "\n.endr" \
            : : "S" (a), "D" (c) : "rax", "rbx", "rcx", "rdx", "memory"); \
    }
BENCH_BODY(vmmcall, "mov %%esi, %%eax", "vmmcall")
BENCH_BODY(vmcall, "mov %%esi, %%eax", "vmcall")
BENCH_BODY(cpuid, "mov %%esi, %%eax\n xor %%ecx, %%ecx", "cpuid")
BENCH_BODY(msr, "mov %%esi, %%ecx", "rdmsr")
BENCH_BODY(pmtimer, "mov %%esi, %%edx", "inl %%dx, %%eax")
BENCH_BODY(pic, "mov %%esi, %%edx", "inb %%dx, %%al")
BENCH_BODY(mmio_read, "", "movl 4(%%rsi), %%eax")
BENCH_BODY(mmio_write, "", "movl %%eax, 8(%%rsi)")
BENCH_BODY(mmio_modify, "", "addl $1, 12(%%rsi)")
BENCH_BODY(lapic_read, "", "movl 0x30(%%rsi), %%eax")
BENCH_BODY(lapic_eoi, "xor %%eax, %%eax", "movl %%eax, 0xB0(%%rsi)")
BENCH_BODY(uart, "mov %%esi, %%edx\n mov %%edi, %%eax", "outb %%al, %%dx")

typedef void (*body)(uint64_t, uint64_t);

static uint64_t ticks(body run, uint64_t a, uint64_t c, unsigned rounds) {
    uint64_t start = rdtsc();
    for (unsigned i = 0; i < rounds; i++) {
        run(a, c);
    }
    return rdtsc() - start;
}

static void bench(const char *name, body with, body without, uint64_t a, uint64_t c,
    unsigned rounds) {
    const char *only;
    size_t length = strlen(name);
    if (option("only", &only) && (memcmp(only, name, length) != 0 ||
        (only[length] != 0 && only[length] != ' '))) {
        return;
    }
    ticks(with, a, c, WARM_UP);
    ticks(without, a, c, WARM_UP);
    uint64_t gross = ticks(with, a, c, rounds), empty = ticks(without, a, c, rounds);
    uint64_t count = (uint64_t)rounds * PLACES;
    uint64_t each = (gross - empty + count / 2) / count;
    print("%sbench %s %llu\n", a == PORT_COM1 ? "\n" : "", name, (unsigned long long)each);
}

static void wait_for_host(void) {
    while (!(inb(COM1_LINE_STATUS) & LINE_STATUS_DATA)) {
    }
    inb(PORT_COM1);
    uint64_t start = rdtsc();
    while (rdtsc() - start < SETTLE) {
    }
}

int guest_main(void) {
    interrupts_off();
    print("bench start %llu\n", (unsigned long long)rdtsc());
    if (option_number("wait", 0) != 0) {
        wait_for_host();
    }
    if (under_vipervisor()) {
        bool amd = cpu_is_amd();
        body with = amd ? vmmcall_with : vmcall_with;
        body without = amd ? vmmcall_without : vmcall_without;
        bench("hypercall", with, without, HYPERCALL_NOP, 0, ROUNDS);
        if (option_number("python", 0) != 0) {
            bench("python", with, without, HYPERCALL_TO_PYTHON, 0, PYTHON_ROUNDS);
        }
    } else {
        print("bench: no hypercall, not under Vipervisor\n");
    }
    bench("cpuid", cpuid_with, cpuid_without, 0, 0, ROUNDS);
    bench("msr", msr_with, msr_without, option_number("msr", MSR_TABLED), 0, ROUNDS);
    bench("pmtimer", pmtimer_with, pmtimer_without, PM_TIMER, 0, ROUNDS);
    bench("pic", pic_with, pic_without, PIC1_DATA, 0, ROUNDS);
    if (cpuid(1, 0).edx & CPUID_EDX_APIC) {
        bench("lapic-read", lapic_read_with, lapic_read_without, LOCAL_APIC, 0, ROUNDS);
        bench("lapic-eoi", lapic_eoi_with, lapic_eoi_without, LOCAL_APIC, 0, ROUNDS);
    }
    outl(TESTDEV_ECHO, TESTDEV_MARK);
    if (inl(TESTDEV_ECHO) == TESTDEV_MARK) {
        bench("mmio-read", mmio_read_with, mmio_read_without, TESTDEV_MEMORY, 0, ROUNDS);
        bench("mmio-write", mmio_write_with, mmio_write_without, TESTDEV_MEMORY, 0, ROUNDS);
        bench("mmio-modify", mmio_modify_with, mmio_modify_without, TESTDEV_MEMORY, 0, ROUNDS);
    } else {
        print("bench: no device memory, start with --device testdev\n");
    }
    bench("uart", uart_with, uart_without, PORT_COM1, '.', UART_ROUNDS);
    return 0;
}
