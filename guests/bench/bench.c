// What an exit costs: `bench NAME COUNT`, TSC ticks of one round trip, each instruction
// at 64 different addresses, the same code without the instruction subtracted. Where
// the TSC counts instructions (QEMU -icount shift=0, Bochs), COUNT is instructions.
// `only=NAME` picks one, `rounds=N` repeats each N times.
// Before all others `bench start COUNT`: ticks from its first instruction to this line.
// With `wait=1` it then waits for a byte typed at its console, and a little longer, so
// that what the host has to say at the beginning is not counted.
#include "apic.h"
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
    // What it is to do: nothing any more; watch, handle CPUID exits; watch reads of the PM
    // timer; trace all exits; handle CPUID exits of a leaf that is not asked for; have a device
    // in the PM timer's place.
    HYPERCALL_OFF, HYPERCALL_WATCH, HYPERCALL_HANDLE, HYPERCALL_WATCH_READ, HYPERCALL_TRACE,
    HYPERCALL_CLAIM, HYPERCALL_DEVICE,
    WATCH_ROUNDS = 8, // with the warm-up less than the ring has room for
    COM1_LINE_STATUS = PORT_COM1 + 5,
    LINE_STATUS_DATA = 1,
    SETTLE = 4000000, // ticks
    FAR = 0x10000, // the upper half of a time that nobody here lives to see
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
BENCH_BODY(deadline, "mov %%esi, %%ecx\n mov %%edi, %%edx\n xor %%eax, %%eax", "wrmsr")
BENCH_BODY(uart, "mov %%esi, %%edx\n mov %%edi, %%eax", "outb %%al, %%dx")

typedef void (*body)(uint64_t, uint64_t);

static uint64_t lesser(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

// The least of the rounds, one in which nothing else happened: between two slices of the
// guest on CPU 0 the monitor looks whether Python has something to do.
static uint64_t ticks(body run, uint64_t a, uint64_t c, unsigned rounds) {
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t start = rdtsc();
        run(a, c);
        least = lesser(rdtsc() - start, least);
    }
    return least;
}

static uint64_t each(body with, body without, uint64_t a, uint64_t c, unsigned rounds) {
    ticks(with, a, c, WARM_UP);
    ticks(without, a, c, WARM_UP);
    uint64_t gross = ticks(with, a, c, rounds), empty = ticks(without, a, c, rounds);
    return (gross - empty + PLACES / 2) / PLACES;
}

static bool wanted(const char *name) {
    const char *only;
    size_t length = strlen(name);
    return !option("only", &only) || (memcmp(only, name, length) == 0 &&
        (only[length] == 0 || only[length] == ' '));
}

static void bench(const char *name, body with, body without, uint64_t a, uint64_t c,
    unsigned rounds) {
    if (!wanted(name)) {
        return;
    }
    rounds = (unsigned)option_number("rounds", rounds);
    uint64_t count = each(with, without, a, c, rounds);
    print("%sbench %s %llu\n", a == PORT_COM1 ? "\n" : "", name, (unsigned long long)count);
}

// Interrupts: each place sends one to itself, by a vector of its own, whose handler ends
// it. R8 is when it was sent, R11 sums the ticks from there to the handler's first
// instruction, R10 those of the EOI; two ticks of each are the MOVs that keep the times,
// one the RDTSC that ends it, and the rest is what the APIC's registers want.
enum {
    IPI_PLACES = 32, // and as many EOIs
    FIRST_VECTOR = 0x40,
    HANDLER_SIZE = 64,
    KEEPING = 2,
};
#define IPI_BODY(name, send, end) \
    extern const uint8_t name##_handlers[]; \
    __asm__ (".pushsection .text\n .balign 64\n" #name "_handlers:\n" \
        ".rept 32\n .balign 64\n" \
        "rdtsc\n mov %eax, %r9d\n" end "\n rdtsc\n" \
        "sub %r9d, %eax\n add %rax, %r10\n sub %r8d, %r9d\n add %r9, %r11\n iretq\n" \
        ".endr\n .popsection\n"); \
    static void name(uint64_t a, struct ipi_ticks *t) { \
        register uint64_t ends __asm__ ("r10") = 0, sends __asm__ ("r11") = 0; \
        __asm__ volatile ("sti\n mov %2, %%edi\n .rept 32\n" \
            "rdtsc\n mov %%eax, %%r8d\n" send "\n inc %%edi\n.endr\n cli" \
            : "+r" (ends), "+r" (sends) : "i" (ICR_SELF | FIRST_VECTOR), "S" (a) \
            : "rax", "rbx", "rcx", "rdx", "rdi", "r8", "r9", "memory"); \
        t->sends = sends; \
        t->ends = ends; \
    }
struct ipi_ticks {
    uint64_t sends, ends;
};
IPI_BODY(ipi, "mov %%edi, 0x300(%%rsi)", "xor %eax, %eax\n mov %eax, 0xB0(%rsi)")
IPI_BODY(ipi_x2, "mov %%edi, %%eax\n mov $0x830, %%ecx\n xor %%edx, %%edx\n wrmsr",
    "mov $0x80B, %ecx\n xor %edx, %edx\n xor %eax, %eax\n wrmsr")

