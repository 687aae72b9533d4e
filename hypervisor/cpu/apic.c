// Local APIC (xAPIC and x2APIC), I/O APIC, 8259 and the clocks (SDM 3A chapter 11).
#include <stdbool.h>
#include <stddef.h>

#include "cpu/acpi.h"
#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/log.h"
#include "cpu/memory.h"
#include "cpu/percpu.h"
#include "cpu/smp.h"

enum {
    MSR_APIC_BASE = 0x1B, MSR_TSC_DEADLINE = 0x6E0, MSR_X2APIC_FIRST = 0x800,
    APIC_BASE_X2 = 1 << 10, APIC_BASE_ENABLE = 1 << 11,
    APIC_ID = 0x20, APIC_TPR = 0x80, APIC_EOI = 0xB0, APIC_SVR = 0xF0, APIC_ICR = 0x300, APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320, APIC_LVT_LINT0 = 0x350, APIC_LVT_LINT1 = 0x360, APIC_LVT_ERROR = 0x370,
    APIC_TIMER_COUNT = 0x380, APIC_TIMER_CURRENT = 0x390, APIC_TIMER_DIVIDE = 0x3E0,
    SVR_ENABLE = 0x100, LVT_MASKED = 0x10000, LVT_NMI = 0x400, LVT_TSC_DEADLINE = 0x40000,
    ICR_BUSY = 0x1000,
    DIVIDE_BY_1 = 0xB,
    CPUID1_ECX_TSC_DEADLINE = 24,
    IOAPIC_SELECT = 0, IOAPIC_WINDOW = 0x10, IOAPIC_VERSION = 1, IOAPIC_REDIRECTION = 0x10,
    REDIR_LOW_ACTIVE = 0x2000, REDIR_LEVEL = 0x8000, REDIR_MASKED = 0x10000,
    INTI_POLARITY_LOW = 3, INTI_TRIGGER_LEVEL = 0xC,
    PIC1_COMMAND = 0x20, PIC1_DATA = 0x21, PIC2_COMMAND = 0xA0, PIC2_DATA = 0xA1,
    ICW1_INIT_ICW4 = 0x11, ICW4_8086 = 1, PIC_EOI = 0x20, PIC_CASCADE = 2,
    PIT_CHANNEL2 = 0x42, PIT_COMMAND = 0x43, PIT_GATE = 0x61,
    PIT_CH2_LOHI_MODE0 = 0xB0, PIT_CH2_LATCH = 0x80,
    PIT_HZ = 1193182,
    CALIBRATION_TICKS = PIT_HZ / 100, // 10 ms
    CALIBRATION_TRIES = 8,
};

uint64_t tsc_hz;
static volatile uint8_t *apic; // NULL in x2APIC mode
static bool x2apic, tsc_deadline, use_pic;
static uint64_t timer_per_tsc; // APIC timer ticks per TSC tick, 32.32 fixed point
static volatile uint32_t *ioapic;

static uint32_t apic_read(uint32_t reg) {
    return x2apic ? (uint32_t)rdmsr(MSR_X2APIC_FIRST + reg / 16) : *(volatile uint32_t *)(apic + reg);
}

static void apic_write(uint32_t reg, uint32_t value) {
    if (x2apic) {
        wrmsr(MSR_X2APIC_FIRST + reg / 16, value);
    } else {
        *(volatile uint32_t *)(apic + reg) = value;
    }
}

