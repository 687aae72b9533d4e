// The APICs' way into the rest: registers to MMIO and MSRs, messages to vCPUs, vectors to
// the CPU. A vCPU's local APIC belongs to the CPU that runs it, so none of this takes a
// lock but what touches the guest's I/O APIC and 8259.
#include "virt/irq.h"

#include "cpu/err.h"
#include "cpu/insn.h"

enum {
    MSR_APIC_BASE = 0x1B,
    MSR_TSC_DEADLINE = 0x6E0,
    APIC_PAGE = 0x1000,
    REGISTER_SHIFT = 4,
    REGISTER_SIZE = 4,
    CR8_SHIFT = 4,
};

static inline void ask(struct vcpu *v, uint32_t bits) {
    __atomic_fetch_or(&v->requests, bits, __ATOMIC_SEQ_CST);
}

static uint64_t vcpu_tsc(const struct vcpu *v) {
    return rdtsc() + v->tsc_offset;
}

// ---- Messages ----

static bool addressed(const struct vcpu *v, const struct vcpu *from, const struct apic_message *m) {
    switch (m->shorthand) {
        case APIC_SELF: return v == from;
        case APIC_ALL: return true;
        case APIC_OTHERS: return v != from;
        default: return lapic_addressed(&v->lapic, m->destination, m->logical);
    }
}

// What wakes a vCPU that sleeps with interrupts off (guest_deaf).
static void wake(struct vcpu *v, uint32_t request) {
    __atomic_fetch_add(&v->guest->wakes, 1, __ATOMIC_SEQ_CST);
    vcpu_request(v, request);
}

static void deliver(struct vcpu *v, struct vcpu *from, const struct apic_message *m) {
    switch (m->mode) {
        case APIC_FIXED:
        case APIC_LOWEST:
            if (v == from) {
                lapic_accept(&v->lapic, m->vector, m->level);
            } else {
                lapic_post(&v->lapic, m->vector, m->level);
            }
            vcpu_request(v, REQ_IRQ);
            break;
        case APIC_NMI:
            __atomic_fetch_add(&v->nmis, 1, __ATOMIC_RELEASE);
            wake(v, REQ_NMI);
            break;
        case APIC_INIT:
            wake(v, REQ_INIT);
            break;
        case APIC_STARTUP:
            __atomic_store_n(&v->sipi_vector, m->vector, __ATOMIC_RELEASE);
            wake(v, REQ_SIPI);
            break;
        default:
            break; // SMI: there is no SMM; ExtINT: the 8259 has its own way
    }
}

static void send_lowest(struct guest *g, struct vcpu *from, const struct apic_message *m) {
    struct vcpu *best = NULL;
    for (uint32_t i = 0; i < g->vcpu_count; i++) {
        struct vcpu *v = g->vcpus[i];
        if (addressed(v, from, m)
            && (best == NULL || lapic_priority(&v->lapic) < lapic_priority(&best->lapic))) {
            best = v;
        }
    }
    if (best != NULL) {
        deliver(best, from, m);
    }
}

static void send(struct guest *g, struct vcpu *from, const struct apic_message *m) {
    if (m->mode == APIC_LOWEST) {
        send_lowest(g, from, m);
        return;
    }
    for (uint32_t i = 0; i < g->vcpu_count; i++) {
        if (addressed(g->vcpus[i], from, m)) {
            deliver(g->vcpus[i], from, m);
        }
    }
}

void irq_flush_slow(struct guest *g, struct vcpu *from) {
    struct apic_message m;
    while (ioapic_take(&g->platform.ioapic, &m)) {
        send(g, from, &m);
    }
}

// ---- Registers ----

static __attribute__((noinline)) void eoi_level(struct vcpu *v, uint8_t vector) {
    guest_lock(v->guest);
    ioapic_eoi(&v->guest->platform.ioapic, vector);
    irq_flush(v->guest, v);
    guest_unlock(v->guest);
}

static void cr8_follows(struct vcpu *v) {
    v->tpr = (uint8_t)(v->lapic.tpr >> CR8_SHIFT);
    if (virt->cr8_set != NULL) {
        virt->cr8_set(v, v->tpr);
    }
}

static __attribute__((noinline)) void apply_rare(struct vcpu *v, uint32_t effect) {
    if ((effect & LAPIC_TIMER) != 0) {
        ask(v, REQ_TIMER);
    }
    if ((effect & LAPIC_SEND) != 0) {
        struct apic_message m = lapic_message(&v->lapic);
        send(v->guest, v, &m);
    }
    if ((effect & LAPIC_EOI_LEVEL) != 0) {
        eoi_level(v, (uint8_t)(effect >> LAPIC_VECTOR_SHIFT));
    }
    if ((effect & LAPIC_TPR_SET) != 0) {
        cr8_follows(v);
    }
}

