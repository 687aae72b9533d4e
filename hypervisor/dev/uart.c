// The 16550A. The transmitter is never seen busy except while the console is full,
// so THRE is a fact of the console and its interrupt a latch of its own.
#include "dev/uart.h"

enum {
    IER_ERBFI = 1 << 0, // received data
    IER_ETBEI = 1 << 1, // transmitter empty
    IER_ELSI = 1 << 2,  // line status
    IER_EDSSI = 1 << 3, // modem status
    IER_BITS = 0x0F,
    IIR_NONE = 1,
    IIR_MSI = 0x0,
    IIR_THRI = 0x2,
    IIR_RDI = 0x4,
    IIR_RLSI = 0x6,
    IIR_TIMEOUT = 0xC,
    IIR_FIFOS = 0xC0,
    FCR_ENABLE = 1 << 0,
    FCR_CLEAR_RX = 1 << 1,
    FCR_TRIGGER_SHIFT = 6,
    LCR_BREAK = 1 << 6,
    LCR_DLAB = 1 << 7,
    MCR_DTR = 1 << 0,
    MCR_RTS = 1 << 1,
    MCR_OUT1 = 1 << 2,
    MCR_OUT2 = 1 << 3, // on a PC: lets INTR through to the controller
    MCR_LOOP = 1 << 4,
    MCR_BITS = 0x1F,
    LSR_DR = 1 << 0,
    LSR_OE = 1 << 1,
    LSR_BI = 1 << 4,
    LSR_THRE = 1 << 5,
    LSR_TEMT = 1 << 6,
    LSR_FIFO_ERROR = 1 << 7,
    MSR_CTS = 1 << 4,
    MSR_DSR = 1 << 5,
    MSR_RI = 1 << 6,
    MSR_DCD = 1 << 7,
    MSR_LEVELS = 0xF0,
    MSR_DELTAS = 0x0F,
    MSR_RI_SHIFTED = 1 << 2, // TERI
    MSR_DELTA_SHIFT = 4,
};

static const uint8_t triggers[4] = {1, 4, 8, 14};

static unsigned capacity(const struct uart *u) {
    return u->fifo ? UART_FIFO : 1;
}

// The highest of the interrupts that are both enabled and there (table 5).
static uint8_t interrupt_id(const struct uart *u) {
    if ((u->ier & IER_ELSI) && (u->overrun || (u->rx_count && u->rx_error[u->rx_first]))) {
        return IIR_RLSI;
    }
    if ((u->ier & IER_ERBFI) && u->rx_count) {
        // Fewer than the trigger: nothing more comes soon, so the timeout is now.
        return u->rx_count >= u->trigger ? IIR_RDI : IIR_TIMEOUT;
    }
    if ((u->ier & IER_ETBEI) && u->thre_latch) {
        return IIR_THRI;
    }
    if ((u->ier & IER_EDSSI) && (u->msr & MSR_DELTAS)) {
        return IIR_MSI;
    }
    return IIR_NONE;
}

