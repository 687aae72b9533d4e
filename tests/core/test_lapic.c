// The local APIC: priorities, EOI, LVT, timer modes, xAPIC and x2APIC registers,
// destinations, what others post.
// sources: hypervisor/dev/lapic.c hypervisor/dev/lapic_timer.c
#include "check.h"
#include "dev/lapic.h"

enum { HZ = LAPIC_CRYSTAL_MAX, MASKED = 0x10000, PERIODIC = 0x20000, DEADLINE = 0x40000 };

static struct lapic l;
static uint64_t now;

static uint32_t in(uint32_t reg) {
    return lapic_read(&l, now, reg);
}

static uint32_t out(uint32_t reg, uint32_t value) {
    return lapic_write(&l, now, reg, value);
}

static void start(void) {
    now = 1000;
    lapic_init(&l, 3, HZ, false);
    out(LAPIC_SVR, 0x1FF);
}

static void start_x2(void) {
    start();
    EQUAL(lapic_base_write(&l, l.base | APIC_BASE_EXTD) & LAPIC_FAULT, 0);
}

static uint64_t rdmsr(uint32_t reg) {
    uint64_t value = UINT64_MAX;
    CHECK(lapic_msr_read(&l, now, reg, &value));
    return value;
}

static uint32_t wrmsr(uint32_t reg, uint64_t value) {
    return lapic_msr_write(&l, now, reg, value);
}

CASE(power_on_values) {
    lapic_init(&l, 5, HZ, false);
    EQUAL(in(LAPIC_ID), 5u << 24);
    EQUAL(in(LAPIC_VERSION_REG), 0x50014);
    EQUAL(in(LAPIC_SVR), 0xFF);
    EQUAL(in(LAPIC_DFR), 0xFFFFFFFF);
    for (uint32_t reg = LAPIC_LVT_TIMER; reg <= LAPIC_LVT_ERROR; reg++) {
        EQUAL(in(reg), MASKED);
    }
    EQUAL(l.base, 0xFEE00800);
    EQUAL(lapic_timer_next(&l), UINT64_MAX);
    CHECK(!lapic_takes_extint(&l));
    EQUAL(l.version, LAPIC_VERSION);
}

CASE(boot_cpu_starts_as_a_virtual_wire) {
    lapic_init(&l, 0, HZ, true);
    EQUAL(in(LAPIC_SVR), 0x1FF);
    EQUAL(l.base, 0xFEE00900);
    CHECK(lapic_takes_extint(&l));
    EQUAL(lapic_lint1(&l), APIC_NMI);
    out(LAPIC_LVT_LINT0, MASKED | 0x700);
    CHECK(!lapic_takes_extint(&l));
    out(LAPIC_LVT_LINT1, MASKED);
    EQUAL(lapic_lint1(&l), -1);
    EQUAL(lapic_base_write(&l, 0xFEE00100) & LAPIC_FAULT, 0);
    CHECK(lapic_takes_extint(&l)); // without the APIC the line is the CPU's own
}

CASE(highest_vector_first_and_its_class_holds_back_others) {
    start();
    lapic_accept(&l, 0x45, false);
    lapic_accept(&l, 0x61, false);
    lapic_accept(&l, 0x62, false);
    EQUAL(lapic_pending(&l), 0x62);
    lapic_ack(&l, 0x62);
    EQUAL(in(LAPIC_PPR), 0x60);
    EQUAL(lapic_pending(&l), -1); // 0x61 is of the same class
    lapic_accept(&l, 0x70, false);
    EQUAL(lapic_pending(&l), 0x70);
    lapic_ack(&l, 0x70);
    EQUAL(out(LAPIC_EOI, 0), LAPIC_RECHECK);
    EQUAL(in(LAPIC_PPR), 0x60);
    EQUAL(out(LAPIC_EOI, 0), LAPIC_RECHECK);
    EQUAL(lapic_pending(&l), 0x61);
    lapic_ack(&l, 0x61);
    out(LAPIC_EOI, 0);
    lapic_ack(&l, 0x45);
    EQUAL(out(LAPIC_EOI, 0), 0);
    EQUAL(out(LAPIC_EOI, 0), 0); // of nothing
    EQUAL(lapic_pending(&l), -1);
}

