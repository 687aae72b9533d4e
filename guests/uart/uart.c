// The 16550A at COM1 as a driver sees it: registers, FIFOs, loopback, modem lines, and
// its interrupts through the 8259. The same for whoever serves it, in C or in Python.
//
//   input=N   then waits for N bytes that are typed, by interrupts, and echoes them
#include "check.h"
#include "guest.h"
#include "traps.h"

// National Semiconductor PC16550D, table II.
enum {
    DATA = PORT_COM1, IER, IIR, LCR, MCR, LSR, MSR, SCR,
    FCR = IIR, DLL = DATA, DLM = IER,
    IER_RDI = 1, IER_THRI = 2, IER_RLSI = 4, IER_MSI = 8,
    IIR_NONE = 1, IIR_MSI = 0, IIR_THRI = 2, IIR_RDI = 4, IIR_RLSI = 6, IIR_TIMEOUT = 0xC, IIR_FIFOS = 0xC0,
    FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4, FCR_TRIGGER_14 = 0xC0,
    LCR_8N1 = 3, LCR_BREAK = 0x40, LCR_DLAB = 0x80,
    MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 0x10,
    LSR_DR = 1, LSR_OE = 2, LSR_BI = 0x10, LSR_THRE = 0x20, LSR_TEMT = 0x40, LSR_FIFO_ERROR = 0x80,
    MSR_TERI = 4, MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80, MSR_DELTAS = 0x0F,
    COM1_IRQ = 4, FIFO_SIZE = 16, WAIT_SECONDS = 60,
};

static void loopback(void) {
    console_drain();
    outb(FCR, FCR_ENABLE | FCR_CLEAR_RX | FCR_CLEAR_TX | FCR_TRIGGER_14);
    outb(MCR, MCR_LOOP);
    (void)inb(MSR);
    (void)inb(LSR);
}

static void console_again(void) { // before anything is printed
    outb(IER, 0);
    console_init();
}

static bool registers_keep(void) {
    outb(SCR, 0xA5);
    uint8_t scratch = inb(SCR);
    outb(IER, 0xFF);
    uint8_t ier = inb(IER);
    outb(IER, 0);
    outb(LCR, LCR_DLAB | LCR_8N1);
    outb(DLL, 0x0C);
    outb(DLM, 0x01);
    uint8_t dll = inb(DLL), dlm = inb(DLM);
    outb(LCR, LCR_8N1);
    uint8_t behind = inb(IER);
    uint16_t pair = inw(IIR); // an 8-bit device sees two cycles
    outb(MCR, 0xFF & ~MCR_LOOP);
    uint8_t mcr = inb(MCR);
    console_again();
    return expect("scratch", scratch == 0xA5, "%x", scratch)
        & expect("IER keeps four bits", ier == 0x0F, "%x", ier)
        & expect("divisor latch", dll == 0x0C && dlm == 1 && behind == 0, "%x %x, IER %x", dll, dlm, behind)
        & expect("a word is two registers", pair >> 8 == LCR_8N1 && (pair & 0xF) == IIR_NONE, "%x", pair)
        & expect("MCR keeps five bits", mcr == 0x0F, "%x", mcr);
}

static void fifo_is_shown(void) {
    console_drain();
    outb(FCR, 0);
    uint8_t off = inb(IIR);
    outb(FCR, FCR_ENABLE);
    uint8_t on = inb(IIR);
    console_again();
    expect("IIR shows the FIFOs", off == IIR_NONE && on == (IIR_NONE | IIR_FIFOS), "off %x, on %x", off, on);
}

