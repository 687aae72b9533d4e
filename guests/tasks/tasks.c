// Task switches of 32-bit code: by CALL, JMP and IRET, through task gates, by INT, exceptions,
// interrupts and NMIs, into virtual-8086 mode: links, busy bits, NT, TS, CR3 and registers.
#include "tasks.h"
#include "check.h"
#include "guest.h"

enum {
    TYPE_TSS = 0x89, TYPE_TSS_BUSY = 0x8B, TYPE_TASK_GATE = 0x85,
    EFLAGS_NT = 1 << 14, EFLAGS_VM = 1 << 17,
    VECTOR_DE = 0, VECTOR_NMI = 2, VECTOR_BP = 3, VECTOR_OF = 4, VECTOR_UD = 6, VECTOR_GP = 13, VECTOR_PF = 14,
    VECTOR_SOFTWARE = 0x40, VECTOR_IRQ = 0x41,
    PF_WRITE = 2,
    PDE_OPEN_LARGE = 0x87,
    BAD_SELECTOR = 0x1230,
    APIC_SVR = 0xF0, APIC_EOI = 0xB0, APIC_ICR = 0x300, APIC_ICR_HIGH = 0x310,
    SVR_ENABLED = 0x1FF, ICR_ASSERT_NMI = 0x4400, ICR_SELF = 0x44000,
    PIC1_DATA = 0x21, PIC2_DATA = 0xA1,
    WAIT = 1000,
    CARRY_LOST = 2, // of keeps_registers
};
#define ABSENT 0x40000000u
#define VM86_CODE 0x20000u // below 1 MiB, where it must lie
#define APIC ((volatile uint8_t *)0xFEE00000)

struct task_state { // Intel SDM vol. 3, figure 7-2
    uint32_t link, stacks[6], cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
    uint32_t es, cs, ss, ds, fs, gs, ldt;
    uint16_t trap, io_map;
};

void plain_task(void);
void divide_task(void);
void error_task(void);
void jump_task(void);
void vm86_switch(void);
uint32_t keeps_registers(void);
void plain_task_body(void);
void divide_task_body(void);
void error_body(uint32_t error);

volatile uint32_t restarted;
static uint64_t gdt[8] __attribute__((aligned(16)));
static uint64_t idt[256] __attribute__((aligned(16)));
static uint32_t directory[2][1024] __attribute__((aligned(4096)));
static struct task_state main_tss, task_tss, vm86_tss;
static uint8_t task_stack[8192] __attribute__((aligned(16)));

static volatile struct {
    uint32_t runs, eflags, cr3, cr0, link, main_type, task_type, error;
} seen;
static volatile uint32_t divisor;

static uint8_t type_of(uint32_t selector) {
    return (uint8_t)(gdt[selector / 8] >> 40);
}

static uint32_t read_eflags(void) {
    uint32_t value;
    __asm__ volatile ("pushf; pop %0" : "=r" (value));
    return value;
}

#define CONTROL_REGISTER(name) \
    static uint32_t read_##name(void) { \
        uint32_t value; \
        __asm__ volatile ("mov %%" #name ", %0" : "=r" (value)); \
        return value; \
    }
CONTROL_REGISTER(cr0)
CONTROL_REGISTER(cr2)
CONTROL_REGISTER(cr3)

void plain_task_body(void) {
    seen.runs++;
    seen.eflags = read_eflags();
    seen.cr0 = read_cr0();
    seen.cr3 = read_cr3();
    seen.link = task_tss.link & 0xFFFF;
    seen.main_type = type_of(SEL_MAIN_TSS);
    seen.task_type = type_of(SEL_TASK_TSS);
    __asm__ volatile ("clts");
}

void divide_task_body(void) {
    plain_task_body();
    divisor = 3;
}

// Mends what faulted: the absent page, or the instruction itself by stepping past it.
void error_body(uint32_t error) {
    plain_task_body();
    seen.error = error;
    if (error == PF_WRITE) {
        directory[0][ABSENT >> 22] = PDE_OPEN_LARGE;
    } else {
        main_tss.eip += 2; // MOV to DS
    }
}

static void set_tss(uint32_t selector, struct task_state *tss, uint32_t type) {
    uint32_t base = (uintptr_t)tss;
    gdt[selector / 8] = (sizeof(*tss) - 1) | (uint64_t)(base & 0xFFFFFF) << 16 | (uint64_t)type << 40 |
        (uint64_t)(base >> 24) << 56;
}

static uint64_t task_gate(uint32_t selector) {
    return (uint64_t)selector << 16 | (uint64_t)TYPE_TASK_GATE << 40;
}

