// The I/O APIC: edges from the PIT and the UART, levels from the real-time clock with
// remote IRR and EOI, masks, polarity, destinations; with "lines" on the command line, and
// the test device, pins 14 to 23.
#include "apic.h"
#include "check.h"
#include "guest.h"
#include "traps.h"

enum {
    PIN_TIMER = 2, PIN_COM1 = 4, PIN_RTC = 8, PINS = 24,
    LINES = 0x2000, // a port for each line of the test device
    VTIMER = 0x51, VCOM1 = 0x61, VRTC = 0x71, VLINE = 0x81, WAIT_MS = 2000,
    ENTRY_LOW = 0x2000, ENTRY_REMOTE_IRR = 0x4000, ENTRY_LEVEL = 0x8000, ENTRY_MASKED = 0x10000,
    ENTRY_LOGICAL = 0x800, ENTRY_LOWEST = 0x100,
    REDIRECTION = 0x10,
    // MC146818A, and 16550 registers.
    RTC_INDEX = 0x70, RTC_DATA = 0x71, RTC_A = 0x0A, RTC_B = 0x0B, RTC_C = 0x0C,
    RTC_RATE_1024 = 0x26, RTC_PIE = 0x40, RTC_24H = 0x02,
    COM1_IER = PORT_COM1 + 1, COM1_IIR = PORT_COM1 + 2, COM1_MCR = PORT_COM1 + 4, IER_THRE = 2, MCR_OUT2 = 8,
};

static bool bare_tcg(void) {
    return !under_vipervisor() && cpu_is_tcg();
}

static void mask(unsigned pin) {
    ioapic_write(REDIRECTION + 2 * pin, ENTRY_MASKED);
}

static void check_registers(void) {
    uint32_t version = ioapic_read(1);
    expect("24 pins", (version >> 16 & 0xFF) == PINS - 1, "%x", version);
    bool masked = true;
    for (unsigned pin = 0; pin < PINS; pin++) {
        masked = masked && (ioapic_read(REDIRECTION + 2 * pin) & ENTRY_MASKED);
    }
    expect("all masked at first", masked || !under_vipervisor(), "not");
    ioapic_route(20, 0xAB, ENTRY_MASKED | ENTRY_LEVEL | 0x55);
    expect("an entry reads back", ioapic_read(REDIRECTION + 40) == (ENTRY_MASKED | ENTRY_LEVEL | 0x55)
        && ioapic_read(REDIRECTION + 41) == 0xAB000000, "%x", ioapic_read(REDIRECTION + 40));
    mask(20);
}

static void check_timer(void) {
    pit_periodic(200);
    ioapic_route(PIN_TIMER, (uint8_t)apic_id(), VTIMER);
    uint64_t start = rdtsc();
    bool came = apic_wait(VTIMER, 10, WAIT_MS);
    uint64_t ms = (rdtsc() - start) * 1000 / tsc_hz();
    expect("the PIT comes by pin 2", came && ms >= 30, "%u in %llu ms", apic_hits[VTIMER], (unsigned long long)ms);
    ioapic_route(PIN_TIMER, (uint8_t)apic_id(), ENTRY_MASKED | VTIMER);
    __asm__ volatile ("sti; nop; nop; cli");
    uint32_t before = apic_hits[VTIMER];
    delay_ms(30);
    __asm__ volatile ("sti; nop; nop; cli");
    expect("masked it does not", apic_hits[VTIMER] == before, "%u", apic_hits[VTIMER] - before);
    // By a set of CPUs, whichever has least to do.
    apic_write(APIC_DFR, 0xFFFFFFFF);
    apic_write(APIC_LDR, 0x01000000);
    ioapic_route(PIN_TIMER, 0x01, ENTRY_LOGICAL | ENTRY_LOWEST | VTIMER);
    expect("logical destination", apic_wait(VTIMER, before + 3, WAIT_MS), "%u", apic_hits[VTIMER] - before);
    mask(PIN_TIMER);
    __asm__ volatile ("sti; nop; nop; cli");
    before = apic_hits[VTIMER];
    ioapic_route(PIN_TIMER, 0x02, ENTRY_LOGICAL | VTIMER);
    delay_ms(30);
    __asm__ volatile ("sti; nop; nop; cli");
    expect("a destination that nobody has", apic_hits[VTIMER] == before, "%u", apic_hits[VTIMER] - before);
    mask(PIN_TIMER);
    outb(0x43, 0x30); // and the PIT is still
}

static void check_edge(void) {
    console_drain();
    ioapic_route(PIN_COM1, (uint8_t)apic_id(), VCOM1);
    outb(COM1_MCR, inb(COM1_MCR) | MCR_OUT2);
    outb(COM1_IER, IER_THRE);
    // Nothing is printed meanwhile: each byte would be an edge.
    bool first = apic_wait(VCOM1, 1, WAIT_MS);
    delay_ms(5);
    __asm__ volatile ("sti; nop; nop; cli");
    uint32_t hits = apic_hits[VCOM1];
    inb(COM1_IIR); // the line falls
    outb(COM1_IER, 0);
    outb(COM1_IER, IER_THRE);
    bool second = apic_wait(VCOM1, hits + 1, WAIT_MS);
    inb(COM1_IIR);
    outb(COM1_IER, 0);
    mask(PIN_COM1);
    expect("an empty transmitter is an edge", first, "none");
    expect("one edge, one interrupt", hits == 1, "%u", hits);
    expect("the next edge", second, "none");
}

