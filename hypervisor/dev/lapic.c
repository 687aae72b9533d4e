// Local APIC: registers, priorities, what is pending. The timer is lapic_timer.c.
#include "dev/lapic.h"

#include "dev/lapic_lvt.h"

enum {
    // P6 and later, six LVT entries, EOI broadcast cannot be suppressed (10.4.8).
    VERSION_VALUE = 0x14 | (LAPIC_LVTS - 1) << 16,
    VECTORS_RESERVED = 16,
    PRIORITY_CLASS = 0xF0,
    SVR_ENABLE = 1 << 8,
    SVR_WRITABLE = 0x3FF,
    SVR_RESET = 0xFF,
    DFR_RESERVED = 0x0FFFFFFF,
    DFR_FLAT = 0xF,
    LDR_SHIFT = 24,
    ICR_WRITABLE = 0x000CCFFF,
    ICR_MODE_SHIFT = 8,
    ICR_LOGICAL = 1 << 11,
    ICR_LEVEL_ASSERT = 1 << 14,
    ICR_TRIGGER_LEVEL = 1 << 15,
    ICR_SHORTHAND_SHIFT = 18,
    LVT_MODE_SHIFT = 8,
    LVT_MODE_MASK = 7,
    // Errors (10.5.3).
    ERROR_SEND_ILLEGAL = 1 << 5,
    ERROR_RECEIVE_ILLEGAL = 1 << 6,
    ERROR_REGISTER = 1 << 7,
};

// What software may change of each LVT entry (10.5.1, figure 10-8).
static const uint32_t lvt_writable[LAPIC_LVTS] = {0x700FF, 0x107FF, 0x107FF, 0x1A7FF, 0x1A7FF, 0x100FF};

static void set_bit(uint32_t *words, uint8_t *summary, uint8_t vector) {
    words[vector / 32] |= UINT32_C(1) << vector % 32;
    *summary |= (uint8_t)(1u << vector / 32);
}

static void clear_bit(uint32_t *words, uint8_t *summary, uint8_t vector) {
    words[vector / 32] &= ~(UINT32_C(1) << vector % 32);
    if (words[vector / 32] == 0) {
        *summary &= (uint8_t)~(1u << vector / 32);
    }
}

static int highest(const uint32_t *words, uint8_t summary) {
    if (summary == 0) {
        return -1;
    }
    int word = 31 - __builtin_clz(summary);
    return word * 32 + 31 - __builtin_clz(words[word]);
}

static uint32_t isr_class(const struct lapic *l) {
    int vector = highest(l->isr, l->isr_words);
    return vector < 0 ? 0 : (uint32_t)vector & PRIORITY_CLASS;
}

// 10.8.3.1
static uint32_t ppr(const struct lapic *l) {
    uint32_t in_service = isr_class(l);
    return (l->tpr & PRIORITY_CLASS) >= in_service ? l->tpr : in_service;
}

static void reset_registers(struct lapic *l) {
    l->tpr = l->ldr = l->esr = l->errors = l->icr = l->icr_high = 0;
    l->dfr = UINT32_MAX;
    l->svr = SVR_RESET;
    for (int i = 0; i < LAPIC_LVTS; i++) {
        l->lvt[i] = LVT_MASKED;
    }
    for (int i = 0; i < LAPIC_WORDS; i++) {
        l->irr[i] = l->isr[i] = l->tmr[i] = 0;
    }
    l->irr_words = l->isr_words = 0;
    l->initial = l->divide = 0;
    l->due = UINT64_MAX;
    l->deadline = 0;
}

// What was posted before goes too.
static void drop_posted(struct lapic *l) {
    __atomic_store_n(&l->posted_words, 0, __ATOMIC_SEQ_CST);
    for (int i = 0; i < LAPIC_WORDS; i++) {
        __atomic_store_n(&l->posted[i], 0, __ATOMIC_SEQ_CST);
    }
}

