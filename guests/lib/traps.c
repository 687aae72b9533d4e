// The IDT of 64-bit guests, and what happens on a trap.
#include "traps.h"
#include "guest.h"
#include "runtime.h"

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_mid;
    uint32_t offset_high, reserved;
};
enum {
    GATE_INTERRUPT64 = 0x8E, // present, DPL 0 (Intel SDM vol. 3, section 6.14.1)
    STUB_SIZE = 16,
};

// Intel SDM vol. 3, figure 8-11; only the stack for CPL 0 is used, and no I/O map.
struct task_state {
    uint32_t reserved0;
    uint64_t rsp[3], reserved1, ist[7], reserved2;
    uint16_t reserved3, io_map;
} __attribute__((packed));
_Static_assert(sizeof(struct task_state) == 104, "the size of a 64-bit TSS");

struct fixup {
    uint64_t from, to;
};

extern const struct fixup fixups_start[], fixups_end[];
extern uint8_t vector_stubs[];
extern uint64_t boot_gdt[];

volatile struct trap last_trap;
volatile uint64_t irq_count[16];
static trap_hook_t hooks[TRAP_VECTORS];
static struct gate idt[TRAP_VECTORS];
static struct task_state tss;
static uint8_t trap_stack[16384] __attribute__((aligned(16))); // for traps from CPL 3

void trap_entry(struct trap_frame *frame);

void traps_init(void) {
    for (unsigned i = 0; i < TRAP_VECTORS; i++) {
        uint64_t stub = (uintptr_t)vector_stubs + i * STUB_SIZE;
        idt[i] = (struct gate) {
            .offset_low = (uint16_t)stub,
            .selector = SEL_CODE64,
            .type = GATE_INTERRUPT64,
            .offset_mid = (uint16_t)(stub >> 16),
            .offset_high = (uint32_t)(stub >> 32),
        };
    }
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (uintptr_t)idt};
    __asm__ volatile ("lidt %0" : : "m" (pointer));

    tss.rsp[0] = (uintptr_t)trap_stack + sizeof(trap_stack);
    tss.io_map = sizeof(tss);
    uint64_t base = (uintptr_t)&tss;
    boot_gdt[SEL_TSS / 8] = (sizeof(tss) - 1) | (base & 0xFFFFFF) << 16 | GDT_TSS_TYPE << 40 |
        (base >> 24 & 0xFF) << 56;
    boot_gdt[SEL_TSS / 8 + 1] = base >> 32;
    __asm__ volatile ("ltr %w0" : : "r" (SEL_TSS));
}

void trap_hook(uint32_t vector, trap_hook_t hook) {
    hooks[vector] = hook;
}

void trap_clear(void) {
    last_trap.taken = false;
}

bool trap_was(uint32_t vector) {
    return last_trap.taken && last_trap.vector == vector;
}

static void keep(const struct trap_frame *frame, uint64_t address) {
    last_trap.vector = (uint32_t)frame->vector;
    last_trap.error = frame->error;
    last_trap.rip = frame->rip;
    last_trap.address = address;
    last_trap.cs = frame->cs;
    last_trap.flags = frame->rflags;
    last_trap.taken = true;
}

static bool fix_up(struct trap_frame *frame) {
    for (const struct fixup *f = fixups_start; f < fixups_end; f++) {
        if (f->from == frame->rip) {
            frame->rip = f->to;
            return true;
        }
    }
    return false;
}

void trap_entry(struct trap_frame *frame) {
    uint32_t vector = (uint32_t)frame->vector;
    uint64_t address = vector == TRAP_PF ? read_cr2() : 0;
    if (hooks[vector] && hooks[vector](frame)) {
        return;
    }
    if (vector >= IRQ_BASE && vector < IRQ_BASE + 16) {
        irq_count[vector - IRQ_BASE]++;
        // Specific to nothing: one level is ever in service here.
        enum { PIC1_COMMAND = 0x20, PIC2_COMMAND = 0xA0, OCW2_EOI = 0x20 };
        if (vector >= IRQ_BASE + 8) {
            outb(PIC2_COMMAND, OCW2_EOI);
        }
        outb(PIC1_COMMAND, OCW2_EOI);
        return;
    }
    struct trap_frame before = *frame;
    if ((frame->cs & 3) == 3) { // CPL 3 ends at its first trap
        keep(&before, address);
        frame->rip = (uintptr_t)user_return;
        frame->cs = SEL_CODE64;
        frame->ss = SEL_DATA;
        frame->rsp = user_saved_rsp;
        frame->rflags = 0x2; // the bit that is always one
        return;
    }
    if (fix_up(frame)) {
        keep(&before, address);
        return;
    }
    print("FAIL trap: unexpected exception %u error %llx at %llx, CR2 %llx\n", vector,
        (unsigned long long)frame->error, (unsigned long long)frame->rip,
        (unsigned long long)address);
    end(STATUS_UNEXPECTED_TRAP);
}