CASE(registers_show_what_is_requested_and_in_service) {
    start();
    lapic_accept(&l, 0x45, true);
    EQUAL(in(LAPIC_IRR + 2), 1u << 5);
    EQUAL(in(LAPIC_TMR + 2), 1u << 5);
    lapic_ack(&l, 0x45);
    EQUAL(in(LAPIC_IRR + 2), 0);
    EQUAL(in(LAPIC_ISR + 2), 1u << 5);
    lapic_accept(&l, 0x45, false);
    EQUAL(in(LAPIC_TMR + 2), 0);
    lapic_accept(&l, 0xFF, false);
    EQUAL(in(LAPIC_IRR + 7), 1u << 31);
}

CASE(tpr_holds_back_its_class_and_below) {
    start();
    lapic_accept(&l, 0x45, false);
    EQUAL(out(LAPIC_TPR, 0x40), LAPIC_RECHECK | LAPIC_TPR_SET);
    EQUAL(lapic_pending(&l), -1);
    CHECK(lapic_blocked_by_tpr(&l));
    EQUAL(in(LAPIC_PPR), 0x40);
    out(LAPIC_TPR, 0x3F);
    EQUAL(in(LAPIC_PPR), 0x3F);
    EQUAL(lapic_pending(&l), 0x45);
    CHECK(!lapic_blocked_by_tpr(&l));
    lapic_ack(&l, 0x45);
    lapic_accept(&l, 0x41, false);
    out(LAPIC_TPR, 0xF0);
    CHECK(!lapic_blocked_by_tpr(&l)); // the one in service holds it as well
    EQUAL(in(LAPIC_PPR), 0xF0);
}

CASE(eoi_of_a_level_tells_the_io_apic) {
    start();
    lapic_accept(&l, 0x45, true);
    lapic_ack(&l, 0x45);
    EQUAL(out(LAPIC_EOI, 0), LAPIC_EOI_LEVEL | 0x45 << LAPIC_VECTOR_SHIFT);
    lapic_accept(&l, 0x45, false);
    lapic_ack(&l, 0x45);
    EQUAL(out(LAPIC_EOI, 0), 0);
}

CASE(software_disabled_masks_all_and_takes_nothing) {
    start();
    out(LAPIC_LVT_TIMER, 0x40);
    out(LAPIC_SVR, 0xFF);
    EQUAL(in(LAPIC_LVT_TIMER), MASKED | 0x40);
    out(LAPIC_LVT_TIMER, 0x41);
    EQUAL(in(LAPIC_LVT_TIMER), MASKED | 0x41);
    lapic_post(&l, 0x50, false);
    EQUAL(lapic_pending(&l), -1);
    out(LAPIC_SVR, 0x1FF);
    EQUAL(in(LAPIC_LVT_TIMER), MASKED | 0x41); // stays masked
    EQUAL(lapic_pending(&l), -1);
}

CASE(lvt_entries_keep_only_their_bits) {
    start();
    static const uint32_t kept[] = {0x700FF, 0x107FF, 0x107FF, 0x1A7FF, 0x1A7FF, 0x100FF};
    for (uint32_t i = 0; i < LAPIC_LVTS; i++) {
        out(LAPIC_LVT_TIMER + i, UINT32_MAX);
        EQUAL(in(LAPIC_LVT_TIMER + i), kept[i]);
    }
}

CASE(errors_show_after_a_write_and_interrupt) {
    start();
    out(LAPIC_LVT_ERROR, 0xFE);
    lapic_accept(&l, 5, false); // vectors below 16 are illegal
    EQUAL(in(LAPIC_ESR), 0);
    EQUAL(lapic_pending(&l), 0xFE);
    out(LAPIC_ESR, 0);
    EQUAL(in(LAPIC_ESR), 0x40);
    EQUAL(out(LAPIC_ICR, 0x40005), LAPIC_RECHECK); // to itself: not even sent
    in(0x3F);
    out(LAPIC_ESR, 0);
    EQUAL(in(LAPIC_ESR), 0xA0);
    out(LAPIC_ESR, 0);
    EQUAL(in(LAPIC_ESR), 0);
    out(LAPIC_LVT_ERROR, 3); // illegal itself: no endless recursion
    lapic_accept(&l, 5, false);
}

