// Ports to devices, devices' lines to the interrupt controllers.
#include "dev/platform.h"

enum {
    PIC_LINES = 16,
    IRQ_TIMER = 0,
    IRQ_KEYBOARD = 1,
    IRQ_COM1 = 4,
    IRQ_RTC = 8,
    IRQ_SCI = 9,
    COM1 = 0x3F8,
    COM1_LAST = 0x3FF,
    POST = 0x80,
    SYSTEM_A = 0x92,
    SYSTEM_A_RESET = 1 << 0,
    SYSTEM_A_A20 = 1 << 1,
    DEBUG = 0xE9,
    DEBUG_PRESENT = 0xE9, // what a read tells
    EXIT = 0xF4,
    PCI_ADDRESS = 0xCF8,
    RESET_CONTROL = 0xCF9,
    RESET_CONTROL_CPU = 1 << 2,
    RESET_CONTROL_BITS = 0x0E,
    PCI_DATA = 0xCFC,
    PCI_DATA_LAST = 0xCFF,
    PM1_LAST = PM1_CONTROL + 3,
    PM_TIMER_LAST = PM_TIMER + 3,
    // How often a console that is full is looked at: a thousandth of a second.
    LOOKS_PER_SECOND = 1000,
    ONES = 0xFF,
};

void platform_line(struct platform *p, uint8_t irq, bool level) {
    if (irq < PIC_LINES) {
        pic_set_line(&p->pic, irq, level);
    }
}

// The console is full: look again soon whether it has room.
static void look_soon(struct platform *p, uint64_t tsc) {
    uint64_t look = tsc + p->tsc_hz / LOOKS_PER_SECOND;
    p->deadline = look < p->deadline ? look : p->deadline;
}

static void set_deadline(struct platform *p, uint64_t tsc) {
    uint64_t next = pit_next(&p->pit);
    next = rtc_next(&p->rtc) < next ? rtc_next(&p->rtc) : next;
    next = p->pmtimer.next_tsc < next ? p->pmtimer.next_tsc : next;
    p->deadline = next;
    if (p->uart.stalled) {
        look_soon(p, tsc);
    }
}

static void take_uart_line(struct platform *p) {
    if (p->uart.changed) {
        if (p->uart.fell) {
            platform_line(p, IRQ_COM1, false);
        }
        platform_line(p, IRQ_COM1, p->uart.line);
        p->uart.fell = p->uart.changed = false;
    }
}

static void pulse_timer(struct platform *p) {
    platform_line(p, IRQ_TIMER, false);
    platform_line(p, IRQ_TIMER, true);
}

// Delivers the edges of the PIT. An edge while the last one still waits in IRR
// would vanish: it is kept for the acknowledge cycle, a few of them at most. While
// the guest masks the timer it wants none of them.
static void update_timer(struct platform *p, uint64_t tsc) {
    uint64_t edges = pit_update(&p->pit, tsc);
    if (edges == 0) {
        return;
    }
    if (!pic_latched(&p->pic, IRQ_TIMER)) {
        pulse_timer(p);
        edges--;
    }
    if (!pic_masked(&p->pic, IRQ_TIMER)) {
        uint64_t backlog = p->pit.backlog + edges;
        p->pit.backlog = (uint8_t)(backlog < PIT_BACKLOG ? backlog : PIT_BACKLOG);
    }
}

void platform_init(struct platform *p, uint64_t tsc_hz, uint64_t unix_seconds, uint64_t memory) {
    *p = (struct platform){.version = PLATFORM_VERSION, .tsc_hz = tsc_hz, .port92 = SYSTEM_A_A20};
    pic_init(&p->pic);
    pit_init(&p->pit, tsc_hz);
    rtc_init(&p->rtc, tsc_hz, unix_seconds, memory);
    uart_init(&p->uart);
    pmtimer_init(&p->pmtimer, tsc_hz);
    kbc_init(&p->kbc);
    platform_line(p, IRQ_TIMER, p->pit.out0);
    p->pic.chip[0].irr = 0; // the level it starts from is no edge
    set_deadline(p, 0);
}