uint32_t apic_id(void) {
    return x2apic ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

void apic_eoi(void) {
    apic_write(APIC_EOI, 0);
}

void apic_send_raw(uint32_t target, uint32_t command) {
    if (x2apic) {
        wrmsr(MSR_X2APIC_FIRST + APIC_ICR / 16, (uint64_t)target << 32 | command);
        return;
    }
    uint64_t flags = irq_save(); // ICR is two writes: an interrupt between them may send too
    // Before, not after: who was just sent something uses the emulator's or the bus's lock now.
    while ((apic_read(APIC_ICR) & ICR_BUSY) != 0) {
        cpu_pause();
    }
    apic_write(APIC_ICR_HIGH, target << 24);
    apic_write(APIC_ICR, command);
    irq_restore(flags);
}

void apic_send(uint32_t target, uint8_t vector) {
    apic_send_raw(target, vector);
}

void cpu_kick(struct cpu *cpu) {
    apic_send(cpu->apic_id, VECTOR_KICK);
}

void apic_init_cpu(void) {
    uint64_t base = rdmsr(MSR_APIC_BASE);
    if ((base & APIC_BASE_ENABLE) == 0) {
        base |= APIC_BASE_ENABLE;
        wrmsr(MSR_APIC_BASE, base);
    }
    x2apic = (base & APIC_BASE_X2) != 0; // taken as the firmware left it
    if (!x2apic && apic == NULL) {
        apic = mmio_map(base & UINT64_C(0xFFFFFF000), PAGE_SIZE);
    }
    apic_write(APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
    apic_write(APIC_TPR, 0);
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
    apic_write(APIC_LVT_LINT1, LVT_NMI);
    apic_write(APIC_LVT_ERROR, LVT_MASKED);
    apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
    tsc_deadline = (cpuid(1, 0).ecx >> CPUID1_ECX_TSC_DEADLINE & 1) != 0;
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER | (tsc_deadline ? LVT_TSC_DEADLINE : 0));
}

// ---- Time ----

// PIT, TSC and APIC timer read as nearly at once as can be: the reading with the
// shortest way between its two TSC stamps out of a few, since a hypervisor or an
// emulator below may take the CPU away in between.
struct clock_sample {
    uint64_t tsc, bracket;
    uint32_t timer;
    uint16_t pit;
};

static struct clock_sample sample_clocks(void) {
    struct clock_sample best = { .bracket = UINT64_MAX };
    for (int i = 0; i < CALIBRATION_TRIES; i++) {
        uint64_t before = rdtsc();
        outb(PIT_COMMAND, PIT_CH2_LATCH);
        uint8_t low = inb(PIT_CHANNEL2);
        uint8_t high = inb(PIT_CHANNEL2);
        uint32_t timer = apic_read(APIC_TIMER_CURRENT);
        uint64_t after = rdtsc();
        if (after - before < best.bracket) {
            best = (struct clock_sample) { before + (after - before) / 2, after - before, timer,
                (uint16_t)(high << 8 | low) };
        }
    }
    return best;
}

void time_init(void) {
    uint32_t mode = apic_read(APIC_LVT_TIMER);
    apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER); // one-shot while measuring
    apic_write(APIC_TIMER_COUNT, UINT32_MAX);
    uint8_t gate = inb(PIT_GATE) & 0xFC;
    outb(PIT_GATE, gate | 1); // channel 2 counts, speaker off
    outb(PIT_COMMAND, PIT_CH2_LOHI_MODE0);
    outb(PIT_CHANNEL2, 0xFF);
    outb(PIT_CHANNEL2, 0xFF); // 55 ms to its end: far longer than the window
    struct clock_sample start = sample_clocks(), end;
    do {
        end = sample_clocks();
    } while ((uint16_t)(start.pit - end.pit) < CALIBRATION_TICKS);
    apic_write(APIC_TIMER_COUNT, 0);
    outb(PIT_GATE, gate);
    uint64_t tsc = end.tsc - start.tsc, ticks = (uint16_t)(start.pit - end.pit);
    tsc_hz = tsc * PIT_HZ / ticks;
    if (tsc_hz == 0) {
        panic("the TSC does not count");
    }
    timer_per_tsc = ((uint64_t)(start.timer - end.timer) << 32) / tsc;
    apic_write(APIC_LVT_TIMER, mode);
}

uint64_t ns_to_tsc(uint64_t ns) {
    return ns / 1000000000 * tsc_hz + ns % 1000000000 * tsc_hz / 1000000000;
}

uint64_t tsc_to_ns(uint64_t tsc) {
    return tsc / tsc_hz * 1000000000 + tsc % tsc_hz * 1000000000 / tsc_hz;
}

void delay_us(uint32_t us) {
    uint64_t end = rdtsc() + ns_to_tsc((uint64_t)us * 1000);
    while (rdtsc() < end) {
        cpu_pause();
    }
}

void timer_arm(uint64_t deadline) {
    struct cpu *cpu = this_cpu();
    cpu->timer_deadline = deadline;
    if (tsc_deadline) {
        wrmsr(MSR_TSC_DEADLINE, deadline);
        return;
    }
    uint64_t count = 0;
    if (deadline != 0) {
        uint64_t now = rdtsc();
        uint64_t ticks = deadline > now ? deadline - now : 0;
        if (ticks > UINT32_MAX) {
            ticks = UINT32_MAX; // comes early; whoever armed it arms again
        }
        count = ticks * (timer_per_tsc >> 16) >> 16;
        count = count == 0 ? 1 : count > UINT32_MAX ? UINT32_MAX : count;
    }
    apic_write(APIC_TIMER_COUNT, (uint32_t)count);
}

