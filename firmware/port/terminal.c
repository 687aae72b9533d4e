// The prompt's line: COM1, and the machine's own screen and keyboard, with Ctrl-C taken
// out in the interrupt handlers.
#include "terminal.h"

#include "cpu/insn.h"
#include "cpu/log.h"
#include "cpu/screen.h"
#include "cpu/smp.h"
#include "hold.h"
#include "keyboard.h"
#include "native.h"
#include "py/runtime.h"
#include "serial.h"
#include "poll.h"
#include "shared/runtime/interrupt_char.h"

#define RX_SIZE 8192u
#define TX_SIZE 8192u
#define CTRL_C 0x03

static uint8_t rx_ring[RX_SIZE], tx_ring[TX_SIZE];
int mp_interrupt_char = -1;

static struct serial com1;

// What was typed before a Ctrl-C goes with it, as on any terminal.
static bool take_interrupt(uint8_t key) {
    bool edited = mp_interrupt_char == -1 && key == CTRL_C; // MicroPython's is off then
    bool wanted = key == mp_interrupt_char || (edited && hold_takes_its_time());
    if (wanted) {
        serial_drop(&com1);
        keyboard_drop();
        hold_interrupt();
        native_interrupt();
    }
    return wanted;
}

static struct serial com1 = {
    .port = SERIAL_COM1,
    .rx = rx_ring,
    .rx_size = RX_SIZE,
    .tx = tx_ring,
    .tx_size = TX_SIZE,
    .filter = take_interrupt,
};

// A Ctrl-C that came before the program it was meant for was started (a whole session
// typed at once) interrupts it, too.
void mp_hal_set_interrupt_char(int c) {
    uint64_t flags = irq_save();
    mp_interrupt_char = c;
    if (c >= 0 && (serial_drop_to(&com1, (uint8_t)c) || keyboard_drop_to((uint8_t)c))) {
        mp_sched_keyboard_interrupt();
    }
    irq_restore(flags);
}

static void com1_interrupt(void) {
    serial_service(&com1);
}

void terminal_init(void) {
    serial_init(&com1, SERIAL_COM1_IRQ, com1_interrupt);
    keyboard_init(take_interrupt);
}

int terminal_getc(void) {
    int c = serial_getc(&com1);
    return c >= 0 ? c : keyboard_getc();
}

bool terminal_has_input(void) {
    return serial_has_input(&com1) || keyboard_has_input();
}

void terminal_poll(void) {
    serial_service(&com1);
    keyboard_service();
    screen_show(true);
}

void terminal_idle(void) {
    screen_show(false);
}

// The log makes its own line ends.
static void write_log(const char *text, size_t size) {
    char part[128];
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] != '\r') {
            part[used++] = text[i];
        }
        if (used == sizeof(part) - 1 || (i + 1 == size && used > 0)) {
            part[used] = 0;
            log_printf("%s", part);
            used = 0;
        }
    }
}

void terminal_write(const char *text, size_t size) {
    if (screen_present()) {
        screen_write(text, size);
        screen_show(true);
    } else if (!com1.present) {
        write_log(text, size);
    }
    if (!com1.present) {
        return;
    }
    while (size > 0) {
        size_t n = serial_queue(&com1, (const uint8_t *)text, size);
        text += n;
        size -= n;
        if (size > 0) {
            // The reader is slow: guests go on meanwhile.
            poll_background();
            serial_service(&com1);
        }
    }
}

void terminal_flush(void) {
    serial_flush(&com1, 500);
}
