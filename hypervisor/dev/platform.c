// Ports to devices, devices' lines to the interrupt controllers.
#include "dev/platform.h"

enum {
    PIC_LINES = 16,
    IRQ_TIMER = 0,
    IOAPIC_TIMER = 2,
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
    RESET_CONTROL = 0xCF9,
    RESET_CONTROL_CPU = 1 << 2,
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
    if (irq < IOAPIC_PINS && irq != PIC_CASCADE) {
        ioapic_line(&p->ioapic, irq == IRQ_TIMER ? IOAPIC_TIMER : irq, level); // as on every PC
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
    next = p->hpet.next_tsc < next ? p->hpet.next_tsc : next;
    p->deadline = next;
    if (p->uart.stalled) {
        look_soon(p, tsc);
    }
}

static void take_uart_line(struct platform *p) {
    if (p->uart.fell) {
        platform_line(p, IRQ_COM1, false);
    }
    platform_line(p, IRQ_COM1, p->uart.line);
    p->uart.fell = p->uart.changed = false;
}

static void take_hpet_pins(struct platform *p) {
    uint32_t held = p->hpet.pins, moved = held ^ p->hpet_pins;
    for (uint32_t pins = moved | p->hpet.pulses; pins != 0; pins &= pins - 1) {
        uint8_t pin = (uint8_t)__builtin_ctz(pins);
        if (p->hpet.pulses >> pin & 1) {
            platform_line(p, pin, true);
        }
        platform_line(p, pin, held >> pin & 1);
    }
    p->hpet_pins = held;
    p->hpet.pulses = 0;
}

void platform_hpet(struct platform *p, uint64_t tsc, uint64_t offset, uint8_t size, bool write, uint64_t *value) {
    if (write) {
        hpet_write(&p->hpet, tsc, offset, size, *value);
    } else {
        if (tsc >= p->hpet.next_tsc) { // its status shows what is due
            hpet_update(&p->hpet, tsc);
        }
        *value = hpet_read(&p->hpet, tsc, offset, size);
    }
    take_hpet_pins(p);
    set_deadline(p, tsc);
}

static void pulse_timer(struct platform *p) {
    platform_line(p, IRQ_TIMER, false);
    platform_line(p, IRQ_TIMER, true);
}

// Delivers the edges of the PIT. An edge while the last one still waits in IRR
// would vanish: it is kept for the acknowledge cycle, a few of them at most. While
// the guest masks the timer it wants none of them.
static void update_timer(struct platform *p, uint64_t tsc) {
    if (tsc < pit_next(&p->pit)) {
        return;
    }
    uint64_t edges = pit_update(&p->pit, tsc);
    if (!pic_latched(&p->pic, IRQ_TIMER) || pic_masked(&p->pic, IRQ_TIMER)) {
        pulse_timer(p); // which the I/O APIC takes where the 8259 is masked
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
    ioapic_init(&p->ioapic, 1);
    pit_init(&p->pit, tsc_hz);
    rtc_init(&p->rtc, tsc_hz, unix_seconds, memory);
    uart_init(&p->uart);
    pmtimer_init(&p->pmtimer, tsc_hz);
    kbc_init(&p->kbc);
    pci_init(&p->pci);
    fwcfg_init(&p->fwcfg, 1, memory);
    crtc_init(&p->crtc);
    hpet_init(&p->hpet, tsc_hz);
    platform_line(p, IRQ_TIMER, p->pit.out0);
    p->pic.chip[0].irr = 0; // the level it starts from is no edge
    set_deadline(p, 0);
}

// A device's side of one access of a byte: platform_io's own arguments, so that the
// way there is a jump.
typedef bool port_handler(struct platform *p, struct console *c, uint64_t tsc, uint16_t port, uint8_t size,
    bool write, uint32_t *value, enum platform_action *action);
// (Kept out of line: platform_io itself then saves no register.)
#define PORT_HANDLER(name)                                                                                   \
    __attribute__((noinline)) static bool name(struct platform *p, struct console *c, uint64_t tsc,          \
        uint16_t port, uint8_t size, bool write, uint32_t *value, enum platform_action *action)
// What a handler has no use for.
#define UNUSED(x) (void)(x)

PORT_HANDLER(nobody) {
    UNUSED(p), UNUSED(c), UNUSED(tsc), UNUSED(port), UNUSED(size), UNUSED(action);
    if (!write) {
        *value = ONES;
    }
    return false;
}

PORT_HANDLER(pic_port) {
    UNUSED(c), UNUSED(size), UNUSED(action);
    if (write) {
        pic_write(&p->pic, port, (uint8_t)*value);
    } else {
        update_timer(p, tsc); // IRR shows what is due
        *value = pic_read(&p->pic, port);
    }
    return true;
}

PORT_HANDLER(pit_write_port) {
    UNUSED(c), UNUSED(size), UNUSED(write), UNUSED(action);
    update_timer(p, tsc);
    if (pit_write(&p->pit, tsc, port, (uint8_t)*value)) {
        platform_line(p, IRQ_TIMER, p->pit.out0);
        set_deadline(p, tsc);
    }
    return true;
}

PORT_HANDLER(pit_port) {
    if (write) {
        return pit_write_port(p, c, tsc, port, size, write, value, action);
    }
    *value = pit_read(&p->pit, tsc, port);
    return true;
}

PORT_HANDLER(kbc_port) {
    UNUSED(c), UNUSED(tsc), UNUSED(size);
    if (!write) {
        *value = kbc_read(&p->kbc, port);
    } else if (kbc_write(&p->kbc, port, (uint8_t)*value)) {
        *action = PLATFORM_RESET;
    }
    platform_line(p, IRQ_KEYBOARD, p->kbc.line);
    return true;
}

PORT_HANDLER(rtc_port) {
    UNUSED(c), UNUSED(size), UNUSED(action);
    if (write) {
        rtc_write(&p->rtc, tsc, port, (uint8_t)*value);
    } else {
        *value = rtc_read(&p->rtc, tsc, port);
    }
    platform_line(p, IRQ_RTC, p->rtc.line);
    set_deadline(p, tsc);
    return true;
}

PORT_HANDLER(uart_port) {
    UNUSED(size);
    uint8_t reg = (uint8_t)(port - COM1);
    if (!write) {
        *value = uart_read(&p->uart, c, reg);
    } else if (!uart_write(&p->uart, c, reg, (uint8_t)*value)) {
        *action = PLATFORM_STALL;
        look_soon(p, tsc);
    }
    if (p->uart.changed) {
        take_uart_line(p);
    }
    if (p->uart.stalled) {
        look_soon(p, tsc);
    }
    return true;
}

PORT_HANDLER(debug_port) {
    UNUSED(port), UNUSED(size);
    if (!write) {
        *value = DEBUG_PRESENT;
    } else if (!console_put(c, (uint8_t)*value)) {
        *action = PLATFORM_STALL;
        look_soon(p, tsc);
    }
    return true;
}

PORT_HANDLER(post_port) {
    UNUSED(c), UNUSED(tsc), UNUSED(port), UNUSED(size), UNUSED(action);
    if (write) {
        p->post_code = (uint8_t)*value;
    } else {
        *value = p->post_code;
    }
    return true;
}

// Ports 0x92 and 0xCF9: a bit that rises resets the CPU.
PORT_HANDLER(reset_port) {
    UNUSED(c), UNUSED(tsc), UNUSED(size);
    uint8_t *reg = port == SYSTEM_A ? &p->port92 : &p->reset_control;
    uint32_t trigger = port == SYSTEM_A ? SYSTEM_A_RESET : RESET_CONTROL_CPU;
    if (!write) {
        *value = *reg;
        return true;
    }
    if (*value & ~(uint32_t)*reg & trigger) {
        *action = PLATFORM_RESET;
    }
    *reg = (uint8_t)*value;
    return true;
}

PORT_HANDLER(exit_port) {
    if (!write) {
        return nobody(p, c, tsc, port, size, write, value, action);
    }
    p->exit_status = *value;
    *action = PLATFORM_EXIT;
    return true;
}

// PM1 registers are 16 bits wide; a byte is one half of one.
PORT_HANDLER(pm1_port) {
    UNUSED(c);
    unsigned shift = port & 1 ? 8 : 0;
    uint16_t reg = (uint16_t)(port - (port & 1)), mask = (uint16_t)(size == 1 ? ONES << shift : UINT16_MAX);
    if (!write) {
        *value = (uint32_t)(pmtimer_read(&p->pmtimer, tsc, reg) & mask) >> shift;
    } else if (pmtimer_write(&p->pmtimer, tsc, reg, (uint16_t)(*value << shift), mask)) {
        *action = PLATFORM_POWEROFF;
    }
    platform_line(p, IRQ_SCI, p->pmtimer.line);
    set_deadline(p, tsc);
    return true;
}

PORT_HANDLER(pm_timer_port) {
    UNUSED(c), UNUSED(size), UNUSED(action);
    if (!write) {
        *value = pmtimer_value(&p->pmtimer, tsc) >> 8 * (port - PM_TIMER) & ONES;
    }
    return true;
}

// Configuration data of any size; the address register is a doubleword or nothing.
PORT_HANDLER(pci_port) {
    if (port < PCI_DATA) {
        nobody(p, c, tsc, port, size, write, value, action);
    } else if (write) {
        pci_write(&p->pci, port, size, *value);
    } else {
        *value = pci_read(&p->pci, port, size);
    }
    return true;
}

PORT_HANDLER(pci_address_port) {
    UNUSED(c), UNUSED(tsc), UNUSED(port), UNUSED(size), UNUSED(action);
    if (write) {
        pci_set_address(&p->pci, *value);
    } else {
        *value = p->pci.address;
    }
    return true;
}

// The selector is written as a word; data goes byte by byte, also by a wide IN.
PORT_HANDLER(fwcfg_port) {
    UNUSED(c), UNUSED(tsc), UNUSED(action);
    if (write && port == FWCFG_SELECTOR) {
        fwcfg_select(&p->fwcfg, (uint16_t)*value);
    } else if (!write) {
        uint32_t all = 0;
        for (unsigned i = 0; i < size; i++) {
            all |= (uint32_t)(port == FWCFG_DATA ? fwcfg_read(&p->fwcfg) : 0) << 8 * i;
        }
        *value = all;
    }
    return true;
}

PORT_HANDLER(crtc_port) {
    UNUSED(c), UNUSED(tsc), UNUSED(size), UNUSED(action);
    if (write) {
        crtc_write(&p->crtc, port, (uint8_t)*value);
    } else {
        *value = crtc_read(&p->crtc, port);
    }
    return true;
}

// The ports that PCs have always had, looked up by one load; NULL: nobody.
static port_handler *const isa_ports[0x100] = {
    [PIC_MASTER_COMMAND] = pic_port,
    [PIC_MASTER_DATA] = pic_port,
    [PIT_CHANNEL_0] = pit_port,
    [PIT_CHANNEL_0 + 1] = pit_port,
    [PIT_CHANNEL_2] = pit_port,
    [PIT_CONTROL] = pit_port,
    [KBC_DATA] = kbc_port,
    [PIT_SYSTEM_B] = pit_port,
    [KBC_COMMAND] = kbc_port,
    [RTC_INDEX] = rtc_port,
    [RTC_DATA] = rtc_port,
    [POST] = post_port,
    [SYSTEM_A] = reset_port,
    [PIC_SLAVE_COMMAND] = pic_port,
    [PIC_SLAVE_DATA] = pic_port,
    [DEBUG] = debug_port,
    [EXIT] = exit_port,
};

static port_handler *handler_of(uint16_t port) {
    if (port < sizeof isa_ports / sizeof *isa_ports) {
        return isa_ports[port] ? isa_ports[port] : nobody;
    }
    switch (port) {
        case PIC_ELCR_MASTER:
        case PIC_ELCR_SLAVE:
            return pic_port;
        case PM1_STATUS ... PM1_LAST:
            return pm1_port;
        case PM_TIMER ... PM_TIMER_LAST:
            return pm_timer_port;
        case RESET_CONTROL:
            return reset_port;
        case PCI_ADDRESS:
        case PCI_ADDRESS + 2 ... PCI_DATA_LAST:
            return pci_port;
        case FWCFG_SELECTOR:
        case FWCFG_DATA:
            return fwcfg_port;
        case CRTC_INDEX:
        case CRTC_DATA:
        case CRTC_STATUS:
            return crtc_port;
        default:
            return nobody;
    }
}

// Two or four bytes. What a device takes as a whole goes to it as a whole; an 8-bit
// device on a PC sees one cycle a byte.
PORT_HANDLER(wide_port) {
    uint32_t all = 0;
    bool claimed = false;
    if (port == EXIT) {
        return exit_port(p, c, tsc, port, size, write, value, action);
    }
    if (port == PCI_ADDRESS && size == 4) {
        return pci_address_port(p, c, tsc, port, size, write, value, action);
    }
    if (port >= PCI_DATA && port <= PCI_DATA_LAST) {
        return pci_port(p, c, tsc, port, size, write, value, action);
    }
    if (port == FWCFG_DATA || (port == FWCFG_SELECTOR && size == 2)) {
        return fwcfg_port(p, c, tsc, port, size, write, value, action);
    }
    if (size == 2 && port % 2 == 0 && handler_of(port) == pm1_port) {
        return pm1_port(p, c, tsc, port, size, write, value, action);
    }
    bool prints = (port <= DEBUG && port + size > DEBUG) || (port <= COM1 && port + size > COM1);
    if (write && prints && console_full(c)) { // before the first byte is out, or it came twice
        *action = PLATFORM_STALL;
        look_soon(p, tsc);
        return true;
    }
    for (unsigned i = 0; i < size && *action == PLATFORM_GO_ON; i++) {
        uint32_t byte = *value >> 8 * i & ONES;
        claimed |= platform_io(p, c, tsc, (uint16_t)(port + i), 1, write, &byte, action);
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
    if (size != 1) {
        if (port == PM_TIMER && size == 4 && !write) {
            *value = pmtimer_value(&p->pmtimer, tsc);
            return true;
        }
        return wide_port(p, c, tsc, port, size, write, value, action);
    }
    if (port >= COM1 && port <= COM1_LAST) {
        return uart_port(p, c, tsc, port, size, write, value, action);
    }
    return handler_of(port)(p, c, tsc, port, size, write, value, action);
}

uint64_t platform_update(struct platform *p, struct console *c, uint64_t tsc) {
    if (tsc < p->deadline && !console_has_input_for_com1(c)) {
        return p->deadline;
    }
    update_timer(p, tsc);
    if (tsc >= rtc_next(&p->rtc)) {
        rtc_update(&p->rtc, tsc);
        platform_line(p, IRQ_RTC, p->rtc.line);
    }
    if (tsc >= p->pmtimer.next_tsc) {
        pmtimer_update(&p->pmtimer, tsc);
        platform_line(p, IRQ_SCI, p->pmtimer.line);
    }
    if (tsc >= p->hpet.next_tsc) {
        hpet_update(&p->hpet, tsc);
        take_hpet_pins(p);
    }
    if (p->uart.stalled || console_has_input_for_com1(c)) {
        uart_poll(&p->uart, c);
        take_uart_line(p);
    }
    set_deadline(p, tsc);
    return p->deadline;
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
