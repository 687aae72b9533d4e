// The local APIC, first by its page, then by MSRs: self IPIs, priorities, TPR and CR8,
// EOI, errors, LVT, the timer's modes, NMIs, the 8259 through LINT0, changes of mode.
#include "apic.h"
#include "check.h"
#include "guest.h"
#include "traps.h"

enum { V40 = 0x40, V45 = 0x45, V50 = 0x50, V60 = 0x60, VTIMER = 0x70, VERROR = 0xE1, WAIT_MS = 2000 };

static const char *mode; // "xAPIC" or "x2APIC", before each check's name
static char name_buffer[96];

static const char *named(const char *what) {
    char *to = name_buffer;
    for (const char *s = mode; *s; s++) {
        *to++ = *s;
    }
    *to++ = ' ';
    for (const char *s = what; *s && to < name_buffer + sizeof(name_buffer) - 1; s++) {
        *to++ = *s;
    }
    *to = 0;
    return name_buffer;
}

#define CHECK(what, good, ...) expect(named(what), good, __VA_ARGS__)

static bool bare_tcg(void) {
    return !under_vipervisor() && cpu_is_tcg();
}

static void self(unsigned vector) {
    apic_command(0, ICR_SELF | vector);
}

static void open_window(void) {
    __asm__ volatile ("sti; nop; nop; cli" : : : "memory");
}

// ---- Delivery ----

static void check_self_ipi(void) {
    uint32_t before = apic_hits[V40];
    self(V40);
    CHECK("IPI waits for IF", apic_hits[V40] == before && apic_bit(APIC_IRR, V40), "hits %u, IRR %u",
        apic_hits[V40] - before, apic_bit(APIC_IRR, V40));
    open_window();
    CHECK("IPI comes when IF opens", apic_hits[V40] == before + 1, "%u", apic_hits[V40] - before);
    CHECK("IRR and ISR are empty then", !apic_bit(APIC_IRR, V40) && !apic_bit(APIC_ISR, V40), "not");
    interrupts_on();
    for (unsigned i = 0; i < 100; i++) {
        self(V40);
        __asm__ volatile ("nop; nop");
    }
    interrupts_off();
    CHECK("100 IPIs with IF set", apic_wait(V40, before + 101, WAIT_MS) && apic_hits[V40] == before + 101, "%u",
        apic_hits[V40] - before - 1);
    self(V45);
    self(V45);
    before = apic_hits[V45];
    open_window();
    open_window();
    CHECK("two of one vector are one", apic_hits[V45] == before + 1, "%u", apic_hits[V45] - before);
}

static void check_order(void) {
    uint32_t first = apic_taken;
    self(V40);
    self(V60);
    self(V50);
    open_window();
    open_window();
    open_window();
    CHECK("the highest comes first", apic_taken == first + 3 && apic_order[first % 256] == V60
        && apic_order[(first + 1) % 256] == V50 && apic_order[(first + 2) % 256] == V40, "%x %x %x of %u",
        apic_order[first % 256], apic_order[(first + 1) % 256], apic_order[(first + 2) % 256], apic_taken - first);
}

static volatile uint32_t nested_seen, nested_ppr;
static volatile bool nested_isr;

// Handles V50 without an EOI while others come: only a higher class may.
static bool nest(struct trap_frame *frame) {
    (void)frame;
    nested_isr = apic_bit(APIC_ISR, V50);
    nested_ppr = apic_read(APIC_PPR);
    uint32_t low = apic_hits[V45], high = apic_hits[V60];
    self(V45);
    self(V60);
    open_window();
    open_window();
    nested_seen = (apic_hits[V45] - low) | (apic_hits[V60] - high) << 8;
    apic_write(APIC_EOI, 0);
    return true;
}

