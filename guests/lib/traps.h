// Exceptions and interrupts of 64-bit guests.
//
// An instruction that may fault is written with GUARD(): when it does, the trap is
// kept in `last_trap` and the guest goes on behind it. Any other exception ends
// the guest with a message.
#ifndef GUEST_TRAPS_H
#define GUEST_TRAPS_H

#include <stdbool.h>
#include <stdint.h>

// Intel SDM vol. 3, table 6-1.
enum {
    TRAP_DE = 0,
    TRAP_DB = 1,
    TRAP_BP = 3,
    TRAP_UD = 6,
    TRAP_NM = 7,
    TRAP_DF = 8,
    TRAP_NP = 11,
    TRAP_SS = 12,
    TRAP_GP = 13,
    TRAP_PF = 14,
    TRAP_MF = 16,
    TRAP_AC = 17,
    TRAP_XM = 19,
    IRQ_BASE = 32, // where irq_init() puts the 8259's line 0
    TRAP_VECTORS = 256,
};

struct trap {
    bool taken;
    uint32_t vector;
    uint64_t error; // 0 where the CPU pushes none
    uint64_t rip;
    uint64_t address; // CR2 of a page fault
    uint64_t cs, flags;
};
extern volatile struct trap last_trap;

void trap_clear(void);
bool trap_was(uint32_t vector); // the guarded instruction raised exactly this

// GUARD("insn") is text for asm(): insn, and where to go on when it faults.
#define GUARD(insn) \
    "771: " insn "\n" \
    "772:\n" \
    ".pushsection .fixups, \"a\"\n" \
    ".quad 771b, 772b\n" \
    ".popsection\n"

// What the assembly stubs push, lowest address first.
struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

// A hook sees a vector before everything else; true: dealt with.
typedef bool (*trap_hook_t)(struct trap_frame *frame);
void trap_hook(uint32_t vector, trap_hook_t hook);

// irq.c: the 8259 pair with its lines at IRQ_BASE, all masked but those asked for.
void irq_init(void);
void irq_unmask(unsigned line);
void irq_mask(unsigned line);
extern volatile uint64_t irq_count[16];
void pit_periodic(unsigned hz); // channel 0, mode 2, IRQ 0

// user.S: runs `code` at CPL 3 until it traps; the trap is in last_trap.
void user_run(void (*code)(void));
void user_run_with(void (*code)(void), uint64_t rflags); // 0x3002: may use ports
// The same at CPL 0, where a hook must end it: RIP user_return, RSP user_saved_rsp.
void kernel_run(void (*code)(void));
extern uint8_t user_return[];
extern uint64_t user_saved_rsp;

#endif
