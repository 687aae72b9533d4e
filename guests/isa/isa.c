// What a PC's firmware and old programs use of the 8254 and the 8259 beside the periodic tick:
// the PIT's modes that a gate triggers or holds, strobes, and levels at the 8259 (ELCR).
#include "check.h"
#include "guest.h"
#include "traps.h"

enum {
    // Intel 8254: a control word is channel, access, mode; status shows it again.
    PIT_HZ = 1193182, PIT_CHANNEL0 = 0x40, PIT_CHANNEL2 = 0x42, PIT_COMMAND = 0x43,
    CHANNEL2 = 0x80, LATCH = 0, LOW_HIGH = 0x30, MODE_SHIFT = 1, CONTROL_BITS = 0x3F,
    READ_BACK_STATUS_2 = 0xE8,
    PORT_61 = 0x61, P61_GATE2 = 0x01, P61_OUT2 = 0x20,
    LONG = 0xFFFF, // 55 ms
    SHORT = PIT_HZ / 100, // 10 ms
    TRIES = 20, // a busy machine may stop the guest between two instructions
    WAIT_MS = 2000,
    // Intel 8259A, and the PIIX's edge and level control.
    PIC1_COMMAND = 0x20, OCW2_EOI = 0x20, OCW3_READ_IRR = 0x0A, ELCR1 = 0x4D0, ELCR2 = 0x4D1,
    ELCR1_BITS = 0xF8, ELCR2_BITS = 0xDE, LINE_TIMER = 0, LINE_COM1 = 4, COM1_BIT = 1 << LINE_COM1,
    // 16550
    COM1_IER = PORT_COM1 + 1, COM1_IIR = PORT_COM1 + 2, COM1_MCR = PORT_COM1 + 4, IER_THRE = 2, MCR_OUT2 = 8,
    LEVELS = 3,
};

static bool bare_tcg(void) {
    return !under_vipervisor() && cpu_is_tcg();
}

static uint64_t deadline(unsigned ms) {
    return rdtsc() + tsc_hz() / 1000 * ms;
}

static void gate(bool on) {
    uint8_t port61 = inb(PORT_61);
    outb(PORT_61, (uint8_t)(on ? port61 | P61_GATE2 : port61 & ~P61_GATE2));
}

static bool out2(void) {
    return inb(PORT_61) & P61_OUT2;
}

static uint32_t count2(void) {
    outb(PIT_COMMAND, CHANNEL2 | LATCH);
    uint32_t low = inb(PIT_CHANNEL2);
    return low | (uint32_t)inb(PIT_CHANNEL2) << 8;
}

static void load2(unsigned mode, uint32_t count) {
    outb(PIT_COMMAND, (uint8_t)(CHANNEL2 | LOW_HIGH | mode << MODE_SHIFT));
    outb(PIT_CHANNEL2, (uint8_t)count);
    outb(PIT_CHANNEL2, (uint8_t)(count >> 8));
}

static void check_status(unsigned mode) {
    outb(PIT_COMMAND, READ_BACK_STATUS_2);
    uint8_t status = inb(PIT_CHANNEL2);
    expect("its status shows the mode", (status & CONTROL_BITS) == (LOW_HIGH | mode << MODE_SHIFT), "%x in mode %u",
        status, mode);
}

// A one-shot: OUT falls at the trigger and rises when the count is over.
static void check_mode1(void) {
    if (bare_tcg()) {
        skip("PIT mode 1", "QEMU's OUT begins low, and rises at the trigger");
        return;
    }
    gate(false);
    load2(1, LONG);
    check_status(1);
    delay_ms(2);
    bool before = out2();
    unsigned tries = 0;
    bool fell = false;
    uint64_t start = 0;
    while (!fell && tries++ < TRIES) {
        gate(false);
        start = rdtsc();
        gate(true);
        fell = !out2() || !out2(); // one CLK loads it
    }
    uint64_t stop = deadline(WAIT_MS);
    while (!out2() && rdtsc() < stop) {
        cpu_pause();
    }
    bool rose = out2();
    uint64_t ms = (rdtsc() - start) * 1000 / tsc_hz();
    expect("PIT mode 1: OUT is high before the trigger", before, "low");
    expect("PIT mode 1: OUT falls at the trigger", fell, "not in %u tries", tries);
    expect("PIT mode 1: OUT rises when the count is over", rose && ms >= 54, "after %llu ms", (unsigned long long)ms);
    gate(false);
    delay_ms(1);
    expect("PIT mode 1: the gate's fall does nothing", out2(), "OUT fell");
}

// The count stands still; where it does. QEMU's own does not, `why` says how.
static uint32_t expect_still(const char *name, const char *why) {
    delay_ms(1); // one CLK loads it
    uint32_t first = count2();
    delay_ms(2);
    uint32_t second = count2();
    if (bare_tcg()) {
        skip(name, why);
    } else {
        expect(name, first == second, "%x then %x", first, second);
    }
    return second;
}

