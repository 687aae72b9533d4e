#include "cpu/trap.h"

#include <stddef.h>

#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/log.h"
#include "cpu/memory.h"
#include "cpu/percpu.h"
#include "cpu/smp.h"
#include "cpu/string.h"

enum {
    VECTOR_DB = 1, VECTOR_NMI = 2, VECTOR_DF = 8, VECTOR_PF = 14, VECTOR_MC = 18,
    FIRST_INTERRUPT = 0x20,
    GATE_INTERRUPT = 0x8E, // present, DPL 0, 64-bit interrupt gate
    TSS_AVAILABLE = 0x89,
    IST_STACK_PAGES = 2,
    MSR_GS_BASE = 0xC0000101,
};
#define RFLAGS_RF (UINT64_C(1) << 16)

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};

// SDM 3A 8.7 / APM 2 12.2.5: the 64-bit TSS.
struct __attribute__((packed)) tss {
    uint32_t reserved0;
    uint64_t rsp[3], reserved1, ist[7], reserved2;
    uint16_t reserved3, io_map;
};
_Static_assert(sizeof(struct tss) == 104, "the TSS is 104 bytes");

struct cpu_tables {
    uint64_t gdt[6]; // null, code64, data, code32, TSS (two entries)
    struct tss tss;
};

struct __attribute__((packed)) table_register {
    uint16_t limit;
    uint64_t base;
};

extern const uint64_t trap_stubs[256];
bool probe_read8(uint64_t *fixup, uint64_t address, uint64_t *value);
bool probe_read16(uint64_t *fixup, uint64_t address, uint64_t *value);
bool probe_read32(uint64_t *fixup, uint64_t address, uint64_t *value);
bool probe_read64(uint64_t *fixup, uint64_t address, uint64_t *value);
bool probe_write8(uint64_t *fixup, uint64_t address, uint64_t value);
bool probe_write16(uint64_t *fixup, uint64_t address, uint64_t value);
bool probe_write32(uint64_t *fixup, uint64_t address, uint64_t value);
bool probe_write64(uint64_t *fixup, uint64_t address, uint64_t value);
bool probe_msr_read(uint64_t *fixup, uint32_t index, uint64_t *value);
bool probe_msr_write(uint64_t *fixup, uint32_t index, uint64_t value);
void trap_handle(struct trap_frame *frame);

static struct gate idt[256];
static struct cpu_tables *tables[CPU_MAX];
static void (*irq_handlers[256])(void);
struct trap_frame *irq_frame;
bool (*trap_recover)(struct trap_frame *frame);

static void load_idt(void) {
    struct table_register r = { sizeof(idt) - 1, (uintptr_t)idt };
    __asm__ volatile ("lidt %0" : : "m" (r));
}

void trap_init_early(void) {
    for (unsigned i = 0; i < 256; i++) {
        uint64_t target = trap_stubs[i];
        idt[i] = (struct gate) {
            .offset_low = (uint16_t)target, .selector = SELECTOR_CODE, .type = GATE_INTERRUPT,
            .offset_middle = (uint16_t)(target >> 16), .offset_high = (uint32_t)(target >> 32),
        };
    }
    // GS must point somewhere before any trap asks for this_cpu().
    cpus[0].self = &cpus[0];
    wrmsr(MSR_GS_BASE, (uintptr_t)&cpus[0]);
    load_idt();
}

int trap_init_cpu(struct cpu *cpu) {
    struct cpu_tables *t = page_alloc(1);
    if (t == NULL) {
        return -ENOMEM;
    }
    static const uint8_t on_ist[] = { VECTOR_NMI, VECTOR_DF, VECTOR_MC };
    for (unsigned i = 0; i < sizeof(on_ist); i++) {
        void *stack = stack_alloc(IST_STACK_PAGES);
        if (stack == NULL) {
            return -ENOMEM;
        }
        t->tss.ist[i] = (uintptr_t)stack;
    }
    t->tss.io_map = sizeof(struct tss);
    uint64_t base = (uintptr_t)&t->tss;
    t->gdt[1] = UINT64_C(0x00AF9B000000FFFF);
    t->gdt[2] = UINT64_C(0x00CF93000000FFFF);
    t->gdt[3] = UINT64_C(0x00CF9B000000FFFF);
    t->gdt[4] = (sizeof(struct tss) - 1) | (base & 0xFFFFFF) << 16 | (uint64_t)TSS_AVAILABLE << 40
        | (base >> 24 & 0xFF) << 56;
    t->gdt[5] = base >> 32;
    tables[cpu->index] = t;

    struct table_register r = { sizeof(t->gdt) - 1, (uintptr_t)t->gdt };
    __asm__ volatile ("lgdt %0" : : "m" (r));
    __asm__ volatile ("ltr %w0" : : "r" (SELECTOR_TSS));
    cpu->self = cpu;
    wrmsr(MSR_GS_BASE, (uintptr_t)cpu);
    // From now on every CPU that loads this IDT has a TSS: NMI, #DF and #MC may switch stacks.
    for (unsigned i = 0; i < sizeof(on_ist); i++) {
        idt[on_ist[i]].ist = (uint8_t)(i + 1);
    }
    load_idt();
    return 0;
}