void lapic_init(struct lapic *l, uint32_t id, uint64_t tsc_hz, bool boot) {
    *l = (struct lapic){.version = LAPIC_VERSION, .id = id};
    // The timer counts with the crystal that CPUID leaf 0x15 tells of (10.5.4): the
    // TSC's rate, divided until it is as slow as a real one.
    l->unit = tsc_hz > LAPIC_CRYSTAL_MAX ? (tsc_hz + LAPIC_CRYSTAL_MAX - 1) / LAPIC_CRYSTAL_MAX : 1;
    l->base = APIC_BASE_ADDRESS | APIC_BASE_EN | (boot ? APIC_BASE_BSP : 0);
    reset_registers(l);
    if (boot) {
        l->svr |= SVR_ENABLE;
        l->lvt[LAPIC_LVT_LINT0 - LAPIC_LVT_TIMER] = APIC_EXTINT << LVT_MODE_SHIFT;
        l->lvt[LAPIC_LVT_LINT1 - LAPIC_LVT_TIMER] = APIC_NMI << LVT_MODE_SHIFT;
    }
}

void lapic_reset(struct lapic *l) {
    reset_registers(l);
    drop_posted(l);
}

static bool software_enabled(const struct lapic *l) {
    return l->svr & SVR_ENABLE;
}

static void error(struct lapic *l, uint32_t bit);

void lapic_accept(struct lapic *l, uint8_t vector, bool level) {
    if (vector < VECTORS_RESERVED) {
        error(l, ERROR_RECEIVE_ILLEGAL);
        return;
    }
    if (!lapic_enabled(l) || !software_enabled(l)) {
        return; // 10.4.7.2: a disabled APIC answers INIT, NMI, SMI and start-up only
    }
    set_bit(l->irr, &l->irr_words, vector);
    uint32_t bit = UINT32_C(1) << vector % 32;
    l->tmr[vector / 32] = (l->tmr[vector / 32] & ~bit) | (level ? bit : 0);
}

bool lvt_raise(struct lapic *l, uint32_t reg) {
    uint32_t entry = l->lvt[reg - LAPIC_LVT_TIMER];
    uint32_t mode = reg == LAPIC_LVT_TIMER || reg == LAPIC_LVT_ERROR ? APIC_FIXED
        : entry >> LVT_MODE_SHIFT & LVT_MODE_MASK;
    if (!(entry & LVT_MASKED) && mode == APIC_FIXED) {
        lapic_accept(l, (uint8_t)entry, false);
        return true;
    }
    return false;
}

// An illegal vector in the error entry itself must not lead here again.
static void error(struct lapic *l, uint32_t bit) {
    l->errors |= bit;
    if ((uint8_t)l->lvt[LAPIC_LVT_ERROR - LAPIC_LVT_TIMER] >= VECTORS_RESERVED) {
        lvt_raise(l, LAPIC_LVT_ERROR);
    }
}

void lapic_post(struct lapic *l, uint8_t vector, bool level) {
    uint32_t word = vector / 32, bit = UINT32_C(1) << vector % 32;
    if (level) {
        __atomic_fetch_or(&l->posted_level[word], bit, __ATOMIC_RELAXED);
    } else if (l->posted_level[word] & bit) {
        __atomic_fetch_and(&l->posted_level[word], ~bit, __ATOMIC_RELAXED);
    }
    __atomic_fetch_or(&l->posted[word], bit, __ATOMIC_RELEASE);
    __atomic_fetch_or(&l->posted_words, 1u << word, __ATOMIC_RELEASE);
}

static __attribute__((noinline)) void take_posted(struct lapic *l) {
    uint32_t words = __atomic_exchange_n(&l->posted_words, 0, __ATOMIC_ACQ_REL);
    for (; words != 0; words &= words - 1) {
        uint32_t word = (uint32_t)__builtin_ctz(words);
        uint32_t bits = __atomic_exchange_n(&l->posted[word], 0, __ATOMIC_ACQ_REL);
        for (; bits != 0; bits &= bits - 1) {
            uint32_t bit = (uint32_t)__builtin_ctz(bits);
            lapic_accept(l, (uint8_t)(word * 32 + bit), l->posted_level[word] >> bit & 1);
        }
    }
}

// ---- What the CPU is to take ----

int lapic_pending(struct lapic *l) {
    if (l->posted_words != 0) {
        take_posted(l);
    }
    int vector = highest(l->irr, l->irr_words);
    if (vector < 0 || ((uint32_t)vector & PRIORITY_CLASS) <= (ppr(l) & PRIORITY_CLASS)) {
        return -1;
    }
    return vector;
}

