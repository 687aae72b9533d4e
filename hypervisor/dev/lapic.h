// The local APIC of one vCPU, as xAPIC and as x2APIC (SDM volume 3A, chapter 10).
//
// It belongs to the CPU that runs the vCPU. Others only post to it: lapic_post and the
// readers of its address (lapic_addressed) may be called anywhere, everything else by
// the owner alone. Time is the vCPU's own TSC.
#ifndef VIPERVISOR_DEV_LAPIC_H
#define VIPERVISOR_DEV_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

#define LAPIC_VERSION 1
#define LAPIC_CRYSTAL_MAX 25000000 // Hz; hv/cpuid.py shows the same
#define LAPIC_WORDS 8 // of 32 vectors each

// Registers, by their offset in the page divided by 16, which is also the x2APIC MSR
// less 0x800 (10.4.1, 10.12.1.2).
enum {
    LAPIC_ID = 0x02,
    LAPIC_VERSION_REG = 0x03,
    LAPIC_TPR = 0x08,
    LAPIC_APR = 0x09,
    LAPIC_PPR = 0x0A,
    LAPIC_EOI = 0x0B,
    LAPIC_RRD = 0x0C,
    LAPIC_LDR = 0x0D,
    LAPIC_DFR = 0x0E,
    LAPIC_SVR = 0x0F,
    LAPIC_ISR = 0x10,
    LAPIC_TMR = 0x18,
    LAPIC_IRR = 0x20,
    LAPIC_ESR = 0x28,
    LAPIC_ICR = 0x30,
    LAPIC_ICR_HIGH = 0x31,
    LAPIC_LVT_TIMER = 0x32,
    LAPIC_LVT_THERMAL = 0x33,
    LAPIC_LVT_PERFORMANCE = 0x34,
    LAPIC_LVT_LINT0 = 0x35,
    LAPIC_LVT_LINT1 = 0x36,
    LAPIC_LVT_ERROR = 0x37,
    LAPIC_INITIAL_COUNT = 0x38,
    LAPIC_CURRENT_COUNT = 0x39,
    LAPIC_DIVIDE = 0x3E,
    LAPIC_SELF_IPI = 0x3F, // x2APIC only
};
#define LAPIC_SPACING 16 // of registers in the page
#define LAPIC_LVTS 6 // LVT_TIMER to LVT_ERROR

// Delivery modes of LVT, ICR and I/O APIC entries (10.5.1, 10.6.1).
enum {
    APIC_FIXED = 0,
    APIC_LOWEST = 1,
    APIC_SMI = 2,
    APIC_NMI = 4,
    APIC_INIT = 5,
    APIC_STARTUP = 6,
    APIC_EXTINT = 7,
};

enum apic_shorthand { APIC_NO_SHORTHAND, APIC_SELF, APIC_ALL, APIC_OTHERS };

#define APIC_EVERYBODY UINT32_MAX // physical destination of all
#define APIC_EVERYBODY_8 0xFF // the same in 8 bits: xAPIC and I/O APIC

// An interrupt on its way to one APIC or several.
struct apic_message {
    uint32_t destination;
    uint8_t vector;
    uint8_t mode; // APIC_FIXED ...
    uint8_t shorthand; // enum apic_shorthand
    bool logical, level;
};

// IA32_APIC_BASE (10.4.4, 10.12.1).
#define APIC_BASE_ADDRESS UINT64_C(0xFEE00000)
#define APIC_BASE_BSP (UINT64_C(1) << 8)
#define APIC_BASE_EXTD (UINT64_C(1) << 10)
#define APIC_BASE_EN (UINT64_C(1) << 11)
#define APIC_BASE_RESERVED UINT64_C(0x2FF)

// What an access asks of the caller, besides changing the device.
enum {
    LAPIC_RECHECK = 1 << 0, // what can be delivered may have changed
    LAPIC_TIMER = 1 << 1, // lapic_timer_next has changed
    LAPIC_SEND = 1 << 2, // send lapic_message()
    LAPIC_EOI_LEVEL = 1 << 3, // tell the I/O APIC of the vector in bits 15-8
    LAPIC_TPR_SET = 1 << 4, // the CPU's CR8 follows
    LAPIC_FAULT = 1 << 5, // #GP (x2APIC)
    LAPIC_VECTOR_SHIFT = 8,
};