// Handlers that no stub of lib/vectors.S stands before.
static void set_handlers(const uint8_t *handlers) {
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) idt;
    enum { GATE_SIZE = 16 };
    __asm__ volatile ("sidt %0" : "=m" (idt));
    for (unsigned i = 0; i < IPI_PLACES; i++) {
        uint64_t at = (uintptr_t)handlers + i * HANDLER_SIZE;
        uint8_t *gate = (uint8_t *)(uintptr_t)idt.base + (FIRST_VECTOR + i) * GATE_SIZE;
        memcpy(gate, &(uint16_t) {(uint16_t)at}, 2); // SDM volume 3A, figure 6-8
        memcpy(gate + 6, &(uint16_t) {(uint16_t)(at >> 16)}, 2);
        memcpy(gate + 8, &(uint32_t) {(uint32_t)(at >> 32)}, 4);
    }
}

static void bench_ipi(const char *send_name, const char *end_name, void (*run)(uint64_t, struct ipi_ticks *),
    const uint8_t *handlers, unsigned send_setup, unsigned end_setup) {
    uint64_t sends = UINT64_MAX, ends = UINT64_MAX;
    unsigned rounds = wanted(send_name) || wanted(end_name) ? (unsigned)option_number("rounds", ROUNDS) : 0;
    if (rounds == 0) {
        return;
    }
    set_handlers(handlers);
    for (unsigned i = 0; i < WARM_UP + rounds; i++) {
        struct ipi_ticks t;
        run(LOCAL_APIC, &t);
        sends = lesser(t.sends, sends);
        ends = lesser(t.ends, ends);
    }
    uint64_t send = (sends + IPI_PLACES / 2) / IPI_PLACES - KEEPING - send_setup;
    uint64_t eoi = (ends + IPI_PLACES / 2) / IPI_PLACES - KEEPING - end_setup;
    print("bench %s %llu\nbench %s %llu\n", send_name, (unsigned long long)send, end_name,
        (unsigned long long)eoi);
}

// What Python adds to a CPUID exit.
static void tell_python(uint32_t number) {
    (void)hypercall(cpu_is_amd(), number, 0);
}

static void bench_python(void) {
    uint64_t plain = each(cpuid_with, cpuid_without, 0, 0, ROUNDS);
    tell_python(HYPERCALL_WATCH);
    uint64_t watched = each(cpuid_with, cpuid_without, 0, 0, WATCH_ROUNDS);
    tell_python(HYPERCALL_OFF);
    uint64_t after = each(cpuid_with, cpuid_without, 0, 0, ROUNDS);
    tell_python(HYPERCALL_HANDLE);
    uint64_t handled = each(cpuid_with, cpuid_without, 0, 0, PYTHON_ROUNDS);
    tell_python(HYPERCALL_OFF);
    uint64_t read = each(pmtimer_with, pmtimer_without, PM_TIMER, 0, ROUNDS);
    tell_python(HYPERCALL_WATCH_READ);
    uint64_t read_watched = each(pmtimer_with, pmtimer_without, PM_TIMER, 0, WATCH_ROUNDS);
    tell_python(HYPERCALL_TRACE);
    uint64_t traced = each(cpuid_with, cpuid_without, 0, 0, ROUNDS);
    tell_python(HYPERCALL_OFF);
    uint64_t off = each(cpuid_with, cpuid_without, 0, 0, ROUNDS);
    print("bench cpuid-before %llu\n", (unsigned long long)plain); // "cpuid" is the same behind it all
    print("bench watch %lld\nbench watch-off %lld\nbench handler %llu\n", (long long)(watched - plain),
        (long long)(after - plain), (unsigned long long)handled);
    tell_python(HYPERCALL_CLAIM);
    uint64_t claimed = each(cpuid_with, cpuid_without, 0, 0, ROUNDS);
    tell_python(HYPERCALL_DEVICE);
    uint64_t device = each(pmtimer_with, pmtimer_without, PM_TIMER, 0, PYTHON_ROUNDS);
    tell_python(HYPERCALL_OFF);
    print("bench claimed %lld\nbench device %llu\n", (long long)(claimed - plain), (unsigned long long)device);
    print("bench watch-read %lld\nbench trace %lld\nbench trace-off %lld\n", (long long)(read_watched - read),
        (long long)(traced - plain), (long long)(off - plain));
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
            bench_python();
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
        apic_enable();
        bench_ipi("self-ipi", "lapic-eoi", ipi, ipi_handlers, 0, 1);
    }
    outl(TESTDEV_ECHO, TESTDEV_MARK);
    if (inl(TESTDEV_ECHO) == TESTDEV_MARK) {
        bench("mmio-read", mmio_read_with, mmio_read_without, TESTDEV_MEMORY, 0, ROUNDS);
        bench("mmio-write", mmio_write_with, mmio_write_without, TESTDEV_MEMORY, 0, ROUNDS);
        bench("mmio-modify", mmio_modify_with, mmio_modify_without, TESTDEV_MEMORY, 0, ROUNDS);
    } else {
        print("bench: no device memory, start with --device testdev\n");
    }
    if (apic_enter_x2()) {
        bench_ipi("x2apic-self-ipi", "x2apic-eoi", ipi_x2, ipi_x2_handlers, 3, 3);
        apic_write(APIC_LVT_TIMER, TIMER_DEADLINE | FIRST_VECTOR);
        bench("deadline", deadline_with, deadline_without, MSR_TSC_DEADLINE, FAR, ROUNDS);
    }
    bench("uart", uart_with, uart_without, PORT_COM1, '.', UART_ROUNDS);
    return 0;
}