bool lapic_blocked_by_tpr(const struct lapic *l) {
    int vector = highest(l->irr, l->irr_words);
    uint32_t class = vector < 0 ? 0 : (uint32_t)vector & PRIORITY_CLASS;
    return class > isr_class(l) && class <= (l->tpr & PRIORITY_CLASS);
}

void lapic_ack(struct lapic *l, uint8_t vector) {
    clear_bit(l->irr, &l->irr_words, vector);
    set_bit(l->isr, &l->isr_words, vector);
}

bool lapic_takes_extint(const struct lapic *l) {
    uint32_t entry = l->lvt[LAPIC_LVT_LINT0 - LAPIC_LVT_TIMER];
    return !lapic_enabled(l)
        || (!(entry & LVT_MASKED) && (entry >> LVT_MODE_SHIFT & LVT_MODE_MASK) == APIC_EXTINT);
}

int lapic_lint1(const struct lapic *l) {
    uint32_t entry = l->lvt[LAPIC_LVT_LINT1 - LAPIC_LVT_TIMER];
    if (!lapic_enabled(l)) {
        return APIC_NMI;
    }
    return entry & LVT_MASKED ? -1 : (int)(entry >> LVT_MODE_SHIFT & LVT_MODE_MASK);
}

uint32_t lapic_eoi(struct lapic *l) {
    int vector = highest(l->isr, l->isr_words);
    if (vector < 0) {
        return 0;
    }
    clear_bit(l->isr, &l->isr_words, (uint8_t)vector);
    uint32_t effect = l->irr_words != 0 ? LAPIC_RECHECK : 0;
    if (l->tmr[vector / 32] >> vector % 32 & 1) {
        effect |= LAPIC_EOI_LEVEL | (uint32_t)vector << LAPIC_VECTOR_SHIFT;
    }
    return effect;
}

// ---- Registers ----

// 10.12.10.2: derived from the id.
static uint32_t x2_ldr(const struct lapic *l) {
    return l->id >> 4 << 16 | UINT32_C(1) << (l->id & 0xF);
}

// What both modes read alike.
static inline __attribute__((always_inline)) bool read_common(struct lapic *l, uint64_t tsc, uint32_t reg,
    uint32_t *value) {
    switch (reg) {
        case LAPIC_VERSION_REG: *value = VERSION_VALUE; break;
        case LAPIC_TPR: *value = l->tpr; break;
        case LAPIC_PPR: *value = ppr(l); break;
        case LAPIC_SVR: *value = l->svr; break;
        case LAPIC_ISR ... LAPIC_ISR + LAPIC_WORDS - 1: *value = l->isr[reg - LAPIC_ISR]; break;
        case LAPIC_TMR ... LAPIC_TMR + LAPIC_WORDS - 1: *value = l->tmr[reg - LAPIC_TMR]; break;
        case LAPIC_IRR ... LAPIC_IRR + LAPIC_WORDS - 1: *value = l->irr[reg - LAPIC_IRR]; break;
        case LAPIC_ESR: *value = l->esr; break;
        case LAPIC_ICR: *value = l->icr; break;
        case LAPIC_LVT_TIMER ... LAPIC_LVT_ERROR: *value = l->lvt[reg - LAPIC_LVT_TIMER]; break;
        case LAPIC_INITIAL_COUNT: *value = l->initial; break;
        case LAPIC_CURRENT_COUNT: *value = lapic_timer_count(l, tsc); break;
        case LAPIC_DIVIDE: *value = l->divide; break;
        default: return false;
    }
    return true;
}

uint32_t lapic_read(struct lapic *l, uint64_t tsc, uint32_t reg) {
    uint32_t value = 0;
    if (l->posted_words != 0) {
        take_posted(l); // IRR shows them
    }
    if (read_common(l, tsc, reg, &value)) {
        return value;
    }
    switch (reg) {
        case LAPIC_ID: return l->id << LDR_SHIFT;
        case LAPIC_LDR: return l->ldr;
        case LAPIC_DFR: return l->dfr;
        case LAPIC_ICR_HIGH: return l->icr_high;
        case LAPIC_EOI: // write-only
        case LAPIC_APR:
        case LAPIC_RRD: return 0;
        default:
            error(l, ERROR_REGISTER);
            return 0;
    }
}

static uint32_t write_svr(struct lapic *l, uint32_t value) {
    l->svr = value & SVR_WRITABLE;
    if (!software_enabled(l)) { // 10.4.7.2
        for (int i = 0; i < LAPIC_LVTS; i++) {
            l->lvt[i] |= LVT_MASKED;
        }
    }
    return LAPIC_RECHECK;
}

