// Real mode, where exits, injected events, single steps and device memory must work as well;
// with GS as large as in protected mode ("big real mode"). Needs the device "testdev".
#include "check.h"
#include "guest.h"
#include "traps.h"

enum {
    VECTOR_DE = 0, VECTOR_DB = 1, VECTOR_BP = 3, VECTOR_UD = 6, VECTOR_GP = 13,
    VECTORS = 32, STUB_SIZE = 16, VECTOR_IRQ = 0x18, VECTOR_SOFTWARE = 0x11,
    PORT_ECHO = 0xE0, FLAGS_TF = 0x100,
    PIC1_COMMAND = 0x20, PIC1_DATA = 0x21, PIC2_DATA = 0xA1, ICW1 = 0x11, ICW4 = 1, EOI = 0x20,
    PIT_COMMAND = 0x43, PIT_CHANNEL0 = 0x40, PIT_ONE_SHOT = 0x30,
    STEPS = 8,
};
#define MSR_UNKNOWN 0x12345678
#define DEVICE 0xFF000000u

// Pushed by PUSHAL, the stub and the interrupt itself.
struct real_frame {
    uint32_t edi, esi, ebp, esp, ebx, edx, ecx, eax, vector;
    uint16_t ip, cs, flags;
};
void real_main(void);
void vector_entry(struct real_frame *frame);
void big_gs(void);
extern uint8_t vector_stubs[];

volatile struct trap last_trap; // of check.c, whose names serve here, too
volatile uint16_t resume; // where a guarded instruction's fault goes on; 0: at its own return address
static volatile unsigned hits[VECTORS];
static volatile uint16_t hit_ip, steps[STEPS];
static volatile unsigned step_count;

void vector_entry(struct real_frame *frame) {
    uint32_t vector = frame->vector;
    hits[vector]++;
    hit_ip = frame->ip;
    if (vector == VECTOR_DB && step_count < STEPS) {
        steps[step_count++] = frame->ip;
    } else if (vector == VECTOR_IRQ) {
        outb(PIC1_COMMAND, EOI);
    } else if (resume != 0) {
        frame->ip = resume;
        resume = 0;
    }
}

static void clear(void) {
    for (unsigned i = 0; i < VECTORS; i++) {
        hits[i] = 0;
    }
    step_count = 0;
}

// `insn`, where it starts, and where to go on when it faults.
#define GUARD16(insn) "movw $2f, resume\n1: " insn "\n2: movw $0, resume\n"

static void set_up(void) {
    volatile uint32_t *table = (volatile uint32_t *)0;
    for (unsigned i = 0; i < VECTORS; i++) {
        __asm__ volatile ("movl %1, (%0)" : : "r" (table + i), "r" (vector_stubs + i * STUB_SIZE) : "memory");
    }
    outb(PIC1_COMMAND, ICW1);
    outb(PIC1_DATA, VECTOR_IRQ);
    outb(PIC1_DATA, 4);
    outb(PIC1_DATA, ICW4);
    outb(PIC1_DATA, 0xFE);
    outb(PIC2_DATA, 0xFF);
}

static void check_exits(void) {
    struct cpuid here = cpuid(0, 0), again;
    __asm__ volatile (".byte 0x2E, 0x0F, 0xA2" : "=a" (again.eax), "=b" (again.ebx), "=c" (again.ecx),
        "=d" (again.edx) : "a" (0), "c" (0));
    expect("CPUID, prefixed", memcmp(&here, &again, sizeof(here)) == 0, "%x %x", here.ebx, again.ebx);
    outl(PORT_ECHO, 0xA1B2C3D4);
    expect("OUT and IN of 32 bits", inl(PORT_ECHO) == 0xA1B2C3D4, "%x", inl(PORT_ECHO));
    outw(PORT_ECHO, 0x5678);
    expect("OUT and IN of 16 bits", inw(PORT_ECHO) == 0x5678, "%x", inw(PORT_ECHO));
    outb(PORT_ECHO, 0x9A);
    expect("OUT and IN of 8 bits", inb(PORT_ECHO) == 0x9A, "%x", inb(PORT_ECHO));
    uint32_t dr0 = 0, cr0, msw;
    __asm__ volatile ("mov %1, %%db0\n .byte 0x0F, 0x21, 0x00" : "=a" (dr0) : "b" (0xACED)); // mod 0
    expect("MOV from DR0 whose mod bits say memory", dr0 == 0xACED, "%x", dr0);
    __asm__ volatile ("mov %%cr0, %0\n mov %0, %%ecx\n or %2, %0\n mov %0, %%cr0\n smswl %1\n mov %%ecx, %%cr0"
        : "=&r" (cr0), "=&a" (msw) : "i" (CR0_CD) : "ecx");
    expect("SMSW of CR0 with CD", cr0 == msw, "%x %x", cr0, msw);
}

static void check_strings(void) {
    static uint8_t bytes[64];
    uint32_t to = (uintptr_t)bytes, count = 16, from = (uintptr_t)bytes;
    memset(bytes, 0, sizeof(bytes));
    outl(PORT_ECHO, 0x44332211);
    __asm__ volatile ("rep insl" : "+D" (to), "+c" (count) : "d" (PORT_ECHO) : "memory");
    expect("REP INSL", count == 0 && bytes[0] == 0x11 && bytes[63] == 0x44, "%u left", count);
    count = 8;
    __asm__ volatile ("addr32 rep outsw" : "+S" (from), "+c" (count) : "d" (PORT_ECHO) : "memory");
    expect("REP OUTSW", count == 0 && inw(PORT_ECHO) == 0x4433, "%x", inw(PORT_ECHO));
    // Two bytes at the segment's end, then from its start: SI has 16 bits.
    uint32_t si = 0x1234FFFE;
    count = 0xABCD0004;
    __asm__ volatile (".byte 0xF3, 0x6E" : "+S" (si), "+c" (count) : "d" (PORT_ECHO) : "memory"); // rep outsb
    expect("REP OUTSB wraps at 64 KiB", si == 0x12340002 && count == 0xABCD0000, "SI %x CX %x", si, count);
}

