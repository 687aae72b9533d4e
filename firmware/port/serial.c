// An interrupt-driven 16550 with a ring for each way. Registers and bits are named
// as in the PC16550D data sheet (National Semiconductor, June 1995).
#include "serial.h"

#include "cpu/insn.h"
#include "cpu/smp.h"

enum {
    UART_RBR = 0, // receiver buffer, read
    UART_THR = 0, // transmitter holding, write
    UART_DLL = 0, // divisor latch, DLAB = 1
    UART_IER = 1,
    UART_DLM = 1, // DLAB = 1
    UART_IIR = 2, // read
    UART_FCR = 2, // write
    UART_LCR = 3,
    UART_MCR = 4,
    UART_LSR = 5,
    UART_MSR = 6,
};
enum { IER_ERBFI = 0x01, IER_ETBEI = 0x02 };
enum { IIR_NONE = 0x01 };
enum { FCR_ENABLE = 0x01, FCR_CLEAR_RX = 0x02, FCR_CLEAR_TX = 0x04 };
enum { LCR_8N1 = 0x03, LCR_DLAB = 0x80 };
enum { MCR_DTR = 0x01, MCR_RTS = 0x02, MCR_OUT2 = 0x08 }; // OUT2 gates the interrupt on a PC
enum { LSR_DR = 0x01, LSR_THRE = 0x20, LSR_TEMT = 0x40, LSR_NO_UART = 0xFF };

#define UART_FIFO 16u
#define DIVISOR_115200 1

static uint8_t reg_read(const struct serial *s, uint16_t reg) {
    return inb((uint16_t)(s->port + reg));
}

static void reg_write(const struct serial *s, uint16_t reg, uint8_t value) {
    outb((uint16_t)(s->port + reg), value);
}

static void set_interrupts(const struct serial *s) {
    reg_write(s, UART_IER, (uint8_t)((s->rx_stopped ? 0 : IER_ERBFI) | (s->tx_busy ? IER_ETBEI : 0)));
}

void serial_init(struct serial *s, uint8_t irq, void (*handler)(void)) {
    if (reg_read(s, UART_LSR) == LSR_NO_UART && reg_read(s, UART_IER) == LSR_NO_UART) {
        s->present = false;
        return;
    }
    reg_write(s, UART_IER, 0);
    reg_write(s, UART_LCR, LCR_DLAB);
    reg_write(s, UART_DLL, DIVISOR_115200);
    reg_write(s, UART_DLM, 0);
    reg_write(s, UART_LCR, LCR_8N1);
    // The receive FIFO is not cleared: what was typed while the monitor started counts.
    reg_write(s, UART_FCR, FCR_ENABLE);
    reg_write(s, UART_MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
    s->present = true;
    isa_irq_enable(irq, handler);
    uint64_t flags = irq_save();
    set_interrupts(s);
    irq_restore(flags);
    serial_service(s);
}

static void receive(struct serial *s) {
    while (reg_read(s, UART_LSR) & LSR_DR) {
        if (s->rx_head - s->rx_tail == s->rx_size) {
            // The byte stays in the UART, whose sender waits; serial_getc() goes on.
            s->rx_stopped = true;
            set_interrupts(s);
            return;
        }
        uint8_t byte = reg_read(s, UART_RBR);
        if (s->filter != NULL && s->filter(byte)) {
            continue;
        }
        s->rx[s->rx_head & (s->rx_size - 1)] = byte;
        barrier();
        s->rx_head = s->rx_head + 1;
    }
}

static void transmit(struct serial *s) {
    if (s->tx_head != s->tx_tail && (reg_read(s, UART_LSR) & LSR_THRE)) {
        for (uint32_t i = 0; i < UART_FIFO && s->tx_head != s->tx_tail; i++) {
            reg_write(s, UART_THR, s->tx[s->tx_tail & (s->tx_size - 1)]);
            s->tx_tail = s->tx_tail + 1;
        }
    }
    bool busy = s->tx_head != s->tx_tail;
    if (busy != s->tx_busy) {
        s->tx_busy = busy;
        set_interrupts(s);
    }
}

void serial_service(struct serial *s) {
    if (!s->present) {
        return;
    }
    uint64_t flags = irq_save();
    // ISA interrupts are edges: the line must have been low before the next one,
    // so go on until the UART has nothing more to say.
    do {
        if (!s->rx_stopped) {
            receive(s);
        }
        transmit(s);
    } while (!(reg_read(s, UART_IIR) & IIR_NONE) && !s->rx_stopped && (reg_read(s, UART_LSR) & LSR_DR));
    irq_restore(flags);
}

// After bytes were taken out: a sender that waits may go on.
static void room_made(struct serial *s) {
    if (s->rx_stopped && s->rx_head - s->rx_tail <= s->rx_size / 2) {
        uint64_t flags = irq_save();
        s->rx_stopped = false;
        set_interrupts(s);
        irq_restore(flags);
        serial_service(s);
    }
}

int serial_getc(struct serial *s) {
    uint64_t flags = irq_save(); // the filter may drop what is there
    int byte = -1;
    if (serial_has_input(s)) {
        byte = s->rx[s->rx_tail & (s->rx_size - 1)];
        s->rx_tail = s->rx_tail + 1;
        room_made(s);
    }
    irq_restore(flags);
    return byte;
}

void serial_drop(struct serial *s) {
    s->rx_tail = s->rx_head;
}

bool serial_drop_to(struct serial *s, uint8_t byte) {
    uint32_t head = s->rx_head;
    for (uint32_t at = s->rx_tail; at != head; at++) {
        if (s->rx[at & (s->rx_size - 1)] == byte) {
            s->rx_tail = at + 1;
            room_made(s);
            return true;
        }
    }
    return false;
}

uint32_t serial_tx_room(const struct serial *s) {
    return s->present ? s->tx_size - (s->tx_head - s->tx_tail) : s->tx_size;
}

size_t serial_queue(struct serial *s, const uint8_t *data, size_t size) {
    if (!s->present) {
        return size;
    }
    size_t room = serial_tx_room(s);
    if (size > room) {
        size = room;
    }
    for (size_t i = 0; i < size; i++) {
        s->tx[(s->tx_head + i) & (s->tx_size - 1)] = data[i];
    }
    barrier();
    s->tx_head = s->tx_head + (uint32_t)size;
    serial_service(s);
    return size;
}

void serial_flush(struct serial *s, uint32_t ms) {
    uint64_t end = rdtsc() + tsc_hz / 1000 * ms;
    while (s->present && rdtsc() < end) {
        serial_service(s);
        // Bochs times its transmitter: bytes still in the shift register at power-off are lost.
        if (s->tx_head == s->tx_tail && (reg_read(s, UART_LSR) & LSR_TEMT)) {
            return;
        }
        cpu_pause();
    }
}