static uint32_t write_lvt(struct lapic *l, uint32_t reg, uint32_t value) {
    value &= lvt_writable[reg - LAPIC_LVT_TIMER];
    if (!software_enabled(l)) {
        value |= LVT_MASKED;
    }
    if (reg == LAPIC_LVT_TIMER) {
        return lapic_timer_mode(l, value);
    }
    l->lvt[reg - LAPIC_LVT_TIMER] = value;
    return LAPIC_RECHECK; // LINT0 may let the 8259 through now
}

// An interrupt command was given. To itself it needs no way around.
static uint32_t command(struct lapic *l) {
    uint32_t mode = l->icr >> ICR_MODE_SHIFT & LVT_MODE_MASK;
    if (mode <= APIC_LOWEST && (uint8_t)l->icr < VECTORS_RESERVED) {
        error(l, ERROR_SEND_ILLEGAL);
        return LAPIC_RECHECK;
    }
    if (mode == APIC_INIT && (l->icr & ICR_TRIGGER_LEVEL) && !(l->icr & ICR_LEVEL_ASSERT)) {
        return 0; // de-assert: means nothing since the Pentium 4
    }
    if (l->icr >> ICR_SHORTHAND_SHIFT == APIC_SELF && mode == APIC_FIXED) {
        lapic_accept(l, (uint8_t)l->icr, false);
        return LAPIC_RECHECK;
    }
    return LAPIC_SEND;
}

static uint32_t write_common(struct lapic *l, uint64_t tsc, uint32_t reg, uint32_t value) {
    switch (reg) {
        case LAPIC_EOI:
            return lapic_eoi(l);
        case LAPIC_TPR:
            l->tpr = value & 0xFF;
            return LAPIC_RECHECK | LAPIC_TPR_SET;
        case LAPIC_SVR:
            return write_svr(l, value);
        case LAPIC_ESR: // a write shows what has come together since the last one
            l->esr = l->errors;
            l->errors = 0;
            return 0;
        case LAPIC_ICR:
            l->icr = value & ICR_WRITABLE;
            return command(l);
        case LAPIC_LVT_TIMER ... LAPIC_LVT_ERROR:
            return write_lvt(l, reg, value);
        case LAPIC_INITIAL_COUNT:
            return lapic_timer_start(l, tsc, value);
        case LAPIC_DIVIDE:
            return lapic_timer_divide(l, tsc, value);
        default:
            return LAPIC_FAULT;
    }
}

uint32_t lapic_write(struct lapic *l, uint64_t tsc, uint32_t reg, uint32_t value) {
    uint32_t effect = write_common(l, tsc, reg, value);
    if (__builtin_expect(effect != LAPIC_FAULT, 1)) {
        return effect;
    }
    switch (reg) {
        case LAPIC_LDR:
            l->ldr = value & ~((UINT32_C(1) << LDR_SHIFT) - 1);
            return 0;
        case LAPIC_DFR:
            l->dfr = value | DFR_RESERVED;
            return 0;
        case LAPIC_ICR_HIGH:
            l->icr_high = value & ~((UINT32_C(1) << LDR_SHIFT) - 1);
            return 0;
        case LAPIC_ID: // read-only, as since the Pentium 4 (10.4.6)
        case LAPIC_VERSION_REG:
        case LAPIC_APR:
        case LAPIC_PPR:
        case LAPIC_RRD:
        case LAPIC_ISR ... LAPIC_IRR + LAPIC_WORDS - 1:
        case LAPIC_CURRENT_COUNT:
            return 0;
        default:
            error(l, ERROR_REGISTER);
            return LAPIC_RECHECK;
    }
}

bool lapic_msr_read(struct lapic *l, uint64_t tsc, uint32_t reg, uint64_t *value) {
    uint32_t low = 0;
    if (!lapic_is_x2(l)) {
        return false;
    }
    if (l->posted_words != 0) {
        take_posted(l);
    }
    if (reg == LAPIC_ICR) {
        *value = l->icr | (uint64_t)l->icr_high << 32;
    } else if (reg == LAPIC_ID) {
        *value = l->id;
    } else if (reg == LAPIC_LDR) {
        *value = x2_ldr(l);
    } else if (read_common(l, tsc, reg, &low)) {
        *value = low;
    } else {
        return false;
    }
    return true;
}