static void check_events(void) {
    clear();
    __asm__ volatile ("int %0" : : "i" (VECTOR_SOFTWARE) : "memory");
    expect("INT", hits[VECTOR_SOFTWARE] == 1, "%u", hits[VECTOR_SOFTWARE]);
    __asm__ volatile ("int3" : : : "memory");
    expect("INT3", hits[VECTOR_BP] == 1, "%u", hits[VECTOR_BP]);
    uint32_t eax = 1, edx = 0, at;
    __asm__ volatile ("movl $1f, %2\n" GUARD16("div %3") : "+a" (eax), "+d" (edx), "=&S" (at) : "c" (0) : "memory");
    expect("#DE", hits[VECTOR_DE] == 1 && hit_ip == at, "%u at %x", hits[VECTOR_DE], hit_ip);
    __asm__ volatile ("movl $1f, %0\n" GUARD16("ud2") : "=&S" (at) : : "memory");
    expect("#UD", hits[VECTOR_UD] == 1 && hit_ip == at, "%u at %x", hits[VECTOR_UD], hit_ip);
    if (under_vipervisor()) { // others have every MSR
        __asm__ volatile ("movl $1f, %0\n" GUARD16("rdmsr") : "=&S" (at) : "c" (MSR_UNKNOWN) : "eax", "edx", "memory");
        expect("#GP of a RDMSR, with no error code", hits[VECTOR_GP] == 1 && hit_ip == at, "%u at %x", hits[VECTOR_GP],
            hit_ip);
    }
    clear();
    if (cpu_is_tcg()) {
        skip("#GP beyond the limit", "this emulated CPU does not check it");
    } else {
        __asm__ volatile ("movl $1f, %0\n" GUARD16("movb (%1), %%al") : "=&S" (at) : "b" (0x10000) : "eax", "memory");
        expect("#GP beyond the limit", hits[VECTOR_GP] == 1 && hit_ip == at, "%u at %x", hits[VECTOR_GP], hit_ip);
    }
    outb(PIT_COMMAND, PIT_ONE_SHOT);
    outb(PIT_CHANNEL0, 0);
    outb(PIT_CHANNEL0, 4);
    __asm__ volatile ("sti\n hlt\n cli" : : : "memory");
    expect("an interrupt wakes HLT", hits[VECTOR_IRQ] == 1, "%u", hits[VECTOR_IRQ]);
}

static void check_device(void) {
    uint32_t value = 0, sum = 0, copied[2] = {0, 0};
    big_gs();
    __asm__ volatile ("movl %3, %%gs:(%2)\n movl %%gs:(%2), %0\n addl $1, %%gs:(%2)\n movl %%gs:(%2), %1"
        : "=&r" (value), "=&r" (sum) : "r" (DEVICE), "r" (0x12345678) : "memory", "cc");
    expect("device memory through a segment of 4 GiB", value == 0x12345678 && sum == 0x12345679, "%x %x", value, sum);
    uint32_t from = DEVICE, to = (uintptr_t)copied, count = 2;
    __asm__ volatile ("movl %4, %%gs:4(%0)\n rep movsl %%gs:(%%esi), %%es:(%%edi)" : "+S" (from), "+D" (to),
        "+c" (count), "=m" (copied) : "r" (0x9ABCDEF0) : "memory");
    expect("REP MOVSL from it", copied[0] == 0x12345679 && copied[1] == 0x9ABCDEF0, "%x %x", copied[0], copied[1]);
    uint32_t read = 1;
    __asm__ volatile ("mov %1, %%gs\n mov %%gs, %0" : "=r" (read) : "r" (0x20)); // base 0x200, limit as it was
    __asm__ volatile ("movl %%gs:(%1), %0" : "=r" (value) : "r" (DEVICE - 0x200) : "memory");
    expect("and through one with a base", value == 0x12345679, "%x", value);
    __asm__ volatile ("mov %0, %%gs" : : "r" (0));
}

static void check_steps(void) {
    uint32_t first;
    clear();
    __asm__ volatile ("movl $1f, %%esi\n pushfl\n orl %1, (%%esp)\n xor %%eax, %%eax\n popfl\n"
        "1: cpuid\n outb %%al, $0x80\n movl %%gs:(%%edi), %%eax\n nop\n"
        "pushfl\n andl %2, (%%esp)\n popfl\n nop" : "=&S" (first) : "i" (FLAGS_TF), "i" (~FLAGS_TF), "D" (DEVICE)
        : "eax", "ebx", "ecx", "edx", "memory", "cc");
    // CPUID has 2 bytes, OUT 2, the load 5 with its two prefixes, NOP 1.
    bool good = step_count >= 4 && steps[0] == first + 2 && steps[1] == first + 4 && steps[2] == first + 9 &&
        steps[3] == first + 10;
    expect("single steps over CPUID, OUT and a device", good, "%u, %x %x %x %x from %x", step_count, steps[0], steps[1],
        steps[2], steps[3], first);
}

void real_main(void) {
    console_init();
    set_up();
    check_exits();
    check_strings();
    check_events();
    check_device();
    big_gs();
    check_steps();
    int status = check_end();
    console_drain();
    outl(PORT_EXIT, (uint32_t)status);
}