static void check_nesting(void) {
    uint32_t low = apic_hits[V45];
    trap_hook(V50, nest);
    self(V50);
    open_window();
    open_window();
    CHECK("ISR shows it in its handler", nested_isr, "not");
    CHECK("PPR is its class", nested_ppr == (V50 & 0xF0), "%x", nested_ppr);
    CHECK("only a higher class interrupts", nested_seen == 0x100, "%x", nested_seen);
    CHECK("EOI lets the lower one come", apic_hits[V45] == low + 1, "%u", apic_hits[V45] - low);
    apic_count(V50);
}

static void check_tpr(void) {
    uint32_t before = apic_hits[V45];
    apic_write(APIC_TPR, 0x40);
    CHECK("TPR shows in CR8", read_cr8() == 4, "%llx", (unsigned long long)read_cr8());
    CHECK("TPR shows in PPR", apic_read(APIC_PPR) == 0x40, "%x", apic_read(APIC_PPR));
    self(V45);
    open_window();
    CHECK("TPR holds its class back", apic_hits[V45] == before, "came");
    interrupts_on();
    apic_write(APIC_TPR, 0x30);
    interrupts_off();
    CHECK("a lower TPR lets it come", apic_wait(V45, before + 1, WAIT_MS), "did not");
    write_cr8(5);
    CHECK("CR8 shows in TPR", apic_read(APIC_TPR) == 0x50, "%x", apic_read(APIC_TPR));
    before = apic_hits[V45];
    uint32_t high = apic_hits[V60];
    self(V45);
    self(V60);
    open_window();
    open_window();
    CHECK("CR8 holds back what it should", apic_hits[V45] == before && apic_hits[V60] == high + 1, "%u %u",
        apic_hits[V45] - before, apic_hits[V60] - high);
    interrupts_on();
    for (unsigned i = 0; i < 20; i++) { // the window stays open: only CR8 holds it
        cpuid(0, 0);
    }
    bool held = apic_hits[V45] == before;
    write_cr8(4);
    for (unsigned i = 0; i < 20; i++) {
        cpuid(0, 0);
    }
    held = held && apic_hits[V45] == before;
    write_cr8(3);
    __asm__ volatile ("nop; nop");
    interrupts_off();
    CHECK("CR8 holds with IF set", held, "came");
    CHECK("a lower CR8 lets it come at once", apic_hits[V45] == before + 1, "%u", apic_hits[V45] - before);
    write_cr8(0);
}

// ---- Registers ----

static void check_errors(void) {
    if (bare_tcg()) {
        skip(named("illegal vectors"), "QEMU's APIC does not look at them");
        return;
    }
    apic_write(APIC_ESR, 0);
    apic_write(APIC_ESR, 0);
    CHECK("ESR is clear", apic_read(APIC_ESR) == 0, "%x", apic_read(APIC_ESR));
    uint32_t before = apic_hits[VERROR];
    apic_write(APIC_LVT_ERROR, VERROR);
    self(5);
    apic_write(APIC_ESR, 0);
    CHECK("an illegal vector is an error", apic_read(APIC_ESR) & 0x20, "%x", apic_read(APIC_ESR));
    CHECK("and an interrupt", apic_wait(VERROR, before + 1, WAIT_MS), "none");
    apic_write(APIC_LVT_ERROR, LVT_MASKED);
    apic_write(APIC_ESR, 0);
    CHECK("ESR is clear again", apic_read(APIC_ESR) == 0, "%x", apic_read(APIC_ESR));
}

static void check_disable(void) {
    uint32_t before = apic_hits[V40];
    apic_write(APIC_LVT_TIMER, VTIMER);
    apic_write(APIC_SVR, APIC_SPURIOUS);
    CHECK("software disable masks the LVT", apic_read(APIC_LVT_TIMER) & LVT_MASKED || bare_tcg(), "%x",
        apic_read(APIC_LVT_TIMER));
    apic_write(APIC_LVT_TIMER, VTIMER);
    CHECK("which stays masked", apic_read(APIC_LVT_TIMER) & LVT_MASKED || bare_tcg(), "%x", apic_read(APIC_LVT_TIMER));
    apic_write(APIC_SVR, SVR_ENABLE | 0xEF);
    CHECK("SVR holds its vector", apic_read(APIC_SVR) == (SVR_ENABLE | 0xEF), "%x", apic_read(APIC_SVR));
    apic_write(APIC_SVR, SVR_ENABLE | APIC_SPURIOUS);
    self(V40);
    open_window();
    CHECK("enabled again it takes IPIs", apic_hits[V40] == before + 1, "%u", apic_hits[V40] - before);
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
}