static bool read_byte(struct platform *p, struct console *c, uint64_t tsc, uint16_t port, uint8_t *value) {
    switch (port) {
        case PIC_MASTER_COMMAND:
        case PIC_MASTER_DATA:
        case PIC_SLAVE_COMMAND:
        case PIC_SLAVE_DATA:
        case PIC_ELCR_MASTER:
        case PIC_ELCR_SLAVE:
            update_timer(p, tsc); // IRR shows what is due
            *value = pic_read(&p->pic, port);
            return true;
        case PIT_CHANNEL_0 ... PIT_CONTROL:
        case PIT_SYSTEM_B:
            *value = pit_read(&p->pit, tsc, port);
            return true;
        case KBC_DATA:
        case KBC_COMMAND:
            *value = kbc_read(&p->kbc, port);
            platform_line(p, IRQ_KEYBOARD, p->kbc.line);
            return true;
        case RTC_INDEX:
        case RTC_DATA:
            *value = rtc_read(&p->rtc, tsc, port);
            platform_line(p, IRQ_RTC, p->rtc.line);
            set_deadline(p, tsc);
            return true;
        case POST:
            *value = p->post_code;
            return true;
        case SYSTEM_A:
            *value = p->port92;
            return true;
        case DEBUG:
            *value = DEBUG_PRESENT;
            return true;
        case COM1 ... COM1_LAST:
            *value = uart_read(&p->uart, c, (uint8_t)(port - COM1));
            take_uart_line(p);
            return true;
        case RESET_CONTROL:
            *value = p->reset_control;
            return true;
        case PM_TIMER ... PM_TIMER_LAST:
            *value = (uint8_t)(pmtimer_value(&p->pmtimer, tsc) >> 8 * (port - PM_TIMER));
            return true;
        case PCI_ADDRESS:
        case PCI_ADDRESS + 2:
        case PCI_ADDRESS + 3:
        case PCI_DATA ... PCI_DATA_LAST: // no function answers
            *value = ONES;
            return true;
        default:
            return false;
    }
}

static bool write_byte(struct platform *p, struct console *c, uint64_t tsc, uint16_t port, uint8_t value,
    enum platform_action *action) {
    switch (port) {
        case PIC_MASTER_COMMAND:
        case PIC_MASTER_DATA:
        case PIC_SLAVE_COMMAND:
        case PIC_SLAVE_DATA:
        case PIC_ELCR_MASTER:
        case PIC_ELCR_SLAVE:
            pic_write(&p->pic, port, value);
            return true;
        case PIT_CHANNEL_0 ... PIT_CONTROL:
        case PIT_SYSTEM_B:
            update_timer(p, tsc);
            if (pit_write(&p->pit, tsc, port, value)) {
                platform_line(p, IRQ_TIMER, p->pit.out0);
            }
            set_deadline(p, tsc);
            return true;
        case KBC_DATA:
        case KBC_COMMAND:
            if (kbc_write(&p->kbc, port, value)) {
                *action = PLATFORM_RESET;
            }
            platform_line(p, IRQ_KEYBOARD, p->kbc.line);
            return true;
        case RTC_INDEX:
        case RTC_DATA:
            rtc_write(&p->rtc, tsc, port, value);
            platform_line(p, IRQ_RTC, p->rtc.line);
            set_deadline(p, tsc);
            return true;
        case POST:
            p->post_code = value;
            return true;
        case SYSTEM_A:
            if ((value & SYSTEM_A_RESET) && !(p->port92 & SYSTEM_A_RESET)) {
                *action = PLATFORM_RESET;
            }
            p->port92 = value;
            return true;
        case DEBUG:
            if (!console_put(c, value)) {
                *action = PLATFORM_STALL;
            }
            return true;
        case COM1 ... COM1_LAST:
            if (!uart_write(&p->uart, c, (uint8_t)(port - COM1), value)) {
                *action = PLATFORM_STALL;
            }
            take_uart_line(p);
            return true;
        case RESET_CONTROL:
            if ((value & RESET_CONTROL_CPU) && !(p->reset_control & RESET_CONTROL_CPU)) {
                *action = PLATFORM_RESET;
            }
            p->reset_control = value & RESET_CONTROL_BITS;
            return true;
        case PM_TIMER ... PM_TIMER_LAST: // read only
        case PCI_ADDRESS:
        case PCI_ADDRESS + 2:
        case PCI_ADDRESS + 3:
        case PCI_DATA ... PCI_DATA_LAST:
            return true;
        default:
            return false;
    }
}

// PM1 registers are 16 bits wide; a byte is one half of one.
static bool pm1_access(
    struct platform *p, uint64_t tsc, uint16_t port, uint8_t size, bool write, uint32_t *value) {
    unsigned shift = port & 1 ? 8 : 0;
    uint16_t reg = (uint16_t)(port - (port & 1)), mask = (uint16_t)(size == 1 ? 0xFF << shift : 0xFFFF);
    bool off = false;
    if (write) {
        off = pmtimer_write(&p->pmtimer, tsc, reg, (uint16_t)(*value << shift), mask);
    } else {
        *value = (uint32_t)(pmtimer_read(&p->pmtimer, tsc, reg) & mask) >> shift;
    }
    platform_line(p, IRQ_SCI, p->pmtimer.line);
    set_deadline(p, tsc);
    return off;
}