// ---- ISA interrupts: to the control CPU only ----

void pic_mask_all(void) {
    outb(PIC1_COMMAND, ICW1_INIT_ICW4);
    outb(PIC2_COMMAND, ICW1_INIT_ICW4);
    outb(PIC1_DATA, VECTOR_ISA);
    outb(PIC2_DATA, VECTOR_ISA + 8);
    outb(PIC1_DATA, 1 << PIC_CASCADE);
    outb(PIC2_DATA, PIC_CASCADE);
    outb(PIC1_DATA, ICW4_8086);
    outb(PIC2_DATA, ICW4_8086);
    outb(PIC1_DATA, 0xFF);
    outb(PIC2_DATA, 0xFF);
}

static uint32_t ioapic_read(uint32_t reg) {
    ioapic[IOAPIC_SELECT / 4] = reg;
    return ioapic[IOAPIC_WINDOW / 4];
}

static void ioapic_write(uint32_t reg, uint32_t value) {
    ioapic[IOAPIC_SELECT / 4] = reg;
    ioapic[IOAPIC_WINDOW / 4] = value;
}

void irq_init(void) {
    if (acpi.io_apic != 0) {
        ioapic = mmio_map(acpi.io_apic, PAGE_SIZE);
    }
    use_pic = ioapic == NULL;
    if (use_pic) {
        return;
    }
    uint32_t pins = (ioapic_read(IOAPIC_VERSION) >> 16 & 0xFF) + 1;
    for (uint32_t pin = 0; pin < pins; pin++) {
        ioapic_write(IOAPIC_REDIRECTION + 2 * pin, REDIR_MASKED);
    }
}

// Which handlers the 8259 needs an EOI for.
static void (*isa_handlers[16])(void);

static void pic_served(uint8_t irq) {
    isa_handlers[irq]();
    if (use_pic) {
        if (irq >= 8) {
            outb(PIC2_COMMAND, PIC_EOI);
        }
        outb(PIC1_COMMAND, PIC_EOI);
    }
}

#define DEFINE_ISA(n) static void isa_##n(void) { pic_served(n); }
DEFINE_ISA(0) DEFINE_ISA(1) DEFINE_ISA(2) DEFINE_ISA(3) DEFINE_ISA(4) DEFINE_ISA(5) DEFINE_ISA(6) DEFINE_ISA(7)
DEFINE_ISA(8) DEFINE_ISA(9) DEFINE_ISA(10) DEFINE_ISA(11) DEFINE_ISA(12) DEFINE_ISA(13) DEFINE_ISA(14)
DEFINE_ISA(15)
static void (*const isa_entries[16])(void) = {
    isa_0, isa_1, isa_2, isa_3, isa_4, isa_5, isa_6, isa_7,
    isa_8, isa_9, isa_10, isa_11, isa_12, isa_13, isa_14, isa_15,
};

int isa_irq_enable(uint8_t irq, void (*handler)(void)) {
    if (irq > 15 || irq == PIC_CASCADE) {
        return -EINVAL;
    }
    isa_handlers[irq] = handler;
    irq_set_handler((uint8_t)(VECTOR_ISA + irq), isa_entries[irq]);
    if (use_pic) {
        apic_write(APIC_LVT_LINT0, 0x700); // ExtINT
        uint16_t port = irq < 8 ? PIC1_DATA : PIC2_DATA;
        outb(port, (uint8_t)(inb(port) & ~(1 << (irq % 8))));
        outb(PIC1_DATA, (uint8_t)(inb(PIC1_DATA) & ~(irq >= 8 ? 1 << PIC_CASCADE : 0)));
        return 0;
    }
    uint32_t pin = acpi.isa_gsi[irq] - acpi.io_apic_gsi_base;
    uint32_t low = (uint32_t)(VECTOR_ISA + irq);
    if ((acpi.isa_flags[irq] & 3) == INTI_POLARITY_LOW) {
        low |= REDIR_LOW_ACTIVE;
    }
    if ((acpi.isa_flags[irq] & 0xC) == INTI_TRIGGER_LEVEL) {
        low |= REDIR_LEVEL;
    }
    ioapic_write(IOAPIC_REDIRECTION + 2 * pin + 1, cpus[CPU_CONTROL].apic_id << 24);
    ioapic_write(IOAPIC_REDIRECTION + 2 * pin, low);
    return 0;
}