static uint8_t rtc(uint8_t reg) {
    outb(RTC_INDEX, reg);
    return inb(RTC_DATA);
}

static void rtc_set(uint8_t reg, uint8_t value) {
    outb(RTC_INDEX, reg);
    outb(RTC_DATA, value);
}

static volatile uint32_t level_hits, level_irr, level_tmr;

// Comes again until the device is satisfied.
static bool on_level(struct trap_frame *frame) {
    (void)frame;
    level_hits++;
    level_irr += (ioapic_read(REDIRECTION + 2 * PIN_RTC) & ENTRY_REMOTE_IRR) != 0;
    level_tmr += apic_bit(APIC_TMR, VRTC);
    if (level_hits == 3) {
        rtc_set(RTC_B, RTC_24H);
        rtc(RTC_C);
    }
    if (level_hits == 13) { // nothing else ends this one, and nothing else runs
        ioapic_write(REDIRECTION + 2 * PIN_RTC, ENTRY_MASKED);
    }
    apic_write(APIC_EOI, 0);
    return true;
}

static void wait_hits(uint32_t count) {
    uint64_t stop = rdtsc() + 2 * tsc_hz();
    interrupts_on();
    while (level_hits < count && rdtsc() < stop) {
        cpu_pause();
    }
    interrupts_off();
}

static void check_level(void) {
    trap_hook(VRTC, on_level);
    rtc_set(RTC_A, RTC_RATE_1024);
    rtc_set(RTC_B, RTC_24H);
    rtc(RTC_C);
    ioapic_route(PIN_RTC, (uint8_t)apic_id(), ENTRY_LEVEL | VRTC);
    rtc_set(RTC_B, RTC_24H | RTC_PIE);
    wait_hits(3);
    delay_ms(5);
    __asm__ volatile ("sti; nop; nop; nop; cli");
    expect("a level comes until it is served", level_hits == 3, "%u", level_hits);
    expect("remote IRR while in service", level_irr == 3, "%u", level_irr);
    expect("TMR says level", level_tmr == 3, "%u", level_tmr);
    expect("no remote IRR afterwards", !(ioapic_read(REDIRECTION + 2 * PIN_RTC) & ENTRY_REMOTE_IRR), "set");
    // Raised while masked: a level waits.
    ioapic_route(PIN_RTC, (uint8_t)apic_id(), ENTRY_MASKED | ENTRY_LEVEL | VRTC);
    level_hits = 1;
    rtc_set(RTC_B, RTC_24H | RTC_PIE);
    delay_ms(5);
    __asm__ volatile ("sti; nop; nop; nop; cli");
    bool quiet = level_hits == 1;
    ioapic_route(PIN_RTC, (uint8_t)apic_id(), ENTRY_LEVEL | VRTC);
    wait_hits(3);
    expect("a level waits behind its mask", quiet && level_hits == 3, "%u", level_hits);
    // Active low: the idle line is the request, which the handler cannot end.
    if (bare_tcg()) {
        skip("active low", "QEMU's I/O APIC does not look at the polarity");
    } else {
        level_hits = 10;
        ioapic_route(PIN_RTC, (uint8_t)apic_id(), ENTRY_LOW | ENTRY_LEVEL | VRTC);
        wait_hits(13);
        expect("active low", level_hits == 13, "%u", level_hits);
    }
    mask(PIN_RTC);
    __asm__ volatile ("sti; nop; nop; nop; cli");
}

static volatile uint32_t line_hits, line_of;

static bool on_line(struct trap_frame *frame) {
    (void)frame;
    line_hits++;
    outb((uint16_t)(LINES + line_of), 0);
    apic_write(APIC_EOI, 0);
    return true;
}

static uint32_t line_raised(unsigned pin) {
    uint32_t before = line_hits;
    outb((uint16_t)(LINES + pin), 1);
    __asm__ volatile ("sti; nop; nop; cli" : : : "memory");
    return line_hits - before;
}

static void check_lines(void) {
    uint32_t idle = 0, edges = 0, levels = 0;
    trap_hook(VLINE, on_line);
    for (unsigned pin = 14; pin < PINS; pin++) {
        uint32_t before = line_hits;
        line_of = pin;
        ioapic_route(pin, (uint8_t)apic_id(), ENTRY_LEVEL | VLINE);
        __asm__ volatile ("sti; nop; nop; cli" : : : "memory");
        idle += line_hits == before;
        levels += line_raised(pin) == 1;
        ioapic_route(pin, (uint8_t)apic_id(), VLINE);
        edges += line_raised(pin) == 1 && line_raised(pin) == 1;
        mask(pin);
    }
    expect("lines that nobody raises are quiet", idle == PINS - 14, "%u", idle);
    expect("a raised level comes", levels == PINS - 14, "%u", levels);
    expect("each edge comes", edges == PINS - 14, "%u", edges);
}

int guest_main(void) {
    tsc_hz();
    irq_init();
    apic_enable();
    apic_count(VTIMER);
    apic_count(VCOM1);
    check_registers();
    check_timer();
    check_edge();
    check_level();
    if (option("lines", &(const char *){NULL})) {
        check_lines();
    }
    return check_end();
}