// ---- Timer ----

// The count began again before it stood at 0.
static bool count_rises(void) {
    uint32_t last = apic_read(APIC_CURRENT), now = last;
    uint64_t limit = rdtsc() + 30 * tsc_hz();
    while (rdtsc() < limit && (now = apic_read(APIC_CURRENT)) <= last) {
        if (now == 0 && last == 0) {
            return false;
        }
        last = now;
    }
    return now > last;
}

// How much of the count an interrupt with its EOI takes at the least: a lot where Python sees
// the EOI, above all in Bochs, whose time runs ahead while a CPU waits.
static uint32_t interrupt_ticks(void) {
    uint32_t least = UINT32_MAX / 16; // four periods of four are a count
    apic_write(APIC_LVT_TIMER, LVT_MASKED | VTIMER);
    for (unsigned i = 0; i < 5; i++) {
        uint32_t before = apic_read(APIC_CURRENT);
        self(V40);
        open_window();
        uint32_t took = before - apic_read(APIC_CURRENT);
        least = took < least ? took : least;
    }
    apic_write(APIC_LVT_TIMER, VTIMER);
    return least;
}

static void check_one_shot(void) {
    uint32_t before = apic_hits[VTIMER];
    apic_write(APIC_LVT_TIMER, VTIMER);
    apic_write(APIC_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_INITIAL, 4000000000u);
    uint32_t first = apic_read(APIC_CURRENT);
    delay_ms(1);
    uint32_t second = apic_read(APIC_CURRENT);
    CHECK("the count falls", second < first && second > 0, "%u to %u", first, second);
    CHECK("INITIAL reads back", apic_read(APIC_INITIAL) == 4000000000u, "%u", apic_read(APIC_INITIAL));
    uint32_t handled = interrupt_ticks();
    apic_write(APIC_INITIAL, 0);
    CHECK("0 stops it", apic_read(APIC_CURRENT) == 0, "%u", apic_read(APIC_CURRENT));
    uint32_t count = (first - second) * 5; // some 5 ms
    if (count < 4 * handled) {
        count = 4 * handled; // a period must leave room for more than its handler
    }
    apic_write(APIC_INITIAL, count);
    CHECK("one-shot comes", apic_wait(VTIMER, before + 1, WAIT_MS), "did not");
    delay_ms(10);
    open_window();
    CHECK("and only once", apic_hits[VTIMER] == before + 1 && apic_read(APIC_CURRENT) == 0, "%u, count %u",
        apic_hits[VTIMER] - before, apic_read(APIC_CURRENT));
    apic_write(APIC_INITIAL, count);
    uint64_t start = rdtsc();
    while (apic_hits[VTIMER] == before + 1 && rdtsc() - start < 2 * tsc_hz()) {
        wait_for_interrupt();
    }
    CHECK("one-shot ends HLT", apic_hits[VTIMER] == before + 2, "%u", apic_hits[VTIMER] - before);
    apic_write(APIC_LVT_TIMER, LVT_MASKED | VTIMER);
    before = apic_hits[VTIMER];
    apic_write(APIC_INITIAL, count / 5);
    start = rdtsc(); // a busy host may have stretched what `count` was measured by
    while (apic_read(APIC_CURRENT) != 0 && rdtsc() - start < 2 * tsc_hz()) {
        delay_ms(1);
    }
    open_window();
    CHECK("masked it only counts", apic_hits[VTIMER] == before && apic_read(APIC_CURRENT) == 0, "came");
    apic_write(APIC_LVT_TIMER, TIMER_PERIODIC | VTIMER);
    start = rdtsc();
    apic_write(APIC_INITIAL, count);
    bool five = apic_wait(VTIMER, before + 5, WAIT_MS);
    uint64_t ms = (rdtsc() - start) * 1000 / tsc_hz();
    CHECK("periodic comes again and again", five && ms >= 20, "%u in %llu ms", apic_hits[VTIMER] - before,
        (unsigned long long)ms);
    // A change of mode does not touch the count.
    apic_write(APIC_LVT_TIMER, LVT_MASKED | VTIMER);
    apic_write(APIC_INITIAL, 4 * count);
    apic_write(APIC_LVT_TIMER, LVT_MASKED | TIMER_PERIODIC | VTIMER);
    uint32_t now = apic_read(APIC_CURRENT);
    CHECK("the count goes on as periodic", now <= 4 * count && apic_read(APIC_INITIAL) == 4 * count, "%u", now);
    CHECK("and begins again", count_rises(), "it does not");
    apic_write(APIC_LVT_TIMER, LVT_MASKED | VTIMER);
    CHECK("and ends as one-shot", !count_rises() && apic_read(APIC_CURRENT) == 0, "%u", apic_read(APIC_CURRENT));
    apic_write(APIC_INITIAL, 0);
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    open_window();
}