static bool is_pm1(uint16_t port) {
    return port >= PM1_STATUS && port <= PM1_LAST;
}

// One byte, by a byte access or as a part of a wider one: a device of 8 bits on a
// PC sees one cycle a byte.
static bool access_byte(struct platform *p, struct console *c, uint64_t tsc, uint16_t port, bool write,
    uint32_t *value, enum platform_action *action) {
    uint8_t byte = ONES;
    if (is_pm1(port)) {
        if (pm1_access(p, tsc, port, 1, write, value)) {
            *action = PLATFORM_POWEROFF;
        }
        return true;
    }
    if (write) {
        return write_byte(p, c, tsc, port, (uint8_t)*value, action);
    }
    bool claimed = read_byte(p, c, tsc, port, &byte);
    *value = byte;
    return claimed;
}

static bool access_wide(struct platform *p, struct console *c, uint64_t tsc, uint16_t port, uint8_t size,
    bool write, uint32_t *value, enum platform_action *action) {
    uint32_t all = 0;
    bool claimed = false;
    if (port == PCI_ADDRESS && size == 4) {
        // A configuration mechanism would return what was written: without one
        // Linux needs a few accesses to see that there is no PCI, not a thousand.
        if (write) {
            p->pci_address = *value;
        } else {
            *value = UINT32_MAX;
        }
        return true;
    }
    if (port == PM_TIMER && size == 4 && !write) {
        *value = pmtimer_value(&p->pmtimer, tsc);
        return true;
    }
    if (is_pm1(port) && size == 2 && port % 2 == 0) {
        if (pm1_access(p, tsc, port, 2, write, value)) {
            *action = PLATFORM_POWEROFF;
        }
        return true;
    }
    bool prints = (port <= DEBUG && port + size > DEBUG) || (port <= COM1 && port + size > COM1);
    if (write && prints && console_full(c)) { // before the first byte is out, or it came twice
        *action = PLATFORM_STALL;
        return true;
    }
    for (unsigned i = 0; i < size && *action == PLATFORM_GO_ON; i++) {
        uint32_t byte = *value >> 8 * i & 0xFF;
        claimed |= access_byte(p, c, tsc, (uint16_t)(port + i), write, &byte, action);
        all |= byte << 8 * i;
    }
    if (!write) {
        *value = all;
    }
    return claimed;
}

bool platform_io(struct platform *p, struct console *c, uint64_t tsc, uint16_t port, uint8_t size, bool write,
    uint32_t *value, enum platform_action *action) {
    *action = PLATFORM_GO_ON;
    if (port == EXIT && write) {
        p->exit_status = *value;
        *action = PLATFORM_EXIT;
        return true;
    }
    bool claimed = size == 1 ? access_byte(p, c, tsc, port, write, value, action)
                             : access_wide(p, c, tsc, port, size, write, value, action);
    if (*action == PLATFORM_STALL || p->uart.stalled) {
        look_soon(p, tsc);
    }
    return claimed;
}

uint64_t platform_update(struct platform *p, struct console *c, uint64_t tsc) {
    update_timer(p, tsc);
    if (tsc >= rtc_next(&p->rtc)) {
        rtc_update(&p->rtc, tsc);
        platform_line(p, IRQ_RTC, p->rtc.line);
    }
    if (tsc >= p->pmtimer.next_tsc) {
        pmtimer_update(&p->pmtimer, tsc);
        platform_line(p, IRQ_SCI, p->pmtimer.line);
    }
    if (p->uart.stalled || console_has_input(c)) {
        uart_poll(&p->uart, c);
        take_uart_line(p);
    }
    set_deadline(p, tsc);
    return p->deadline;
}

bool platform_irq_pending(const struct platform *p) {
    return pic_pending(&p->pic);
}

uint8_t platform_irq_ack(struct platform *p) {
    bool timer = pic_latched(&p->pic, IRQ_TIMER);
    uint8_t vector = pic_ack(&p->pic);
    if (p->pit.backlog && timer && !pic_latched(&p->pic, IRQ_TIMER)) {
        p->pit.backlog--; // delivered after this one's EOI
        pulse_timer(p);
    }
    return vector;
}