// A fresh task behind SEL_TASK_TSS, and behind the gate of `vector`.
static void set_task(void (*code)(void), uint32_t vector) {
    memset(&task_tss, 0, sizeof(task_tss));
    task_tss = (struct task_state) {
        .cr3 = (uintptr_t)directory[1], .eip = (uintptr_t)code, .eflags = 2,
        .esp = (uintptr_t)task_stack + sizeof(task_stack), .io_map = sizeof(task_tss),
        .es = SEL_FLAT, .cs = SEL_CODE, .ss = SEL_FLAT, .ds = SEL_FLAT, .fs = SEL_FLAT, .gs = SEL_FLAT,
    };
    set_tss(SEL_TASK_TSS, &task_tss, TYPE_TSS);
    idt[vector] = task_gate(SEL_TASK_TSS);
    memset((void *)&seen, 0, sizeof(seen));
    restarted = 0;
}

static void set_up(void) {
    gdt[SEL_CODE / 8] = GDT_CODE32;
    gdt[SEL_FLAT / 8] = GDT_DATA;
    gdt[SEL_GATE / 8] = task_gate(SEL_TASK_TSS);
    main_tss.cr3 = (uintptr_t)directory[0]; // no switch saves it
    set_tss(SEL_MAIN_TSS, &main_tss, TYPE_TSS);
    for (uint32_t i = 0; i < 1024; i++) {
        directory[0][i] = directory[1][i] = i << 22 | PDE_OPEN_LARGE;
    }
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) gdt_pointer = {sizeof(gdt) - 1, (uintptr_t)gdt},
        idt_pointer = {sizeof(idt) - 1, (uintptr_t)idt};
    __asm__ volatile ("lgdt %0; lidt %1; ljmp %2, $1f; 1: ltr %w3" : : "m" (gdt_pointer), "m" (idt_pointer),
        "i" (SEL_CODE), "r" (SEL_MAIN_TSS) : "memory");
    uint32_t cr4;
    __asm__ volatile ("mov %%cr4, %0" : "=r" (cr4));
    __asm__ volatile ("mov %0, %%cr4; mov %1, %%cr3; mov %2, %%cr0" : : "r" (cr4 | CR4_PSE),
        "r" (directory[0]), "r" (read_cr0() | CR0_PG | CR0_WP) : "memory");
}

// What holds in a task that was entered by CALL, a gate or an event, and after its IRET.
static void expect_nested(const char *name, uint32_t error) {
    bool in = seen.runs == 1 && (seen.eflags & EFLAGS_NT) && (seen.cr0 & CR0_TS) && seen.link == SEL_MAIN_TSS &&
        seen.cr3 == (uintptr_t)directory[1] && seen.main_type == TYPE_TSS_BUSY && seen.task_type == TYPE_TSS_BUSY &&
        seen.error == error;
    bool back = read_cr3() == (uintptr_t)directory[0] && type_of(SEL_MAIN_TSS) == TYPE_TSS_BUSY &&
        type_of(SEL_TASK_TSS) == TYPE_TSS && (read_cr0() & CR0_TS) && !(read_eflags() & EFLAGS_NT);
    expect(name, in && back, "%u runs, EFLAGS %x, CR0 %x, CR3 %x, link %x, types %x %x, error %x; back: CR3 %x, types "
        "%x %x, EFLAGS %x", seen.runs, seen.eflags, seen.cr0, seen.cr3, seen.link, seen.main_type, seen.task_type,
        seen.error, read_cr3(), type_of(SEL_MAIN_TSS), type_of(SEL_TASK_TSS), read_eflags());
    __asm__ volatile ("clts");
}

static void check_calls(void) {
    set_task(plain_task, VECTOR_SOFTWARE);
    __asm__ volatile ("lcall %0, $0xF4F4F4F4" : : "i" (SEL_TASK_TSS) : "memory");
    expect_nested("CALL to a TSS", 0);
    seen.runs = 0;
    __asm__ volatile ("lcall %0, $0xF4F4F4F4" : : "i" (SEL_TASK_TSS) : "memory");
    expect("called again it goes on behind its IRET", restarted == 1, "%u times", restarted);
    set_task(plain_task, VECTOR_SOFTWARE);
    __asm__ volatile ("lcall %0, $0" : : "i" (SEL_GATE) : "memory");
    expect_nested("CALL to a task gate", 0);
    set_task(plain_task, VECTOR_SOFTWARE);
    uint32_t kept = keeps_registers();
    expect("registers are kept", kept != 0, "-");
    if (kept == CARRY_LOST && cpu_is_tcg()) {
        skip("CF is kept", "this emulated CPU forgets it");
    } else {
        expect("CF is kept", kept != CARRY_LOST, "-");
    }
    set_task(jump_task, VECTOR_SOFTWARE);
    __asm__ volatile ("ljmp %0, $0xF4F4F4F4" : : "i" (SEL_TASK_TSS) : "memory");
    bool good = seen.runs == 1 && !(seen.eflags & EFLAGS_NT) && seen.main_type == TYPE_TSS &&
        seen.task_type == TYPE_TSS_BUSY && type_of(SEL_MAIN_TSS) == TYPE_TSS_BUSY && type_of(SEL_TASK_TSS) == TYPE_TSS;
    expect("JMP to a TSS and back", good, "%u runs, EFLAGS %x, types %x %x, then %x %x", seen.runs, seen.eflags,
        seen.main_type, seen.task_type, type_of(SEL_MAIN_TSS), type_of(SEL_TASK_TSS));
}