CASE(one_shot_timer) {
    start();
    out(LAPIC_LVT_TIMER, 0x80);
    out(LAPIC_DIVIDE, 0xB); // by 1
    EQUAL(out(LAPIC_INITIAL_COUNT, 500), LAPIC_TIMER);
    EQUAL(lapic_timer_next(&l), 1500);
    now = 1100;
    EQUAL(in(LAPIC_CURRENT_COUNT), 400);
    EQUAL(in(LAPIC_INITIAL_COUNT), 500);
    CHECK(!lapic_timer_update(&l, 1499));
    CHECK(lapic_timer_update(&l, 1500));
    EQUAL(lapic_pending(&l), 0x80);
    EQUAL(lapic_timer_next(&l), UINT64_MAX);
    now = 1600;
    EQUAL(in(LAPIC_CURRENT_COUNT), 0);
    out(LAPIC_INITIAL_COUNT, 500);
    out(LAPIC_INITIAL_COUNT, 0); // stops it
    EQUAL(lapic_timer_next(&l), UINT64_MAX);
}

CASE(timer_divider) {
    start();
    static const uint8_t codes[] = {0xB, 0, 1, 2, 3, 8, 9, 0xA};
    for (unsigned i = 0; i < 8; i++) {
        out(LAPIC_DIVIDE, codes[i]);
        EQUAL(in(LAPIC_DIVIDE), codes[i]);
        out(LAPIC_INITIAL_COUNT, 10);
        EQUAL(lapic_timer_next(&l), now + (10u << i));
    }
    out(LAPIC_DIVIDE, 0xB); // the rest of the count goes on at the new pace
    EQUAL(lapic_timer_next(&l), now + 10);
}

CASE(timer_of_a_fast_tsc_counts_its_crystal) {
    lapic_init(&l, 0, 2 * (uint64_t)HZ, true);
    out(LAPIC_DIVIDE, 0xB);
    now = 0;
    out(LAPIC_INITIAL_COUNT, 100);
    EQUAL(lapic_timer_next(&l), 200);
}

CASE(periodic_timer_keeps_its_grid) {
    start();
    out(LAPIC_DIVIDE, 0xB);
    out(LAPIC_LVT_TIMER, PERIODIC | 0x80);
    out(LAPIC_INITIAL_COUNT, 100);
    CHECK(lapic_timer_update(&l, 1100));
    EQUAL(lapic_timer_next(&l), 1200);
    CHECK(lapic_timer_update(&l, 1455)); // late by more than two periods
    EQUAL(lapic_timer_next(&l), 1500);
    now = 1460;
    EQUAL(in(LAPIC_CURRENT_COUNT), 40);
    now = 1530; // past an expiry that nobody has seen yet
    EQUAL(in(LAPIC_CURRENT_COUNT), 70);
    now = 1460;
    out(LAPIC_LVT_TIMER, PERIODIC | MASKED | 0x80);
    CHECK(!lapic_timer_update(&l, 1500)); // counts on, silently
    EQUAL(lapic_timer_next(&l), 1600);
}

CASE(tsc_deadline) {
    start();
    EQUAL(lapic_deadline_write(&l, 5000), 0); // another mode: ignored
    EQUAL(lapic_deadline_read(&l), 0);
    out(LAPIC_DIVIDE, 0xB);
    out(LAPIC_INITIAL_COUNT, 100);
    out(LAPIC_LVT_TIMER, DEADLINE | 0x80);
    EQUAL(lapic_timer_next(&l), UINT64_MAX); // the count is disarmed
    out(LAPIC_INITIAL_COUNT, 100);
    EQUAL(lapic_timer_next(&l), UINT64_MAX);
    EQUAL(lapic_deadline_write(&l, 5000), LAPIC_TIMER);
    EQUAL(lapic_deadline_read(&l), 5000);
    EQUAL(in(LAPIC_CURRENT_COUNT), 0);
    CHECK(!lapic_timer_update(&l, 4999));
    CHECK(lapic_timer_update(&l, 5000));
    EQUAL(lapic_deadline_read(&l), 0);
    lapic_deadline_write(&l, 10); // past: at once
    CHECK(lapic_timer_update(&l, 5001));
    lapic_deadline_write(&l, 9000);
    lapic_deadline_write(&l, 0);
    EQUAL(lapic_timer_next(&l), UINT64_MAX);
    lapic_deadline_write(&l, 9000);
    out(LAPIC_LVT_TIMER, 0x80);
    EQUAL(lapic_timer_next(&l), UINT64_MAX);
}

