// Several CPUs: start-up by INIT-SIPI, IPIs of all kinds between them, TLB shootdown,
// clocks in step, sleep without end and INIT out of it. "cpus=N" on the command line says
// how many there should be. Other things to do instead: "mode=beat" prints a line whenever
// all CPUs have got on, for ever; "mode=crash" lets the last one fault; "mode=exit" lets it
// end the guest with 7.
#include "apic.h"
#include "check.h"
#include "guest.h"
#include "nmi.h"
#include "paging.h"
#include "traps.h"

enum {
    CPUS_MAX = 8, STACK_SIZE = 1 << 14, AP_PAGE = 0x8000, WAIT_MS = 5000,
    VPING = 0x81, VFLUSH = 0x91, VTIMER = 0x71, VALL = 0xA1, VLOWEST = 0xB1, VLOGICAL = 0xC1,
    PATTERN = 0x1000,
};

// What a CPU does between two commands.
enum command { IDLE, SLEEP_DEAF, COUNT, TICK_TOCK, TIMER, NMI_SHADOW, NMI_PAIRS, RELAY, BEAT, CRASH, EXIT };

struct cpu {
    volatile uint32_t starts, id, x2_id, command, done;
    volatile uint32_t pings, alls, lowest, logicals, flushes, nmis, timers;
    volatile uint64_t seen; // what a shootdown found
    volatile uint64_t beats;
} __attribute__((aligned(64)));

extern const uint8_t ap_start[], ap_end[];
void ap_main(uint32_t number);
uint8_t ap_stacks[(CPUS_MAX + 1) * STACK_SIZE] __attribute__((aligned(16)));
volatile uint32_t ap_next; // numbers given to CPUs as they start
struct {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed)) ap_idt_pointer;

static struct cpu cpus[256]; // by APIC id
static volatile uint32_t started;
static uint32_t others; // CPUs besides this one
static bool use_x2;

static struct cpu *me(void) {
    return &cpus[apic_id() & 0xFF];
}

static void add(volatile uint32_t *to) {
    __atomic_fetch_add(to, 1, __ATOMIC_SEQ_CST);
}

// ---- Handlers, on any CPU ----

#define HANDLER(name, what) \
    static bool name(struct trap_frame *frame) { \
        (void)frame; \
        what; \
        apic_write(APIC_EOI, 0); \
        return true; \
    }
static uint64_t *const window = (uint64_t *)PAGE_WINDOW;

HANDLER(on_ping, add(&me()->pings))
HANDLER(on_all, add(&me()->alls))
HANDLER(on_lowest, add(&me()->lowest))
HANDLER(on_logical, add(&me()->logicals))
HANDLER(on_timer, add(&me()->timers))
HANDLER(on_flush, invlpg(window); me()->seen = *(volatile uint64_t *)window; add(&me()->flushes))

extern const uint8_t relay_look[], relay_over[];

// One that comes between the look and the HLT is not slept over.
static bool on_nmi(struct trap_frame *frame) {
    if (frame->rip >= (uintptr_t)relay_look && frame->rip < (uintptr_t)relay_over) {
        frame->rip = (uintptr_t)relay_over;
    }
    add(&me()->nmis);
    nmi_came(frame);
    return true;
}

// ---- The other CPUs ----

static volatile uint64_t shared_count;
static volatile uint64_t tick; // a TSC value handed to and fro
static volatile uint32_t turn, tick_rounds, tick_backwards;
static volatile uint32_t relay_rounds, relay_boss;

static void count(void) {
    for (unsigned i = 0; i < 20000; i++) {
        __atomic_fetch_add(&shared_count, 1, __ATOMIC_SEQ_CST);
    }
}

// Whoever's turn it is must read a TSC at or past the one it is handed.
static void tick_tock(uint32_t side) {
    while (tick_rounds != 0) {
        if (turn == side) {
            uint64_t before = tick, now = rdtsc();
            if (now < before) {
                tick_backwards++;
            }
            tick = rdtsc();
            if (side == 0) {
                tick_rounds--;
            }
            __atomic_thread_fence(__ATOMIC_SEQ_CST);
            turn = !side;
        }
        cpu_pause();
    }
}