static void check_events(void) {
    set_task(plain_task, VECTOR_SOFTWARE);
    __asm__ volatile ("int %0" : : "i" (VECTOR_SOFTWARE) : "memory");
    expect_nested("INT through a task gate", 0);
    set_task(plain_task, VECTOR_BP);
    __asm__ volatile ("int3" : : : "memory");
    expect_nested("INT3 through a task gate", 0);
    set_task(plain_task, VECTOR_OF);
    __asm__ volatile ("mov $127, %%al; add $1, %%al; into" : : : "eax", "memory", "cc");
    expect_nested("INTO through a task gate", 0);
    uint32_t quotient = 1500, rest = 0;
    divisor = 0;
    set_task(divide_task, VECTOR_DE);
    __asm__ volatile ("divl %2" : "+a" (quotient), "+d" (rest) : "m" (divisor) : "cc");
    expect_nested("#DE through a task gate", 0);
    expect("#DE: the division is done again", quotient == 500, "%u", quotient);
    set_task(error_task, VECTOR_GP);
    __asm__ volatile (".byte 0x8E, 0xD8" : : "a" (BAD_SELECTOR) : "memory"); // mov %eax, %ds
    expect_nested("#GP through a task gate, with its error code", BAD_SELECTOR);
    set_task(error_task, VECTOR_PF);
    directory[0][ABSENT >> 22] = 0;
    __asm__ volatile ("invlpg (%0)" : : "r" (ABSENT) : "memory");
    *(volatile uint32_t *)ABSENT = 1;
    expect_nested("#PF through a task gate, with its error code", PF_WRITE);
    expect("#PF: CR2", read_cr2() == ABSENT, "%x", read_cr2());
}

static void apic_write(uint32_t offset, uint32_t value) {
    *(volatile uint32_t *)(APIC + offset) = value;
}

static void check_interrupts(void) {
    outb(PIC1_DATA, 0xFF);
    outb(PIC2_DATA, 0xFF);
    apic_write(APIC_SVR, SVR_ENABLED);
    set_task(plain_task, VECTOR_IRQ);
    interrupts_on();
    apic_write(APIC_ICR, ICR_SELF | VECTOR_IRQ);
    for (unsigned i = 0; i < WAIT && seen.runs == 0; i++) {
        cpu_pause();
    }
    interrupts_off();
    apic_write(APIC_EOI, 0);
    expect_nested("an interrupt through a task gate", 0);
    for (unsigned round = 0; round < 2; round++) {
        set_task(plain_task, VECTOR_NMI);
        apic_write(APIC_ICR_HIGH, 0);
        apic_write(APIC_ICR, ICR_ASSERT_NMI);
        for (unsigned i = 0; i < WAIT && seen.runs == 0; i++) {
            cpu_pause();
        }
        expect_nested(round == 0 ? "an NMI through a task gate" : "another one: IRET took its mask away", 0);
    }
}

static void check_vm86(void) {
    vm86_tss = (struct task_state) {
        .cr3 = (uintptr_t)directory[0], .eflags = EFLAGS_VM | 2, .cs = VM86_CODE >> 4,
        .ds = 0x1234, .es = 0x2345, .io_map = sizeof(vm86_tss),
    };
    static const uint8_t nop_ud2[] = {0x90, 0x0F, 0x0B};
    memcpy((void *)VM86_CODE, nop_ud2, sizeof(nop_ud2));
    set_tss(SEL_VM86_TSS, &vm86_tss, TYPE_TSS);
    idt[VECTOR_UD] = task_gate(SEL_MAIN_TSS);
    vm86_switch();
    bool good = vm86_tss.eip == 1 && vm86_tss.cs == VM86_CODE >> 4 && (vm86_tss.eflags & EFLAGS_VM) &&
        vm86_tss.ds == 0x1234 && vm86_tss.es == 0x2345 && (main_tss.link & 0xFFFF) == SEL_VM86_TSS;
    expect("a virtual-8086 task and back by #UD", good, "EIP %x, CS %x, EFLAGS %x, link %x", vm86_tss.eip, vm86_tss.cs,
        vm86_tss.eflags, main_tss.link);
    __asm__ volatile ("pushf; andl $0xFFFFBFFF, (%%esp); popf; clts" : : : "memory", "cc"); // no NT
}

int guest_main(void) {
    set_up();
    check_calls();
    check_events();
    check_interrupts();
    check_vm86();
    return check_end();
}