CASE(a_moved_tsc_moves_counts_but_no_deadline) {
    start();
    out(LAPIC_DIVIDE, 0xB);
    out(LAPIC_INITIAL_COUNT, 100);
    lapic_tsc_moved(&l, 5000);
    EQUAL(lapic_timer_next(&l), 6100);
    out(LAPIC_LVT_TIMER, DEADLINE | 0x80);
    lapic_deadline_write(&l, 9000);
    lapic_tsc_moved(&l, 5000);
    EQUAL(lapic_timer_next(&l), 9000);
}

CASE(self_ipi_needs_no_message) {
    start();
    EQUAL(out(LAPIC_ICR, 0x40055), LAPIC_RECHECK);
    EQUAL(lapic_pending(&l), 0x55);
}

CASE(commands_become_messages) {
    start();
    out(LAPIC_ICR_HIGH, 0x02FFFFFF);
    EQUAL(in(LAPIC_ICR_HIGH), 0x02000000);
    EQUAL(out(LAPIC_ICR, 0x1045), LAPIC_SEND); // delivery status does not stick
    EQUAL(in(LAPIC_ICR), 0x45);
    struct apic_message m = lapic_message(&l);
    EQUAL(m.destination, 2);
    EQUAL(m.vector, 0x45);
    EQUAL(m.mode, APIC_FIXED);
    CHECK(!m.logical && !m.level);
    out(LAPIC_ICR_HIGH, 0xFF000000);
    EQUAL(out(LAPIC_ICR, 0x4600 | 0x9A), LAPIC_SEND);
    m = lapic_message(&l);
    EQUAL(m.destination, APIC_EVERYBODY);
    EQUAL(m.mode, APIC_STARTUP);
    EQUAL(m.vector, 0x9A);
    EQUAL(out(LAPIC_ICR, 0xC0845), LAPIC_SEND);
    m = lapic_message(&l);
    EQUAL(m.shorthand, APIC_OTHERS);
    EQUAL(m.destination, 0xFF); // logical: a mask
    CHECK(m.logical);
    EQUAL(out(LAPIC_ICR, 0x8500), 0); // INIT level de-assert
    EQUAL(out(LAPIC_ICR, 0xC500), LAPIC_SEND);
    EQUAL(lapic_message(&l).mode, APIC_INIT);
}

CASE(physical_destinations) {
    start();
    CHECK(lapic_addressed(&l, 3, false));
    CHECK(!lapic_addressed(&l, 2, false));
    CHECK(lapic_addressed(&l, APIC_EVERYBODY, false));
    lapic_base_write(&l, APIC_BASE_ADDRESS);
    CHECK(!lapic_addressed(&l, 3, false));
}

CASE(logical_destinations_flat_and_cluster) {
    start();
    out(LAPIC_LDR, 0x08FFFFFF);
    EQUAL(in(LAPIC_LDR), 0x08000000);
    CHECK(lapic_addressed(&l, 0x0C, true));
    CHECK(!lapic_addressed(&l, 0x04, true));
    CHECK(lapic_addressed(&l, 0xFF, true));
    out(LAPIC_DFR, 0);
    EQUAL(in(LAPIC_DFR), 0x0FFFFFFF);
    out(LAPIC_LDR, 0x22000000); // cluster 2, second member
    CHECK(lapic_addressed(&l, 0x23, true));
    CHECK(!lapic_addressed(&l, 0x21, true));
    CHECK(!lapic_addressed(&l, 0x12, true));
    CHECK(lapic_addressed(&l, 0xFF, true));
}