// With interrupts off, until the count of NMIs is another.
static __attribute__((noinline)) void sleep_deaf(volatile uint32_t *count, uint32_t old) {
    __asm__ volatile (
        "relay_look: cmpl %1, %0\n"
        "jne relay_over\n"
        "hlt\n"
        "relay_over:" : : "m" (*count), "r" (old) : "memory", "cc");
}

// NMIs to and fro; each sleeps deaf until the other's, so for a moment one is only about to
// wake while the other sleeps already: nobody may take that for the end.
static void relay(uint32_t to, bool first) {
    struct cpu *cpu = me();
    uint32_t from = cpu->nmis;
    if (!first) {
        add(&cpu->done);
    }
    for (uint32_t i = 0; i < relay_rounds; i++) {
        if (first) {
            apic_command(to, ICR_NMI);
        }
        while (cpu->nmis == from + i) {
            sleep_deaf(&cpu->nmis, from + i);
        }
        if (!first) {
            apic_command(to, ICR_NMI);
        }
    }
}

static void one_timer(void) {
    uint32_t before = me()->timers;
    apic_write(APIC_LVT_TIMER, VTIMER);
    apic_write(APIC_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_INITIAL, 3000000);
    while (me()->timers == before) {
        wait_for_interrupt();
    }
}

static _Noreturn void beat(void) {
    for (;;) {
        me()->beats++;
        cpu_pause();
    }
}

static _Noreturn void crash(void) {
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) nothing = {0, 0};
    __asm__ volatile ("lidt %0; ud2" : : "m" (nothing));
    for (;;) {
    }
}

void ap_main(uint32_t number) {
    (void)number;
    if (use_x2) {
        apic_enter_x2();
    }
    apic_enable();
    struct cpu *cpu = me();
    cpu->id = cpuid(1, 0).ebx >> 24;
    cpu->x2_id = cpuid(0, 0).eax >= 0xB ? cpuid(0xB, 0).edx : cpu->id;
    cpu->command = IDLE;
    if (!use_x2) {
        apic_write(APIC_DFR, 0xFFFFFFFF);
        apic_write(APIC_LDR, 1u << 24 << (apic_id() & 7));
    }
    add(&cpu->starts);
    add(&started);
    for (;;) {
        uint32_t command = cpu->command;
        interrupts_off();
        switch (command) {
            case SLEEP_DEAF:
                cpu->command = IDLE;
                add(&cpu->done);
                cpu_hlt(); // until an NMI
                continue;
            case COUNT: count(); break;
            case TICK_TOCK: tick_tock(1); break;
            case TIMER: one_timer(); break;
            case NMI_SHADOW: nmi_shadow(); break;
            case NMI_PAIRS: nmi_pairs(); break;
            case RELAY: relay(relay_boss, false); break;
            case BEAT: beat();
            case CRASH: crash();
            case EXIT: outb(PORT_EXIT, 7); break;
            default:
                if (cpu->command == IDLE) {
                    wait_for_interrupt();
                }
                continue;
        }
        cpu->command = IDLE;
        add(&cpu->done);
    }
}

// ---- The boot CPU ----

static bool wait_for(volatile uint32_t *what, uint32_t value) {
    uint64_t stop = rdtsc() + (uint64_t)WAIT_MS * (tsc_hz() / 1000);
    while (*what < value) {
        if (rdtsc() > stop) {
            return false;
        }
        cpu_pause();
    }
    return true;
}

static void for_each(void (*what)(uint32_t id)) {
    for (uint32_t id = 0; id < 256; id++) {
        if (cpus[id].starts != 0 && id != apic_id()) {
            what(id);
        }
    }
}