uint32_t lapic_msr_write(struct lapic *l, uint64_t tsc, uint32_t reg, uint64_t value) {
    if (!lapic_is_x2(l)) {
        return LAPIC_FAULT;
    }
    if (reg == LAPIC_EOI) {
        return value != 0 ? (uint32_t)LAPIC_FAULT : lapic_eoi(l);
    }
    if (reg == LAPIC_ICR) {
        if ((value & UINT32_MAX & ~(uint64_t)ICR_WRITABLE) != 0) {
            return LAPIC_FAULT;
        }
        l->icr_high = (uint32_t)(value >> 32);
        l->icr = (uint32_t)value;
        return command(l);
    }
    if (value >> 32 != 0 || (reg == LAPIC_ESR && value != 0)) {
        return LAPIC_FAULT;
    }
    if (reg == LAPIC_SELF_IPI) { // 10.12.11
        l->icr = (uint32_t)value | APIC_SELF << ICR_SHORTHAND_SHIFT;
        return value > UINT8_MAX ? (uint32_t)LAPIC_FAULT : command(l);
    }
    if ((reg == LAPIC_TPR && value > UINT8_MAX)
        || (reg == LAPIC_SVR && (value & ~(uint64_t)SVR_WRITABLE) != 0)
        || (reg >= LAPIC_LVT_TIMER && reg <= LAPIC_LVT_ERROR
            && (value & ~(uint64_t)lvt_writable[reg - LAPIC_LVT_TIMER]) != 0)) {
        return LAPIC_FAULT;
    }
    return write_common(l, tsc, reg, (uint32_t)value);
}

// Figure 10-27: only these ways lead from one mode to another.
uint32_t lapic_base_write(struct lapic *l, uint64_t value) {
    uint64_t modes = APIC_BASE_EN | APIC_BASE_EXTD;
    uint64_t from = l->base & modes, to = value & modes;
    bool direct = to == APIC_BASE_EXTD || (from == modes && to == APIC_BASE_EN) || (from == 0 && to == modes);
    if (direct || (value & APIC_BASE_RESERVED) != 0) {
        return LAPIC_FAULT;
    }
    l->base = value;
    if (from == to) {
        return 0;
    }
    if (from == 0 || to == 0) {
        lapic_reset(l);
    }
    l->icr = l->icr_high = 0;
    return LAPIC_RECHECK | LAPIC_TIMER | LAPIC_TPR_SET;
}

// ---- Between APICs ----

struct apic_message lapic_message(const struct lapic *l) {
    struct apic_message m = {
        .vector = (uint8_t)l->icr,
        .mode = l->icr >> ICR_MODE_SHIFT & LVT_MODE_MASK,
        .shorthand = (uint8_t)(l->icr >> ICR_SHORTHAND_SHIFT & 3),
        .logical = (l->icr & ICR_LOGICAL) != 0,
        .level = false, // an IPI is edge-triggered whatever it says (10.6.1)
        .destination = lapic_is_x2(l) ? l->icr_high : l->icr_high >> LDR_SHIFT,
    };
    if (!m.logical && !lapic_is_x2(l) && m.destination == APIC_EVERYBODY_8) {
        m.destination = APIC_EVERYBODY;
    }
    return m;
}

bool lapic_addressed(const struct lapic *l, uint32_t destination, bool logical) {
    if (!lapic_enabled(l)) {
        return false;
    }
    if (!logical) {
        return destination == APIC_EVERYBODY || destination == l->id;
    }
    if (lapic_is_x2(l)) { // 10.12.10.2
        uint32_t ldr = x2_ldr(l);
        return destination == APIC_EVERYBODY
            || (destination >> 16 == ldr >> 16 && (destination & ldr & UINT16_MAX));
    }
    uint32_t ldr = l->ldr >> LDR_SHIFT;
    if (l->dfr >> 28 == DFR_FLAT) { // 10.6.2.2
        return destination & ldr & UINT8_MAX;
    }
    return (destination >> 4 == ldr >> 4 || destination >> 4 == 0xF) && (destination & ldr & 0xF);
}

uint32_t lapic_priority(const struct lapic *l) {
    return ppr(l) & PRIORITY_CLASS;
}