struct lapic {
    uint32_t version;
    uint32_t id;
    uint64_t base; // IA32_APIC_BASE
    uint64_t unit; // TSC ticks of one count, undivided
    uint32_t tpr, ldr, dfr, svr;
    uint32_t esr, errors; // as read, and gathered since
    uint32_t icr, icr_high;
    uint32_t lvt[LAPIC_LVTS];
    uint32_t irr[LAPIC_WORDS], isr[LAPIC_WORDS], tmr[LAPIC_WORDS];
    uint8_t irr_words, isr_words; // one bit for each word that is not 0
    uint32_t initial, divide;
    uint64_t due; // the timer's next expiry, UINT64_MAX: none
    uint64_t deadline; // IA32_TSC_DEADLINE
    // Posted by others and not yet taken into IRR; `level` is the trigger mode.
    volatile uint32_t posted[LAPIC_WORDS], posted_level[LAPIC_WORDS];
    volatile uint32_t posted_words;
};

// As after power-on; what firmware does for the boot CPU is done: enabled, LINT0 is
// ExtINT and LINT1 is NMI (MultiProcessor Specification 3.6.2.2, virtual wire).
void lapic_init(struct lapic *l, uint32_t id, uint64_t tsc_hz, bool boot);
void lapic_reset(struct lapic *l); // INIT: keeps its id and mode

static inline bool lapic_enabled(const struct lapic *l) {
    return (l->base & APIC_BASE_EN) != 0;
}
static inline bool lapic_is_x2(const struct lapic *l) {
    return (l->base & APIC_BASE_EXTD) != 0;
}

uint32_t lapic_eoi(struct lapic *l); // as a write of EOI
// The page of the xAPIC. Callers see to it that it is there: enabled, not x2APIC.
uint32_t lapic_read(struct lapic *l, uint64_t tsc, uint32_t reg);
uint32_t lapic_write(struct lapic *l, uint64_t tsc, uint32_t reg, uint32_t value);
// The MSRs 0x800 to 0x83F. False, or LAPIC_FAULT: #GP.
bool lapic_msr_read(struct lapic *l, uint64_t tsc, uint32_t reg, uint64_t *value);
uint32_t lapic_msr_write(struct lapic *l, uint64_t tsc, uint32_t reg, uint64_t value);
// IA32_APIC_BASE; whether its page can be there is the caller's to know.
uint32_t lapic_base_write(struct lapic *l, uint64_t value);
// IA32_TSC_DEADLINE
uint64_t lapic_deadline_read(const struct lapic *l);
uint32_t lapic_deadline_write(struct lapic *l, uint64_t value);

// What the last LAPIC_SEND sends.
struct apic_message lapic_message(const struct lapic *l);

uint64_t lapic_timer_next(const struct lapic *l); // TSC, UINT64_MAX: never
bool lapic_timer_update(struct lapic *l, uint64_t tsc); // true: LAPIC_RECHECK
void lapic_tsc_moved(struct lapic *l, uint64_t delta); // software set the TSC

// A fixed interrupt for this vCPU, by its owner and by anybody.
void lapic_accept(struct lapic *l, uint8_t vector, bool level);
void lapic_post(struct lapic *l, uint8_t vector, bool level);

// The vector that the CPU is to take now, or -1; posted ones are taken in first.
int lapic_pending(struct lapic *l);
// The highest that waits, whatever TPR says, is held back by TPR alone.
bool lapic_blocked_by_tpr(const struct lapic *l);
void lapic_ack(struct lapic *l, uint8_t vector); // it is taken
// The line of the 8259 reaches the CPU through LINT0, or directly.
bool lapic_takes_extint(const struct lapic *l);
// Delivery mode of LINT1 where it is unmasked, -1 where it is masked.
int lapic_lint1(const struct lapic *l);

// Whether a destination means this APIC.
bool lapic_addressed(const struct lapic *l, uint32_t destination, bool logical);
uint32_t lapic_priority(const struct lapic *l); // for lowest-priority delivery

#endif