static void wake_up(void) {
    memcpy((void *)(uintptr_t)AP_PAGE, ap_start, (size_t)(ap_end - ap_start));
    __asm__ volatile ("sidt %0" : "=m" (ap_idt_pointer));
    apic_command(0, ICR_OTHERS | ICR_INIT);
    delay_ms(10);
    for (unsigned i = 0; i < 2; i++) { // a CPU that runs ignores the second
        apic_command(0, ICR_OTHERS | ICR_STARTUP | AP_PAGE >> 12);
        delay_ms(1);
    }
}

static void check_start(uint32_t expected) {
    wake_up();
    bool all = wait_for(&started, expected - 1);
    delay_ms(20); // and no more than those
    others = started;
    expect("all CPUs start", all && started == expected - 1, "%u of %u", started + 1, expected);
    bool ids = true;
    for (uint32_t id = 0; id < 256; id++) {
        if (cpus[id].starts != 0) {
            ids = ids && cpus[id].starts == 1 && cpus[id].id == id && cpus[id].x2_id == id;
        }
    }
    expect("each once, with an id of its own", ids, "not");
}

static uint32_t failures;

static void ping(uint32_t id) {
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t before = cpus[id].pings;
        apic_command(id, VPING);
        if (!wait_for(&cpus[id].pings, before + 1) || cpus[id].pings != before + 1) {
            failures++;
            return;
        }
    }
}

static void nmi_to(uint32_t id) {
    uint32_t done = cpus[id].done, before = cpus[id].nmis;
    cpus[id].command = SLEEP_DEAF;
    apic_command(id, VPING); // it looks at its command
    if (!wait_for(&cpus[id].done, done + 1)) {
        failures++;
    }
    delay_ms(2);
    uint32_t pings = cpus[id].pings;
    apic_command(id, VPING); // which does not wake it
    delay_ms(5);
    failures += cpus[id].pings != pings;
    apic_command(id, ICR_NMI);
    if (!wait_for(&cpus[id].nmis, before + 1)) {
        failures++;
    }
    failures += !wait_for(&cpus[id].pings, pings + 1);
}

static void check_ipis(void) {
    failures = 0;
    for_each(ping);
    expect("fixed IPIs to a sleeping CPU", failures == 0, "%u CPUs", failures);
    failures = 0;
    for_each(nmi_to);
    expect("an NMI ends a deaf sleep", failures == 0, "%u failures", failures);

    struct cpu *self = me();
    uint32_t before = self->alls;
    apic_command(0, ICR_OTHERS | VALL);
    uint32_t got = 0;
    uint64_t stop = rdtsc() + 2 * tsc_hz();
    while (got < others && rdtsc() < stop) {
        got = 0;
        for (uint32_t id = 0; id < 256; id++) {
            got += cpus[id].alls != 0;
        }
    }
    __asm__ volatile ("sti; nop; nop; cli");
    expect("to all but oneself", got == others && self->alls == before, "%u, self %u", got, self->alls - before);
    apic_command(0, ICR_ALL | VALL);
    __asm__ volatile ("sti; nop; nop; cli");
    failures = 0;
    for (uint32_t id = 0; id < 256; id++) {
        if (cpus[id].starts != 0 && id != apic_id()) {
            failures += !wait_for(&cpus[id].alls, 2);
        }
    }
    expect("to all", failures == 0 && self->alls == before + 1, "%u, self %u", failures, self->alls - before);
    apic_command(use_x2 ? 0xFFFFFFFF : 0xFF, VALL);
    __asm__ volatile ("sti; nop; nop; cli");
    for (uint32_t id = 0; id < 256; id++) {
        if (cpus[id].starts != 0 && id != apic_id()) {
            failures += !wait_for(&cpus[id].alls, 3);
        }
    }
    expect("to everybody by destination", failures == 0 && self->alls == before + 2, "%u, self %u", failures,
        self->alls - before);
}