static void loopback_bytes(void) {
    bool in_order = true;
    loopback();
    uint8_t empty = inb(LSR);
    for (unsigned i = 0; i < FIFO_SIZE; i++) {
        outb(DATA, (uint8_t)(0x40 + i));
    }
    uint8_t full = inb(LSR);
    outb(DATA, 0x99); // one too many: dropped
    uint8_t over = inb(LSR), cleared = inb(LSR);
    for (unsigned i = 0; i < FIFO_SIZE; i++) {
        in_order &= inb(DATA) == 0x40 + i;
    }
    uint8_t after = inb(LSR);
    outb(DATA, 1);
    outb(FCR, FCR_ENABLE | FCR_CLEAR_RX);
    uint8_t flushed = inb(LSR);
    outb(FCR, 0);
    outb(DATA, 0x11);
    outb(DATA, 0x22); // without FIFO the newest stays
    uint8_t single = inb(LSR), newest = inb(DATA);
    console_again();
    expect("loopback: nothing there", empty == (LSR_THRE | LSR_TEMT), "LSR %x", empty);
    expect("loopback: full", full == (LSR_THRE | LSR_TEMT | LSR_DR), "LSR %x", full);
    expect("loopback: overrun", (over & LSR_OE) != 0 && (cleared & LSR_OE) == 0, "LSR %x, then %x", over, cleared);
    expect("loopback: in order", in_order && (after & LSR_DR) == 0, "LSR %x", after);
    expect("FCR clears what was received", (flushed & LSR_DR) == 0, "LSR %x", flushed);
    expect("without FIFO", (single & (LSR_OE | LSR_DR)) == (LSR_OE | LSR_DR) && newest == 0x22, "LSR %x, %x", single,
        newest);
}

static void identification(void) {
    uint8_t thirteen = 0, fourteen, overrun, less, break_id, status, error_gone;
    loopback();
    outb(IER, IER_RDI | IER_RLSI);
    uint8_t none = inb(IIR);
    for (unsigned i = 0; i < 13; i++) {
        outb(DATA, (uint8_t)i);
    }
    thirteen = inb(IIR);
    outb(DATA, 13);
    fourteen = inb(IIR);
    for (unsigned i = 0; i < 3; i++) {
        outb(DATA, 0);
    }
    overrun = inb(IIR);
    (void)inb(LSR);
    less = inb(IIR);
    outb(FCR, FCR_ENABLE | FCR_CLEAR_RX | FCR_TRIGGER_14);
    outb(LCR, LCR_8N1 | LCR_BREAK);
    outb(LCR, LCR_8N1);
    break_id = inb(IIR);
    status = inb(LSR);
    error_gone = inb(LSR);
    uint8_t zero = inb(DATA);
    console_again();
    expect("no interrupt", none == (IIR_FIFOS | IIR_NONE), "%x", none);
    expect("fewer than the trigger: timeout", thirteen == (IIR_FIFOS | IIR_TIMEOUT), "%x", thirteen);
    expect("the trigger: received data", fourteen == (IIR_FIFOS | IIR_RDI), "%x", fourteen);
    expect("line status goes first", overrun == (IIR_FIFOS | IIR_RLSI) && less == (IIR_FIFOS | IIR_RDI), "%x, %x",
        overrun, less);
    expect("break", break_id == (IIR_FIFOS | IIR_RLSI) && zero == 0
        && (status & (LSR_BI | LSR_DR | LSR_FIFO_ERROR)) == (LSR_BI | LSR_DR | LSR_FIFO_ERROR)
        && (error_gone & (LSR_BI | LSR_FIFO_ERROR)) == 0, "IIR %x, LSR %x, then %x", break_id, status, error_gone);
}