uint64_t trap_gdt_base(const struct cpu *cpu) {
    return (uintptr_t)tables[cpu->index]->gdt;
}

uint64_t trap_tss_base(const struct cpu *cpu) {
    return (uintptr_t)&tables[cpu->index]->tss;
}

uint64_t trap_idt_base(void) {
    return (uintptr_t)idt;
}

void irq_set_handler(uint8_t vector, void (*handler)(void)) {
    irq_handlers[vector] = handler;
}

static const char *const exception_names[32] = {
    "#DE divide error", "#DB debug", "NMI", "#BP breakpoint", "#OF overflow", "#BR bound range",
    "#UD invalid opcode", "#NM device not available", "#DF double fault", "coprocessor overrun",
    "#TS invalid TSS", "#NP segment not present", "#SS stack fault", "#GP general protection",
    "#PF page fault", "reserved 15", "#MF x87 error", "#AC alignment check", "#MC machine check",
    "#XM SIMD error", "#VE virtualization", "#CP control protection",
};

static _Noreturn void report(const struct trap_frame *f) {
    const char *name = f->vector < 32 ? exception_names[f->vector] : "interrupt";
    log_take_over();
    log_printf("\nvipervisor: CPU %u took %s (vector %lu, error %lx) in the monitor\n",
        this_cpu()->index, name != NULL ? name : "reserved", f->vector, f->error);
    log_printf("  rip %016lx  cs %04lx  rflags %08lx  cr2 %016lx  cr3 %lx\n",
        f->rip, f->cs, f->rflags, read_cr2(), read_cr3());
    log_printf("  rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
    log_printf("  rsi %016lx  rdi %016lx  rbp %016lx  rsp %016lx\n", f->rsi, f->rdi, f->rbp, f->rsp);
    log_printf("  r8  %016lx  r9  %016lx  r10 %016lx  r11 %016lx\n", f->r8, f->r9, f->r10, f->r11);
    log_printf("  r12 %016lx  r13 %016lx  r14 %016lx  r15 %016lx\n", f->r12, f->r13, f->r14, f->r15);
    for (int i = 0; i < 24; i++) {
        uint64_t word;
        if (!probe_read(f->rsp + (uint64_t)i * 8, 8, &word)) {
            break;
        }
        log_printf("%s%016lx", i % 4 == 0 ? (i == 0 ? "  stack " : "\n        ") : " ", word);
    }
    panic("%s at %lx", name != NULL ? name : "exception", f->rip);
}

void trap_handle(struct trap_frame *f) {
    struct cpu *cpu = this_cpu();
    if (f->vector >= FIRST_INTERRUPT) {
        if (f->vector == VECTOR_SPURIOUS) {
            return; // no EOI: SDM 3A 11.9
        }
        cpu->irqs++;
        bool control = cpu->index == CPU_CONTROL;
        if (control) {
            irq_frame = f;
        }
        if (irq_handlers[f->vector] != NULL) {
            irq_handlers[f->vector]();
        }
        if (control) {
            irq_frame = NULL;
        }
        apic_eoi();
        return;
    }
    if (f->vector == VECTOR_NMI) {
        cpu->nmis++;
        return;
    }
    if (f->vector == VECTOR_DB) {
        // A breakpoint that a guest left armed can hit the monitor's code on the way
        // (facts: TCG keeps DR0-3 live in root mode). Step over it.
        f->rflags |= RFLAGS_RF;
        cpu->stray_debug++;
        return;
    }
    if (cpu->fixup_rip != 0) {
        f->rip = cpu->fixup_rip;
        cpu->fixup_rip = 0;
        return;
    }
    if (cpu->index == CPU_CONTROL && trap_recover != NULL && trap_recover(f)) {
        return;
    }
    report(f);
}

bool probe_read(uint64_t address, unsigned size, uint64_t *value) {
    uint64_t *fixup = &this_cpu()->fixup_rip;
    switch (size) {
        case 1: return probe_read8(fixup, address, value);
        case 2: return probe_read16(fixup, address, value);
        case 4: return probe_read32(fixup, address, value);
        default: return probe_read64(fixup, address, value);
    }
}

bool probe_write(uint64_t address, unsigned size, uint64_t value) {
    uint64_t *fixup = &this_cpu()->fixup_rip;
    switch (size) {
        case 1: return probe_write8(fixup, address, value);
        case 2: return probe_write16(fixup, address, value);
        case 4: return probe_write32(fixup, address, value);
        default: return probe_write64(fixup, address, value);
    }
}

bool probe_rdmsr(uint32_t index, uint64_t *value) {
    return probe_msr_read(&this_cpu()->fixup_rip, index, value);
}

bool probe_wrmsr(uint32_t index, uint64_t value) {
    return probe_msr_write(&this_cpu()->fixup_rip, index, value);
}