// A set of CPUs: all of them, or one of them that has least to do.
static void check_logical(void) {
    uint32_t set = use_x2 ? 0xFFFE : 0xFE; // all but this one
    apic_command(set, ICR_LOGICAL | VLOGICAL);
    delay_ms(20);
    uint32_t all = 0;
    for (uint32_t id = 0; id < 256; id++) {
        all += cpus[id].logicals;
    }
    expect("logical destination", all == others && me()->logicals == 0, "%u of %u", all, others);
    for (unsigned i = 0; i < 10; i++) {
        uint32_t sum = 0;
        apic_command(set, ICR_LOGICAL | ICR_LOWEST | VLOWEST);
        uint64_t stop = rdtsc() + 2 * tsc_hz();
        while (sum < i + 1 && rdtsc() < stop) {
            sum = 0;
            for (uint32_t id = 0; id < 256; id++) {
                sum += cpus[id].lowest;
            }
        }
    }
    delay_ms(5);
    uint32_t one = 0;
    for (uint32_t id = 0; id < 256; id++) {
        one += cpus[id].lowest;
    }
    expect("lowest priority takes one each", one == 10, "%u of 10", one);
}

static void run_all_at(uint32_t command) {
    for (uint32_t id = 0; id < 256; id++) {
        if (cpus[id].starts != 0) {
            cpus[id].command = command;
        }
    }
    apic_command(0, ICR_OTHERS | VPING);
}

static void run_all(uint32_t command) {
    uint32_t done[256];
    for (uint32_t id = 0; id < 256; id++) {
        done[id] = cpus[id].done;
    }
    run_all_at(command);
    if (command == COUNT) {
        count();
    }
    failures = 0;
    for (uint32_t id = 0; id < 256; id++) {
        if (cpus[id].starts != 0 && id != apic_id()) {
            failures += !wait_for(&cpus[id].done, done[id] + 1);
        }
    }
}

static void check_together(void) {
    run_all(COUNT);
    expect("locked additions of all", failures == 0 && shared_count == 20000ull * (others + 1), "%llu",
        (unsigned long long)shared_count);
    run_all(TIMER);
    expect("each has its own timer", failures == 0, "%u without", failures);
}

// The boot CPU changes a page, the others forget their translation and tell what they see.
static void check_shootdown(uint32_t rounds) {
    static uint64_t pages[2][512] __attribute__((aligned(4096)));
    pages[0][0] = PATTERN;
    pages[1][0] = PATTERN + 1;
    uint32_t before[256], wrong = 0, lost = 0;
    for (uint32_t id = 0; id < 256; id++) {
        before[id] = cpus[id].flushes;
    }
    page_set(PAGE_WINDOW, (uintptr_t)pages[0] | PTE_PRESENT_WRITE_USER);
    uint64_t start = rdtsc();
    for (uint32_t i = 0; i < rounds && lost == 0; i++) {
        page_set(PAGE_WINDOW, (uintptr_t)pages[i & 1] | PTE_PRESENT_WRITE_USER);
        apic_command(0, ICR_OTHERS | VFLUSH);
        for (uint32_t id = 0; id < 256; id++) {
            if (cpus[id].starts != 0 && id != apic_id()) {
                lost += !wait_for(&cpus[id].flushes, before[id] + i + 1);
                wrong += cpus[id].seen != PATTERN + (i & 1);
            }
        }
    }
    uint64_t ns = (rdtsc() - start) * 1000 / (tsc_hz() / 1000000) / rounds;
    expect("shootdowns", lost == 0 && wrong == 0, "%u lost, %u wrong", lost, wrong);
    print("shootdown of %u CPUs: %llu ns\n", others, (unsigned long long)ns);
}

static void tick_with(uint32_t id) {
    uint32_t done = cpus[id].done;
    tick_rounds = (uint32_t)option_number("rounds", 2000);
    tick = 0;
    turn = 0;
    cpus[id].command = TICK_TOCK;
    apic_command(id, VPING);
    tick_tock(0);
    failures += !wait_for(&cpus[id].done, done + 1);
}

static void relay_with(uint32_t id) {
    uint32_t done = cpus[id].done;
    relay_boss = apic_id();
    cpus[id].command = RELAY;
    apic_command(id, VPING);
    if (!wait_for(&cpus[id].done, done + 1)) {
        failures++;
        return;
    }
    interrupts_off();
    relay(id, true);
    interrupts_on();
    failures += !wait_for(&cpus[id].done, done + 2);
}