static void check_deadline(void) {
    if (!(cpuid(1, 0).ecx >> CPUID_1_ECX_DEADLINE & 1)) {
        skip(named("TSC-deadline"), "this CPU has none");
        return;
    }
    uint32_t before = apic_hits[VTIMER];
    apic_write(APIC_LVT_TIMER, TIMER_DEADLINE | VTIMER);
    uint64_t deadline = rdtsc() + 1000 * tsc_hz();
    wrmsr(MSR_TSC_DEADLINE, deadline);
    CHECK("deadline reads back", rdmsr(MSR_TSC_DEADLINE) == deadline, "%llx",
        (unsigned long long)rdmsr(MSR_TSC_DEADLINE));
    deadline = rdtsc() + tsc_hz() / 200;
    wrmsr(MSR_TSC_DEADLINE, deadline);
    bool came = apic_wait(VTIMER, before + 1, WAIT_MS);
    CHECK("deadline comes, not too early", came && rdtsc() >= deadline, "%u", apic_hits[VTIMER] - before);
    CHECK("and reads 0 afterwards", rdmsr(MSR_TSC_DEADLINE) == 0, "not");
    wrmsr(MSR_TSC_DEADLINE, rdtsc() - 1);
    CHECK("a past one comes at once", apic_wait(VTIMER, before + 2, WAIT_MS), "did not");
    // A busy host may keep this CPU waiting past the deadline: such a try says nothing.
    bool in_time = false;
    for (unsigned i = 0; i < 20 && !in_time; i++) {
        before = apic_hits[VTIMER];
        deadline = rdtsc() + tsc_hz() / 100;
        wrmsr(MSR_TSC_DEADLINE, deadline);
        wrmsr(MSR_TSC_DEADLINE, 0);
        in_time = rdtsc() < deadline;
        delay_ms(20);
        open_window();
    }
    CHECK("0 disarms it", in_time && apic_hits[VTIMER] == before, "%u", apic_hits[VTIMER] - before);
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + tsc_hz() / 200);
    uint64_t start = rdtsc();
    while (apic_hits[VTIMER] == before && rdtsc() - start < 2 * tsc_hz()) {
        wait_for_interrupt();
    }
    CHECK("deadline ends HLT", apic_hits[VTIMER] == before + 1, "%u", apic_hits[VTIMER] - before);
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
}

// ---- NMI ----

static volatile uint32_t nmis, nmi_depth, nmi_deepest;
static volatile uint64_t nmi_rip[4];

static bool on_nmi(struct trap_frame *frame) {
    nmi_rip[nmis % 4] = frame->rip;
    nmis++;
    nmi_depth++;
    nmi_deepest = nmi_depth > nmi_deepest ? nmi_depth : nmi_deepest;
    if (nmis == 2) { // another one waits until this handler's IRET
        apic_command(apic_id(), ICR_NMI);
        cpuid(0, 0);
        __asm__ volatile ("nop; nop; nop");
    }
    nmi_depth--;
    return true;
}