// Counts only after a trigger; another begins anew.
static void check_mode5(void) {
    gate(false);
    load2(5, LONG);
    check_status(5);
    uint32_t second = expect_still("PIT mode 5: waits for its trigger", "QEMU's starts by itself");
    bool anew = false;
    uint32_t gone = 0;
    for (unsigned tries = 0; tries < TRIES && !anew; tries++) {
        gate(false);
        gate(true);
        delay_ms(20);
        gone = count2();
        gate(false);
        gate(true);
        uint32_t again = count2();
        anew = LONG - gone > PIT_HZ / 1000 * 19 && LONG - again < PIT_HZ / 1000 * 15;
        second = again;
    }
    expect("PIT mode 5: counts from its trigger, and anew from the next", anew, "%x, then %x", gone, second);
    // Low for one CLK only.
    expect("PIT mode 5: OUT stays high", out2() || out2() || bare_tcg(), "low");
}

// A strobe begun by the count; the gate holds it.
static void check_mode4(void) {
    gate(true);
    load2(4, LONG);
    check_status(4);
    gate(false);
    uint32_t second = expect_still("PIT mode 4: the gate holds the count", "QEMU's goes on");
    gate(true);
    uint64_t stop = deadline(WAIT_MS);
    while (count2() == second && rdtsc() < stop) {
        cpu_pause();
    }
    expect("PIT mode 4: and lets it go on", count2() != second, "%x", second);
    gate(false);
}

// Channel 0 in a mode; how many interrupts come in 30 ms, and after how long the first.
static uint64_t ticks_in(unsigned mode, uint64_t *first_us) {
    outb(PIT_COMMAND, (uint8_t)(LOW_HIGH | mode << MODE_SHIFT));
    irq_init(); // forgets the edge that the mode itself may have made
    irq_unmask(LINE_TIMER);
    uint64_t before = irq_count[LINE_TIMER], start = rdtsc(), stop = deadline(WAIT_MS);
    outb(PIT_CHANNEL0, (uint8_t)SHORT);
    outb(PIT_CHANNEL0, (uint8_t)(SHORT >> 8));
    interrupts_on();
    while (mode == 4 && irq_count[LINE_TIMER] == before && rdtsc() < stop) {
        cpu_pause();
    }
    *first_us = (rdtsc() - start) * 1000 / (tsc_hz() / 1000);
    delay_ms(30);
    interrupts_off();
    irq_mask(LINE_TIMER);
    return irq_count[LINE_TIMER] - before;
}

static void check_channel0(void) {
    uint64_t us, count = ticks_in(4, &us);
    expect("PIT mode 4: one interrupt, in time", count == 1 && us >= 9900, "%llu, after %llu us",
        (unsigned long long)count, (unsigned long long)us);
    if (bare_tcg()) {
        skip("PIT modes 1 and 5: channel 0 has no trigger", "QEMU's starts by itself");
        return;
    }
    count = ticks_in(1, &us) + ticks_in(5, &us);
    expect("PIT modes 1 and 5: channel 0 has no trigger", count == 0, "%llu interrupts", (unsigned long long)count);
}

static volatile uint32_t hits;

static bool on_com1(struct trap_frame *frame) {
    (void)frame;
    if (++hits == LEVELS) {
        inb(COM1_IIR); // the line falls
    }
    outb(PIC1_COMMAND, OCW2_EOI);
    return true;
}

static bool requested(void) {
    outb(PIC1_COMMAND, OCW3_READ_IRR);
    return inb(PIC1_COMMAND) & COM1_BIT;
}

// Nothing is printed meanwhile: each byte would raise the line.
static uint32_t hits_of_com1(uint8_t elcr) {
    console_drain();
    outb(ELCR1, elcr);
    hits = 0;
    outb(COM1_IER, IER_THRE);
    irq_unmask(LINE_COM1);
    interrupts_on();
    delay_ms(5);
    interrupts_off();
    inb(COM1_IIR);
    outb(COM1_IER, 0);
    irq_mask(LINE_COM1);
    return hits;
}

static void check_elcr(void) {
    irq_init();
    outb(ELCR1, 0xFF);
    outb(ELCR2, 0xFF);
    uint8_t first = inb(ELCR1), second = inb(ELCR2);
    expect("ELCR keeps the bits of lines that can be levels", first == ELCR1_BITS && second == ELCR2_BITS, "%x %x",
        first, second);
    outb(ELCR1, 0);
    outb(ELCR2, 0);
    trap_hook(IRQ_BASE + LINE_COM1, on_com1);
    outb(COM1_MCR, inb(COM1_MCR) | MCR_OUT2);
    uint32_t edges = hits_of_com1(0), levels = hits_of_com1(COM1_BIT);
    expect("an edge comes once at the 8259", edges == 1, "%u times", edges);
    expect("a level comes until it is served", levels == LEVELS, "%u times", levels);
    console_drain();
    outb(COM1_IER, IER_THRE);
    bool raised = requested();
    inb(COM1_IIR);
    bool still = requested();
    outb(COM1_IER, 0);
    expect("a level's request goes with it", raised && !still, "%u then %u", raised, still);
    outb(ELCR1, 0);
}

int guest_main(void) {
    tsc_hz();
    irq_init();
    check_mode1();
    check_mode5();
    check_mode4();
    check_channel0();
    check_elcr();
    return check_end();
}