CASE(x2apic_destinations) {
    lapic_init(&l, 0x25, HZ, false);
    lapic_base_write(&l, l.base | APIC_BASE_EXTD);
    EQUAL(rdmsr(LAPIC_LDR), 0x2u << 16 | 1u << 5);
    CHECK(lapic_addressed(&l, 0x00020020, true));
    CHECK(!lapic_addressed(&l, 0x00020010, true));
    CHECK(!lapic_addressed(&l, 0x00010020, true));
    CHECK(lapic_addressed(&l, UINT32_MAX, true));
    CHECK(lapic_addressed(&l, 0x25, false));
}

CASE(x2apic_registers) {
    start_x2();
    EQUAL(rdmsr(LAPIC_ID), 3);
    EQUAL(rdmsr(LAPIC_VERSION_REG), 0x50014);
    EQUAL(wrmsr(LAPIC_ICR, 0x200000045), LAPIC_SEND);
    EQUAL(rdmsr(LAPIC_ICR), 0x200000045);
    EQUAL(lapic_message(&l).destination, 2);
    EQUAL(wrmsr(LAPIC_ICR, 0xFF00000045), LAPIC_SEND);
    EQUAL(lapic_message(&l).destination, 0xFF); // CPU 255, not everybody
    EQUAL(wrmsr(LAPIC_SELF_IPI, 0x56), LAPIC_RECHECK);
    EQUAL(lapic_pending(&l), 0x56);
    lapic_ack(&l, 0x56);
    EQUAL(wrmsr(LAPIC_EOI, 0), 0);
    EQUAL(rdmsr(LAPIC_ISR + 2), 0);
}

CASE(x2apic_faults) {
    uint64_t value;
    start();
    CHECK(!lapic_msr_read(&l, now, LAPIC_ID, &value)); // not in x2APIC mode
    EQUAL(wrmsr(LAPIC_EOI, 0), LAPIC_FAULT);
    start_x2();
    static const uint32_t unread[] = {LAPIC_EOI, LAPIC_SELF_IPI, LAPIC_DFR, LAPIC_ICR_HIGH, LAPIC_APR, 0, 0x3D};
    for (unsigned i = 0; i < sizeof unread / sizeof *unread; i++) {
        CHECK(!lapic_msr_read(&l, now, unread[i], &value));
    }
    static const uint32_t unwritten[] = {LAPIC_ID, LAPIC_VERSION_REG, LAPIC_PPR, LAPIC_LDR, LAPIC_DFR, LAPIC_ISR,
        LAPIC_TMR, LAPIC_IRR, LAPIC_ICR_HIGH, LAPIC_CURRENT_COUNT, 0, 0x3D};
    for (unsigned i = 0; i < sizeof unwritten / sizeof *unwritten; i++) {
        EQUAL(wrmsr(unwritten[i], 0), LAPIC_FAULT);
    }
    EQUAL(wrmsr(LAPIC_EOI, 1), LAPIC_FAULT);
    EQUAL(wrmsr(LAPIC_ESR, 1), LAPIC_FAULT);
    EQUAL(wrmsr(LAPIC_TPR, 0x100), LAPIC_FAULT);
    EQUAL(wrmsr(LAPIC_SVR, 0x1000), LAPIC_FAULT);
    EQUAL(wrmsr(LAPIC_SELF_IPI, 0x100), LAPIC_FAULT);
    EQUAL(wrmsr(LAPIC_ICR, 0x1045), LAPIC_FAULT);
    EQUAL(wrmsr(LAPIC_LVT_TIMER, 0x80000), LAPIC_FAULT);
    EQUAL(wrmsr(LAPIC_TPR, UINT64_C(1) << 32), LAPIC_FAULT);
}