static void check_nmi(void) {
    trap_hook(2, on_nmi);
    nmis = nmi_deepest = 0;
    apic_command(apic_id(), ICR_NMI);
    cpuid(0, 0);
    CHECK("NMI comes with IF clear", nmis == 1, "%u", nmis);
    apic_command(apic_id(), ICR_NMI);
    cpuid(0, 0);
    cpuid(0, 0);
    CHECK("an NMI within one waits for IRET", nmis == 3 && nmi_deepest == 1, "%u, depth %u", nmis, nmi_deepest);
    CHECK("and comes right behind it", nmi_rip[2] == nmi_rip[1], "at %llx, IRET led to %llx",
        (unsigned long long)nmi_rip[2], (unsigned long long)nmi_rip[1]);
}

// ---- The 8259 ----

static void check_extint(void) {
    uint32_t lint0 = apic_read(APIC_LVT_LINT0);
    irq_init();
    pit_periodic(1000);
    irq_unmask(0);
    apic_write(APIC_LVT_LINT0, LVT_EXTINT);
    uint64_t before = irq_count[0], stop = rdtsc() + 2 * tsc_hz();
    while (irq_count[0] < before + 3 && rdtsc() < stop) {
        wait_for_interrupt();
    }
    CHECK("the 8259 comes through LINT0", irq_count[0] >= before + 3, "%llu",
        (unsigned long long)(irq_count[0] - before));
    apic_write(APIC_TPR, 0xFF);
    before = irq_count[0];
    stop = rdtsc() + 2 * tsc_hz();
    while (irq_count[0] == before && rdtsc() < stop) {
        open_window();
    }
    CHECK("TPR does not hold it back", irq_count[0] > before, "none");
    apic_write(APIC_TPR, 0);
    apic_write(APIC_LVT_LINT0, LVT_MASKED | LVT_EXTINT);
    open_window();
    before = irq_count[0];
    delay_ms(10);
    open_window();
    CHECK("a masked LINT0 lets none through", irq_count[0] == before || bare_tcg(), "%llu",
        (unsigned long long)(irq_count[0] - before));
    irq_mask(0);
    apic_write(APIC_LVT_LINT0, lint0 | LVT_MASKED);
}

static void check_all(void) {
    check_self_ipi();
    check_order();
    check_nesting();
    check_tpr();
    check_errors();
    check_disable();
    check_one_shot();
    check_deadline();
    check_nmi();
    check_extint();
}

// ---- x2APIC ----

static bool write_faults(uint32_t index, uint64_t value) {
    trap_clear();
    __asm__ volatile (GUARD("wrmsr") : : "a" ((uint32_t)value), "d" ((uint32_t)(value >> 32)), "c" (index)
        : "memory");
    return trap_was(TRAP_GP);
}

static bool read_faults(uint32_t index) {
    uint32_t low, high;
    trap_clear();
    __asm__ volatile (GUARD("rdmsr") : "=a" (low), "=d" (high) : "c" (index) : "memory");
    return trap_was(TRAP_GP);
}

static void check_x2(void) {
    uint64_t base = rdmsr(MSR_APIC_BASE);
    expect("x2APIC registers need its mode", read_faults(MSR_X2APIC + APIC_ID), "no #GP");
    expect("x2APIC needs the APIC", write_faults(MSR_APIC_BASE, (base & ~(uint64_t)BASE_ENABLE) | BASE_X2), "no #GP");
    apic_enter_x2();
    base = rdmsr(MSR_APIC_BASE);
    mode = "x2APIC";
    check_all();
    uint32_t id = apic_id();
    CHECK("LDR follows from the id", apic_read(APIC_LDR) == (id >> 4 << 16 | 1u << (id & 15)), "%x",
        apic_read(APIC_LDR));
    uint32_t before = apic_hits[V40];
    wrmsr(MSR_X2APIC + APIC_SELF_IPI, V40);
    open_window();
    CHECK("SELF_IPI", apic_hits[V40] == before + 1, "%u", apic_hits[V40] - before);
    CHECK("faults of EOI", write_faults(MSR_X2APIC + APIC_EOI, 1) && read_faults(MSR_X2APIC + APIC_EOI), "no #GP");
    CHECK("faults of ID and DFR", write_faults(MSR_X2APIC + APIC_ID, 0) && read_faults(MSR_X2APIC + APIC_DFR),
        "no #GP");
    CHECK("faults of reserved bits", write_faults(MSR_X2APIC + APIC_TPR, 0x100)
        && write_faults(MSR_X2APIC + APIC_LVT_TIMER, 0x100000), "no #GP");
    CHECK("no way back but off", write_faults(MSR_APIC_BASE, base & ~(uint64_t)BASE_X2), "no #GP");
}