static void check_relay(uint32_t rounds) {
    failures = 0;
    relay_rounds = rounds;
    for_each(relay_with);
    expect("NMIs between deaf sleepers", failures == 0, "%u failures", failures);
}

static void check_tsc(void) {
    failures = 0;
    for_each(tick_with);
    expect("no TSC is behind another", failures == 0 && tick_backwards == 0, "%u of them", tick_backwards);
}

static void nmis_with(uint32_t id) {
    for (uint32_t command = NMI_SHADOW; command <= NMI_PAIRS; command++) {
        uint32_t done = cpus[id].done;
        nmi_begin();
        cpus[id].command = command;
        apic_command(id, VPING);
        failures += !(command == NMI_SHADOW ? nmi_shadow_from(id) : nmi_pairs_with());
        failures += !wait_for(&cpus[id].done, done + 1);
    }
}

static void check_nmis(void) {
    failures = 0;
    for_each(nmis_with);
    expect("NMIs to and fro", failures == 0, "%u failures", failures);
    nmi_report();
}

static void check_init_again(void) {
    uint32_t first = started;
    run_all(SLEEP_DEAF);
    delay_ms(5);
    ap_next = 0; // their stacks are free
    wake_up();
    bool all = wait_for(&started, first + others);
    expect("INIT and start-up again", all, "%u of %u", started - first, others);
    failures = 0;
    for_each(ping);
    expect("and they answer", failures == 0, "%u do not", failures);
}

static void beat_for_ever(void) {
    uint64_t last[256] = {0}, lines = 0, clock = rdtsc();
    run_all_at(BEAT);
    for (;;) {
        bool all = true;
        uint64_t now = rdtsc();
        for (uint32_t id = 0; id < 256; id++) {
            all = all && (cpus[id].starts == 0 || cpus[id].beats != last[id]);
        }
        if (now - clock > tsc_hz()) {
            print("a gap of %llu ms\n", (unsigned long long)((now - clock) * 1000 / tsc_hz()));
        }
        clock = now;
        if (all) {
            for (uint32_t id = 0; id < 256; id++) {
                last[id] = cpus[id].beats;
            }
            print("beat %llu\n", (unsigned long long)lines++);
            delay_ms(20);
            clock = rdtsc();
        }
    }
}

static void check_all(uint32_t expected, uint32_t rounds) {
    check_start(expected);
    check_ipis();
    check_logical();
    check_together();
    check_shootdown(rounds);
    check_relay(rounds / 4);
    check_tsc();
    check_nmis();
    check_init_again();
}

int guest_main(void) {
    tsc_hz();
    irq_init();
    use_x2 = option("x2", &(const char *){NULL}) && apic_enter_x2();
    apic_enable();
    trap_hook(2, on_nmi);
    trap_hook(VPING, on_ping);
    trap_hook(VFLUSH, on_flush);
    trap_hook(VALL, on_all);
    trap_hook(VLOWEST, on_lowest);
    trap_hook(VLOGICAL, on_logical);
    trap_hook(VTIMER, on_timer);
    uint32_t told = under_vipervisor() ? cpuid(0x40000001, 0).ecx : 1;
    uint32_t expected = (uint32_t)option_number("cpus", told);
    expect("CPUID counts the CPUs", !under_vipervisor() || (cpuid(1, 0).ebx >> 16 & 0xFF) == expected, "%u",
        cpuid(1, 0).ebx >> 16 & 0xFF);
    const char *what;
    if (option("mode", &what)) {
        wake_up();
        print("%s\n", wait_for(&started, expected - 1) ? "started" : "not started");
        if (memcmp(what, "beat", 4) == 0) {
            beat_for_ever();
        }
        cpus[expected - 1].command = memcmp(what, "crash", 5) == 0 ? CRASH : EXIT;
        apic_command(expected - 1, VPING);
        for (;;) {
            wait_for_interrupt();
        }
    }
    check_all(expected, (uint32_t)option_number("rounds", 2000));
    return check_end();
}