CASE(modes_change_only_by_the_figure) {
    start();
    uint64_t en = APIC_BASE_ADDRESS | APIC_BASE_EN, x2 = en | APIC_BASE_EXTD;
    EQUAL(lapic_base_write(&l, APIC_BASE_ADDRESS | APIC_BASE_EXTD), LAPIC_FAULT);
    EQUAL(lapic_base_write(&l, en + 0x1000) & LAPIC_FAULT, 0); // another page
    EQUAL(l.base, en + 0x1000);
    EQUAL(lapic_base_write(&l, en | 1), LAPIC_FAULT); // reserved
    EQUAL(lapic_base_write(&l, en) & LAPIC_FAULT, 0);
    EQUAL(lapic_base_write(&l, en | 1), LAPIC_FAULT);
    lapic_accept(&l, 0x60, false);
    EQUAL(lapic_base_write(&l, x2) & LAPIC_FAULT, 0);
    EQUAL(lapic_pending(&l), 0x60); // kept
    EQUAL(lapic_base_write(&l, en), LAPIC_FAULT);
    EQUAL(lapic_base_write(&l, APIC_BASE_ADDRESS) & LAPIC_FAULT, 0);
    EQUAL(lapic_pending(&l), -1); // lost
    EQUAL(lapic_base_write(&l, x2), LAPIC_FAULT);
    EQUAL(lapic_base_write(&l, en) & LAPIC_FAULT, 0);
    EQUAL(in(LAPIC_SVR), 0xFF);
    EQUAL(in(LAPIC_ID), 3u << 24);
}

CASE(posted_interrupts_arrive_once) {
    start();
    lapic_post(&l, 0x50, false);
    lapic_post(&l, 0x50, false);
    lapic_post(&l, 0xA1, true);
    EQUAL(lapic_pending(&l), 0xA1);
    lapic_ack(&l, 0xA1);
    EQUAL(out(LAPIC_EOI, 0), LAPIC_RECHECK | LAPIC_EOI_LEVEL | 0xA1 << LAPIC_VECTOR_SHIFT);
    EQUAL(lapic_pending(&l), 0x50);
    lapic_ack(&l, 0x50);
    EQUAL(out(LAPIC_EOI, 0), 0);
    EQUAL(lapic_pending(&l), -1);
    lapic_post(&l, 0xA1, false); // an edge now
    EQUAL(lapic_pending(&l), 0xA1);
    EQUAL(in(LAPIC_TMR + 5), 0);
}

CASE(reset_keeps_id_and_mode) {
    start_x2();
    lapic_accept(&l, 0x50, false);
    lapic_post(&l, 0x51, false);
    wrmsr(LAPIC_TPR, 0x30);
    lapic_reset(&l);
    EQUAL(rdmsr(LAPIC_ID), 3);
    EQUAL(rdmsr(LAPIC_TPR), 0);
    EQUAL(rdmsr(LAPIC_SVR), 0xFF);
    EQUAL(lapic_pending(&l), -1);
}

// All of IRR, ISR and TPR against a plain model.
CASE(random_against_a_model) {
    uint64_t seed = 5;
    bool irr[256] = {false}, isr[256] = {false};
    uint32_t tpr = 0;
    start();
    for (int step = 0; step < 20000; step++) {
        uint8_t vector = (uint8_t)(16 + check_random(&seed, 240));
        int top = 0, want = -1;
        switch (check_random(&seed, 4)) {
            case 0:
                lapic_accept(&l, vector, false);
                irr[vector] = true;
                break;
            case 1:
                lapic_post(&l, vector, false);
                irr[vector] = true;
                break;
            case 2:
                out(LAPIC_EOI, 0);
                for (int i = 255; i >= 0; i--) {
                    if (isr[i]) {
                        isr[i] = false;
                        break;
                    }
                }
                break;
            default:
                tpr = check_random(&seed, 4) ? 0 : check_random(&seed, 256);
                out(LAPIC_TPR, tpr);
                break;
        }
        for (int i = 0; i < 256; i++) {
            top = isr[i] ? i : top;
            want = irr[i] ? i : want;
        }
        uint32_t floor = (tpr & 0xF0) > ((uint32_t)top & 0xF0) ? tpr & 0xF0 : (uint32_t)top & 0xF0;
        if (want >= 0 && ((uint32_t)want & 0xF0) <= floor) {
            want = -1;
        }
        EQUAL(lapic_pending(&l), want);
        if (want >= 0 && check_random(&seed, 3) == 0) {
            lapic_ack(&l, (uint8_t)want);
            irr[want] = false;
            isr[want] = true;
        }
    }
}
