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
#include "smp.h"
#include "traps.h"

enum { CPUS_MAX = 8, STACK_SIZE = 1 << 14, AP_PAGE = 0x8000, PATTERN = 0x1000 };
enum { VFLUSH = 0x91, VTIMER = 0x71 };

extern const uint8_t ap_start[], ap_end[];
void ap_main(uint32_t number);
uint8_t ap_stacks[(CPUS_MAX + 1) * STACK_SIZE] __attribute__((aligned(16)));
volatile uint32_t ap_next; // numbers given to CPUs as they start
struct {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed)) ap_idt_pointer;

struct cpu cpus[256];
uint32_t others, failures;
bool use_x2;
static volatile uint32_t started;

// ---- Handlers, on any CPU ----

static uint64_t *const window = (uint64_t *)PAGE_WINDOW;

HANDLER(on_timer, add(&me()->timers))
HANDLER(on_flush, invlpg(window); me()->seen = *(volatile uint64_t *)window; add(&me()->flushes))

// ---- The other CPUs ----

static volatile uint64_t shared_count;
static volatile uint64_t tick; // a TSC value handed to and fro
static volatile uint32_t turn, tick_rounds, tick_backwards;

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
                deaf_sleep();
                continue;
            case COUNT: count(); break;
            case TICK_TOCK: tick_tock(1); break;
            case TIMER: one_timer(); break;
            case NMI_SHADOW: nmi_shadow(); break;
            case NMI_PAIRS: nmi_pairs(); break;
            case RELAY: deaf_relay(); break;
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

bool wait_for(volatile uint32_t *what, uint32_t value) {
    uint64_t stop = rdtsc() + (uint64_t)WAIT_MS * (tsc_hz() / 1000);
    while (*what < value) {
        if (rdtsc() > stop) {
            return false;
        }
        cpu_pause();
    }
    return true;
}

void for_each(void (*what)(uint32_t id)) {
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
    check_pings();
    check_deaf_sleep();
    check_broadcasts();
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
    ipi_begin();
    deaf_begin();
    trap_hook(VFLUSH, on_flush);
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
    check_tables(expected);
    check_all(expected, (uint32_t)option_number("rounds", 2000));
    return check_end();
}