static inline void apply(struct vcpu *v, uint32_t effect) {
    if ((effect & LAPIC_RECHECK) != 0 && !v->window_open_wanted) {
        ask(v, REQ_IRQ);
    }
    if ((effect & ~(uint32_t)LAPIC_RECHECK) != 0) {
        apply_rare(v, effect);
    }
}

// Where CR8 does not exit, the CPU has the TPR that counts.
static void take_cr8(struct vcpu *v) {
    uint32_t cr8 = virt->cr8_get != NULL ? virt->cr8_get(v) : v->tpr;
    if (__builtin_expect(cr8 != v->lapic.tpr >> CR8_SHIFT, 0)) {
        v->lapic.tpr = cr8 << CR8_SHIFT;
        v->tpr = (uint8_t)cr8;
    }
}

// The time, for the registers that want it.
static inline uint64_t register_tsc(const struct vcpu *v, uint32_t reg) {
    return reg >= LAPIC_LVT_TIMER ? vcpu_tsc(v) : 0;
}

uint32_t irq_register_read(struct vcpu *v, uint32_t reg) {
    if (reg == LAPIC_TPR || reg == LAPIC_PPR) {
        take_cr8(v);
    }
    return lapic_read(&v->lapic, register_tsc(v, reg), reg);
}

void irq_register_write(struct vcpu *v, uint32_t reg, uint32_t value) {
    if (reg == LAPIC_EOI) { // one an interrupt
        apply(v, lapic_eoi(&v->lapic));
        return;
    }
    apply(v, lapic_write(&v->lapic, register_tsc(v, reg), reg, value));
}

// 10.4.1: 32-bit accesses at multiples of 16; what others do is undefined.
static void any_register(struct vcpu *v, uint64_t offset, uint8_t size, bool write, uint64_t *value) {
    uint32_t reg = (uint32_t)offset >> REGISTER_SHIFT, byte = offset & ((1u << REGISTER_SHIFT) - 1);
    if (!write) {
        *value = byte < REGISTER_SIZE ? (uint64_t)irq_register_read(v, reg) >> 8 * byte : 0;
    } else if (byte == 0 && size >= REGISTER_SIZE) {
        irq_register_write(v, reg, (uint32_t)*value);
    }
}

static bool lapic_mmio(struct vcpu *v, void *context, uint64_t offset, uint8_t size, bool write,
    uint64_t *value) {
    (void)context;
    if (!irq_has_page(v)) {
        return false;
    }
    any_register(v, offset, size, write, value);
    return true;
}

// A page that the vCPU has moved away from its first place (10.4.5).
static bool lapic_elsewhere(struct vcpu *v, void *context, uint64_t gpa, uint8_t size, bool write,
    uint64_t *value) {
    (void)context;
    uint64_t mode = v->lapic.base & (APIC_PAGE - 1) & ~APIC_BASE_BSP;
    uint64_t offset = gpa - (v->lapic.base & ~(uint64_t)(APIC_PAGE - 1));
    if (mode != APIC_BASE_EN || offset >= APIC_PAGE) {
        return false;
    }
    any_register(v, offset, size, write, value);
    return true;
}

// Where the page would hide RAM or another device it cannot be, nor in a mode that is not shown.
static bool base_possible(const struct vcpu *v, uint64_t value) {
    if ((value & APIC_BASE_EXTD) != 0 && v->guest->x2apic_hidden) {
        return false;
    }
    size_t available;
    uint64_t page = value & ~(uint64_t)(APIC_PAGE - 1);
    return page == APIC_BASE_ADDRESS || (value >> virt_caps.phys_bits == 0
        && guest_write_ptr(v->guest, page, &available) == NULL && mmio_find(&v->guest->mmio, page) == NULL);
}

static bool ioapic_mmio(struct vcpu *v, void *context, uint64_t offset, uint8_t size, bool write,
    uint64_t *value) {
    struct guest *g = context;
    guest_lock(g);
    if (write) {
        if (size >= REGISTER_SIZE) {
            ioapic_write(&g->platform.ioapic, (uint32_t)offset, (uint32_t)*value);
        } else if (offset == IOAPIC_SELECT) {
            ioapic_write(&g->platform.ioapic, IOAPIC_SELECT, (uint32_t)*value);
        }
        irq_flush(g, v);
    } else {
        *value = ioapic_read(&g->platform.ioapic, (uint32_t)offset);
    }
    guest_unlock(g);
    return true;
}