static void modem_lines(void) {
    static const struct {
        uint8_t out, in;
    } pins[] = { { MCR_DTR, MSR_DSR }, { MCR_RTS, MSR_CTS }, { MCR_OUT1, MSR_RI }, { MCR_OUT2, MSR_DCD } };
    bool follow = true, deltas = true;
    loopback();
    for (unsigned i = 0; i < sizeof(pins) / sizeof(pins[0]); i++) {
        outb(MCR, MCR_LOOP | pins[i].out);
        uint8_t high = inb(MSR), again = inb(MSR);
        follow &= (high & 0xF0) == pins[i].in;
        // RI tells its trailing edge only.
        deltas &= ((high & MSR_DELTAS) != 0) == (pins[i].in != MSR_RI) && (again & MSR_DELTAS) == 0;
        outb(MCR, MCR_LOOP);
        uint8_t low = inb(MSR);
        follow &= (low & 0xF0) == 0;
        deltas &= (low & MSR_DELTAS) == (pins[i].in == MSR_RI ? MSR_TERI : pins[i].in >> 4);
    }
    outb(IER, IER_MSI);
    outb(MCR, MCR_LOOP | MCR_RTS);
    uint8_t told = inb(IIR) & 0xF;
    (void)inb(MSR);
    uint8_t gone = inb(IIR) & 0xF;
    console_again();
    uint8_t terminal = inb(MSR) & 0xF0;
    expect("modem inputs follow in loopback", follow, "one did not");
    expect("changes are told once", deltas, "one was not");
    expect("modem status interrupt", told == IIR_MSI && gone == IIR_NONE, "%x, then %x", told, gone);
    expect("a terminal is ready", terminal == (MSR_DCD | MSR_DSR | MSR_CTS), "%x", terminal);
}

// Interrupts until `count` came, or a long time.
static bool came(uint64_t count) {
    uint64_t end = rdtsc() + tsc_hz() * WAIT_SECONDS;
    while (irq_count[COM1_IRQ] < count && (int64_t)(rdtsc() - end) < 0) {
        cpu_pause();
    }
    return irq_count[COM1_IRQ] == count;
}

static void transmitter_interrupts(void) {
    console_drain();
    outb(MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
    uint64_t before = irq_count[COM1_IRQ];
    interrupts_on();
    outb(IER, IER_THRI);
    bool enabled = came(before + 1);
    uint8_t id = inb(IIR) & 0xF, then = inb(IIR) & 0xF;
    outb(DATA, '.');
    bool sent = came(before + 2);
    outb(DATA, '\n'); // THRE falls and rises: a fresh edge though nobody read IIR
    bool again = came(before + 3);
    outb(IER, 0);
    outb(MCR, MCR_DTR | MCR_RTS);
    outb(IER, IER_THRI); // without OUT2 nothing comes through
    delay_ms(5);
    bool cut = irq_count[COM1_IRQ] == before + 3;
    interrupts_off();
    console_again();
    expect("THRE interrupt when it is enabled", enabled && id == IIR_THRI && then == IIR_NONE, "IIR %x, then %x", id,
        then);
    expect("THRE interrupt behind each byte", sent && again, "%llu came",
        (unsigned long long)(irq_count[COM1_IRQ] - before));
    expect("OUT2 lets interrupts through", cut, "one came without");
}

static void typed(uint64_t count) {
    char line[64];
    uint64_t got = 0, end = rdtsc() + tsc_hz() * WAIT_SECONDS;
    count = count < sizeof(line) - 1 ? count : sizeof(line) - 1;
    print("type %llu bytes\n", (unsigned long long)count);
    console_drain();
    uint64_t seen = irq_count[COM1_IRQ];
    outb(MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
    outb(IER, IER_RDI);
    while (got < count && (int64_t)(rdtsc() - end) < 0) {
        interrupts_off();
        if (irq_count[COM1_IRQ] == seen) { // what is there without an interrupt is not looked at
            wait_for_interrupt();
            continue;
        }
        seen = irq_count[COM1_IRQ];
        while (got < count && (inb(LSR) & LSR_DR) != 0) {
            line[got++] = (char)inb(DATA);
        }
    }
    interrupts_off();
    line[got] = 0;
    console_again();
    expect("typed bytes came by interrupts", got == count, "%llu of them",
        (unsigned long long)got);
    print("typed: %s\n", line);
}

int guest_main(void) {
    irq_init();
    irq_unmask(COM1_IRQ);
    uint64_t input = option_number("input", 0);
    registers_keep();
    fifo_is_shown();
    loopback_bytes();
    identification();
    modem_lines();
    transmitter_interrupts();
    if (input != 0) {
        typed(input);
    }
    return check_end();
}