// The page can lie elsewhere, one CPU's own.
static void check_moved(void) {
    enum { ELSEWHERE = 0xFED40000, RAM = 0x200000, PAGE_BITS = 0xFFF };
    uint64_t base = rdmsr(MSR_APIC_BASE);
    uint32_t version = apic_read(APIC_VERSION), before = apic_hits[V40];
    wrmsr(MSR_APIC_BASE, ELSEWHERE | (base & PAGE_BITS));
    volatile uint32_t *page = (volatile uint32_t *)(uintptr_t)ELSEWHERE;
    uint32_t here = page[APIC_VERSION * 4], old = apic_read(APIC_VERSION);
    page[APIC_ICR * 4] = ICR_SELF | V40;
    wrmsr(MSR_APIC_BASE, base);
    open_window();
    expect("the page can move", here == version && old != version, "%x here, %x where it was", here, old);
    expect("and works there", apic_hits[V40] == before + 1, "%u", apic_hits[V40] - before);
    expect("reserved bits of APIC_BASE", write_faults(MSR_APIC_BASE, base | 1)
        && write_faults(MSR_APIC_BASE, base | 1ull << 52), "no #GP");
    if (under_vipervisor()) {
        expect("it cannot hide RAM", write_faults(MSR_APIC_BASE, RAM | (base & PAGE_BITS)), "no #GP");
    }
}

// Off and on again: everything is as after reset.
static void check_off(void) {
    uint64_t base = rdmsr(MSR_APIC_BASE) & ~(uint64_t)(BASE_ENABLE | BASE_X2);
    wrmsr(MSR_APIC_BASE, base);
    expect("CPUID hides an APIC that is off", !(cpuid(1, 0).edx >> CPUID_1_EDX_APIC & 1), "shown");
    wrmsr(MSR_APIC_BASE, base | BASE_ENABLE);
    expect("CPUID shows it again", cpuid(1, 0).edx >> CPUID_1_EDX_APIC & 1, "not");
    expect("SVR is as after reset", apic_read(APIC_SVR) == 0xFF, "%x", apic_read(APIC_SVR));
    mode = "xAPIC again";
    apic_enable();
    check_self_ipi();
}

int guest_main(void) {
    tsc_hz();
    irq_init();
    for (unsigned vector = 0x40; vector < 0x100; vector++) {
        apic_count(vector);
    }
    mode = "xAPIC";
    expect("CPUID shows an APIC", cpuid(1, 0).edx >> CPUID_1_EDX_APIC & 1, "not");
    expect("its id is CPUID's", apic_id() == cpuid(1, 0).ebx >> 24, "%x", apic_id());
    apic_enable();
    expect("its version", (apic_read(APIC_VERSION) & 0xFF) >= 0x10, "%x", apic_read(APIC_VERSION));
    check_all();
    if (bare_tcg()) {
        skip("the page can move", "QEMU's stays");
    } else {
        check_moved();
    }
    if (apic_has_x2()) {
        check_x2();
    } else {
        skip("x2APIC", "this CPU has none");
    }
    if (bare_tcg()) {
        skip("APIC off and on", "QEMU's CPU keeps it off");
    } else {
        check_off();
    }
    return check_end();
}