static bool hpet_mmio(struct vcpu *v, void *context, uint64_t offset, uint8_t size, bool write,
    uint64_t *value) {
    struct guest *g = context;
    guest_lock(g);
    platform_hpet(&g->platform, guest_tsc(g), offset, size, write, value);
    irq_after_access(g, v);
    guest_unlock(g);
    return true;
}

int irq_map(struct guest *g) {
    g->mmio.elsewhere = lapic_elsewhere;
    int error = mmio_register(g, APIC_BASE_ADDRESS, APIC_PAGE, lapic_mmio, g);
    if (error == 0) {
        error = mmio_register(g, IOAPIC_ADDRESS, APIC_PAGE, ioapic_mmio, g);
    }
    return error != 0 ? error : mmio_register(g, HPET_ADDRESS, HPET_SIZE, hpet_mmio, g);
}

bool irq_is_msr(uint32_t index) {
    return index - IRQ_MSR_X2APIC < IRQ_MSR_X2APIC_COUNT || index == MSR_TSC_DEADLINE || index == MSR_APIC_BASE;
}

bool irq_rdmsr(struct vcpu *v, uint32_t index, uint64_t *value) {
    if (index == MSR_APIC_BASE) {
        *value = v->lapic.base;
        return true;
    }
    if (index == MSR_TSC_DEADLINE) {
        *value = lapic_deadline_read(&v->lapic);
        return true;
    }
    take_cr8(v);
    return lapic_msr_read(&v->lapic, vcpu_tsc(v), index - IRQ_MSR_X2APIC, value);
}

bool irq_write_x2(struct vcpu *v, uint32_t reg, uint64_t value) {
    uint32_t effect = lapic_msr_write(&v->lapic, register_tsc(v, reg), reg, value);
    if (effect == LAPIC_FAULT) {
        return false;
    }
    apply(v, effect);
    return true;
}

bool irq_wrmsr(struct vcpu *v, uint32_t index, uint64_t value) {
    uint32_t effect;
    if (index - IRQ_MSR_X2APIC < IRQ_MSR_X2APIC_COUNT) {
        return irq_write_x2(v, index - IRQ_MSR_X2APIC, value);
    }
    if (index == MSR_TSC_DEADLINE) {
        effect = lapic_deadline_write(&v->lapic, value);
    } else {
        effect = base_possible(v, value) ? lapic_base_write(&v->lapic, value) : (uint32_t)LAPIC_FAULT;
    }
    if (effect == LAPIC_FAULT) {
        return false;
    }
    apply(v, effect);
    return true;
}

// ---- Into the CPU ----

// The 8259's line ends at the boot CPU.
static bool extint_pending(const struct vcpu *v) {
    return v->index == 0 && platform_irq_pending(&v->guest->platform) && lapic_takes_extint(&v->lapic);
}

bool irq_pending(struct vcpu *v) {
    take_cr8(v);
    return lapic_pending(&v->lapic) >= 0 || extint_pending(v);
}

uint8_t irq_take(struct vcpu *v) {
    struct guest *g = v->guest;
    if (extint_pending(v)) {
        guest_lock(g);
        uint8_t vector = platform_irq_ack(&g->platform); // a line that fell meanwhile: IRQ 7
        irq_flush(g, v);
        guest_unlock(g);
        return vector;
    }
    uint8_t vector = (uint8_t)lapic_pending(&v->lapic);
    lapic_ack(&v->lapic, vector);
    return vector;
}

void irq_timer_update(struct vcpu *v) {
    if (lapic_timer_update(&v->lapic, vcpu_tsc(v))) {
        ask(v, REQ_IRQ);
    }
    uint64_t due = lapic_timer_next(&v->lapic);
    if (due != UINT64_MAX) {
        due -= v->tsc_offset;
        v->timer_next = due < v->timer_next ? due : v->timer_next;
    }
}

void irq_watch_cr8(struct vcpu *v) {
    bool wanted = lapic_blocked_by_tpr(&v->lapic);
    if (virt->cr8_watch != NULL && wanted != v->cr8_watched) {
        v->cr8_watched = wanted;
        virt->cr8_watch(v, wanted);
    }
}

void irq_cr8_written(struct vcpu *v, uint8_t cr8) {
    v->tpr = cr8;
    v->lapic.tpr = (uint32_t)cr8 << CR8_SHIFT;
    if (virt->cr8_set != NULL) {
        virt->cr8_set(v, cr8);
    }
    if (v->lapic.irr_words != 0) {
        ask(v, REQ_IRQ);
    }
}

void irq_reset(struct vcpu *v) {
    lapic_reset(&v->lapic);
    v->tpr = 0;
    v->cr8_watched = false;
}