static void refresh(struct uart *u) {
    // In loopback the OUT2 pin is high, so a PC passes no interrupt on.
    bool line = (u->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2 && interrupt_id(u) != IIR_NONE;
    if (line != u->line) {
        u->fell |= !line;
        u->line = line;
        u->changed = true;
    }
}

static void receive(struct uart *u, uint8_t byte, uint8_t error) {
    if (u->rx_count >= capacity(u)) {
        u->overrun = LSR_OE;
        if (u->fifo) {
            return; // the shift register is overwritten, the FIFO is not
        }
        u->rx_count = 0;
    }
    unsigned at = (u->rx_first + u->rx_count) % UART_FIFO;
    u->rx[at] = byte;
    u->rx_error[at] = error;
    u->rx_count++;
}

static void refill(struct uart *u, struct console *c) {
    if ((u->mcr & MCR_LOOP) || c->elsewhere) {
        return; // SIN is cut off; what is typed waits
    }
    while (u->rx_count < capacity(u)) {
        int byte = console_getc(c);
        if (byte < 0) {
            break;
        }
        receive(u, (uint8_t)byte, 0);
    }
}

static void unstall(struct uart *u, struct console *c) {
    if (u->stalled && !console_full(c)) {
        u->stalled = false;
        u->thre_latch = true;
    }
}

void uart_init(struct uart *u) {
    *u = (struct uart){.trigger = 1, .dll = 1, .thre_latch = true};
    u->msr = MSR_DCD | MSR_DSR | MSR_CTS; // a terminal is attached and ready
}

void uart_poll(struct uart *u, struct console *c) {
    unstall(u, c);
    refill(u, c);
    refresh(u);
}

static uint8_t read_data(struct uart *u, struct console *c) {
    uint8_t byte = u->rx[u->rx_first];
    if (u->rx_count != 0) {
        u->rx_first = (uint8_t)((u->rx_first + 1) % UART_FIFO);
        u->rx_count--;
        refresh(u);
    }
    if (u->rx_count == 0 && console_has_input(c)) { // not before: the line must fall in between
        refill(u, c);
        refresh(u);
    }
    return byte;
}

static uint8_t read_lsr(struct uart *u, struct console *c) {
    if (u->stalled || (u->rx_count == 0 && console_has_input(c))) {
        uart_poll(u, c);
    }
    uint8_t value = u->stalled ? 0 : LSR_THRE | LSR_TEMT;
    if (u->rx_count == 0 && !u->overrun) {
        return value;
    }
    value |= u->overrun;
    if (u->rx_count) {
        value |= LSR_DR | u->rx_error[u->rx_first];
    }
    for (unsigned i = 0; u->fifo && i < u->rx_count; i++) {
        if (u->rx_error[(u->rx_first + i) % UART_FIFO]) {
            value |= LSR_FIFO_ERROR;
        }
    }
    u->overrun = 0; // the read clears OE and the first byte's errors
    u->rx_error[u->rx_first] = 0;
    refresh(u);
    return value;
}

uint8_t uart_read(struct uart *u, struct console *c, uint8_t reg) {
    uint8_t value;
    if (reg == UART_LSR) {
        return read_lsr(u, c);
    }
    switch (reg) {
        case UART_DATA:
            return u->lcr & LCR_DLAB ? u->dll : read_data(u, c);
        case UART_IER:
            return u->lcr & LCR_DLAB ? u->dlm : u->ier;
        case UART_IIR:
            value = interrupt_id(u);
            if (value == IIR_THRI) { // being told clears it
                u->thre_latch = false;
                refresh(u);
            }
            return (uint8_t)(value | (u->fifo ? IIR_FIFOS : 0));
        case UART_LCR:
            return u->lcr;
        case UART_MCR:
            return u->mcr;
        case UART_MSR:
            value = u->msr;
            u->msr &= MSR_LEVELS;
            refresh(u);
            return value;
        default:
            return u->scr;
    }
}

static bool write_data(struct uart *u, struct console *c, uint8_t value) {
    if (u->mcr & MCR_LOOP) {
        receive(u, value, 0);
    } else if (!console_put(c, value)) {
        return false;
    } else if (console_full(c)) {
        u->stalled = true;
    }
    if (u->ier == 0 && !u->stalled) { // a polling writer: no interrupt can change
        return true;
    }
    u->thre_latch = false; // the line drops, so that THRE makes a fresh edge
    refresh(u);
    u->thre_latch = !u->stalled;
    refresh(u);
    return true;
}

static void write_fcr(struct uart *u, uint8_t value) {
    bool fifo = value & FCR_ENABLE;
    if (fifo != u->fifo || (fifo && (value & FCR_CLEAR_RX))) {
        u->rx_count = 0;
    }
    u->fifo = fifo;
    u->trigger = fifo ? triggers[value >> FCR_TRIGGER_SHIFT] : 1;
}

// Modem inputs: from the outputs in loopback, else a terminal that is ready.
static void update_msr(struct uart *u) {
    uint8_t levels = MSR_DCD | MSR_DSR | MSR_CTS;
    if (u->mcr & MCR_LOOP) {
        levels = (uint8_t)((u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
                           (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0));
    }
    uint8_t moved = (uint8_t)((u->msr ^ levels) & MSR_LEVELS) >> MSR_DELTA_SHIFT;
    if (levels & MSR_RI) {
        moved &= (uint8_t)~MSR_RI_SHIFTED; // RI tells its trailing edge only
    }
    u->msr = (uint8_t)(levels | (u->msr & MSR_DELTAS) | moved);
}

bool uart_write(struct uart *u, struct console *c, uint8_t reg, uint8_t value) {
    uint8_t before;
    if (reg == UART_DATA && !(u->lcr & LCR_DLAB)) {
        return write_data(u, c, value);
    }
    switch (reg) {
        case UART_DATA:
            u->dll = value;
            return true;
        case UART_IER:
            if (u->lcr & LCR_DLAB) {
                u->dlm = value;
                return true;
            }
            before = u->ier;
            u->ier = value & IER_BITS;
            if ((u->ier & ~before & IER_ETBEI) && !u->stalled) {
                u->thre_latch = true; // enabling it while THRE is set tells it again
            }
            break;
        case UART_IIR:
            write_fcr(u, value);
            break;
        case UART_LCR:
            before = u->lcr;
            u->lcr = value;
            if ((value & ~before & LCR_BREAK) && (u->mcr & MCR_LOOP)) {
                receive(u, 0, LSR_BI);
            }
            break;
        case UART_MCR:
            u->mcr = value & MCR_BITS;
            update_msr(u);
            break;
        case UART_SCR:
            u->scr = value;
            return true;
        default: // LSR and MSR are read only
            return true;
    }
    refill(u, c); // FCR made room, or loopback ended
    refresh(u);
    return true;
}
