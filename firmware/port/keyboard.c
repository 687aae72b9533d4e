// The i8042 of the IBM PC/AT (Technical Reference, 1985: "Keyboard Controller"), and scan
// codes of set 1, into which it translates. USB keyboards come this way only where the
// firmware emulates one.
#include "keyboard.h"

#include <stddef.h>

#include "cpu/insn.h"
#include "cpu/smp.h"

enum {
    KBC_DATA = 0x60,
    KBC_STATUS = 0x64, // read
    KBC_COMMAND = 0x64, // write
    STATUS_OUTPUT = 0x01, // a byte waits to be read
    STATUS_INPUT = 0x02, // the controller has not taken the last one yet
    STATUS_AUX = 0x20, // the waiting byte is the mouse's
    STATUS_NONE = 0xFF, // no controller answers
    COMMAND_READ_CONFIG = 0x20,
    COMMAND_WRITE_CONFIG = 0x60,
    COMMAND_AUX_OFF = 0xA7,
    COMMAND_KEYBOARD_OFF = 0xAD,
    COMMAND_KEYBOARD_ON = 0xAE,
    CONFIG_INTERRUPT = 0x01,
    CONFIG_AUX_INTERRUPT = 0x02,
    CONFIG_KEYBOARD_OFF = 0x10,
    CONFIG_TRANSLATE = 0x40,
    KEYBOARD_IRQ = 1,
    PATIENCE = 100000, // reads of the status, some microsecond each
    LEFT_OVER = 64, // bytes that may wait from before
};
enum {
    RELEASED = 0x80, // added to a key's code when it goes up
    EXTENDED = 0xE0, // a prefix
    PAUSE = 0xE1, // a prefix of five more bytes that are one key
    PAUSE_REST = 2, // of the two that follow each of its prefixes
    KEY_ENTER = 0x1C,
    KEY_CTRL = 0x1D,
    KEY_LEFT_SHIFT = 0x2A,
    KEY_SLASH = 0x35,
    KEY_RIGHT_SHIFT = 0x36,
    KEY_ALT = 0x38,
    KEY_SPACE = 0x39,
    KEY_CAPS_LOCK = 0x3A,
    KEY_NUM_LOCK = 0x45,
    KEYPAD_FIRST = 0x47,
    KEYPAD_LAST = 0x53,
    KEY_102ND = 0x56,
    CONTROL_BITS = 0x1F,
    ESCAPE = 0x1B,
};

// By scan code, KEY_ALT and the shifts left out; the keypad's star is at 0x37.
static const char keys[] =
    "\0\0331234567890-=\177\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
static const char shifted[] =
    "\0\033!@#$%^&*()_+\177\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";
_Static_assert(sizeof(keys) == KEY_SPACE + 2 && sizeof(shifted) == sizeof(keys), "one for each code");

// 0x47 to 0x53: with num lock, and what a terminal sends for the keys behind 0xE0.
static const char keypad_digits[] = "789-456+1230.";
static const char *const keypad_sequences[] = {
    "\033[H", "\033[A", "\033[5~", "-", "\033[D", NULL, "\033[C", "+", "\033[F", "\033[B", "\033[6~",
    "\033[2~", "\033[3~",
};
_Static_assert(sizeof(keypad_digits) - 1 == KEYPAD_LAST - KEYPAD_FIRST + 1, "one for each code");

#define RING 256u // a power of two

static uint8_t ring[RING];
static volatile uint32_t head, tail; // bytes since boot; the interrupt handler moves head
static bool present;
static bool (*take)(uint8_t byte);
static bool left_shift, right_shift, ctrl, alt, caps_lock, num_lock = true, extended;
static unsigned skip;

// ---- Keys ----

static void store(uint8_t byte) {
    if (take(byte)) {
        return;
    }
    if (head - tail < RING) { // a person who types ahead that far loses keys
        ring[head & (RING - 1)] = byte;
        barrier();
        head = head + 1;
    }
}

static void store_text(const char *text) {
    for (; *text != 0; text++) {
        store((uint8_t)*text);
    }
}

static void store_key(char c) {
    if (ctrl && c >= '?' && c != '\177') {
        c = (char)(c == '?' ? '\177' : c & CONTROL_BITS);
    } else if (ctrl && c == ' ') {
        c = 0;
    }
    if (alt) {
        store(ESCAPE);
    }
    store((uint8_t)c);
}

static void pressed(uint8_t code) {
    bool shift = left_shift || right_shift;
    if (code >= KEYPAD_FIRST && code <= KEYPAD_LAST) {
        const char *sequence = keypad_sequences[code - KEYPAD_FIRST];
        if (!extended && num_lock != shift) {
            store_key(keypad_digits[code - KEYPAD_FIRST]);
        } else if (sequence != NULL) {
            store_text(sequence);
        }
        return;
    }
    if (extended && code != KEY_ENTER && code != KEY_SLASH) {
        return; // menu, power, multimedia
    }
    if (code == KEY_102ND) {
        store_key(shift ? '|' : '\\');
        return;
    }
    if (code > KEY_SPACE) {
        return; // function keys
    }
    char c = keys[code];
    if (shift != (caps_lock && c >= 'a' && c <= 'z') && !extended) {
        c = shifted[code];
    }
    if (c != 0) {
        store_key(c);
    }
}

static void scan_code(uint8_t code) {
    if (skip > 0) {
        skip--;
        return;
    }
    if (code == EXTENDED) {
        extended = true;
        return;
    }
    if (code == PAUSE) {
        skip = PAUSE_REST;
        return;
    }
    bool down = !(code & RELEASED);
    uint8_t key = (uint8_t)(code & ~RELEASED);
    switch (key) {
        case KEY_LEFT_SHIFT:
        case KEY_RIGHT_SHIFT:
            if (!extended) { // else one that the keyboard makes up around another key
                *(key == KEY_LEFT_SHIFT ? &left_shift : &right_shift) = down;
            }
            break;
        case KEY_CTRL:
            ctrl = down;
            break;
        case KEY_ALT:
            alt = down;
            break;
        case KEY_CAPS_LOCK:
            caps_lock ^= down;
            break;
        case KEY_NUM_LOCK:
            num_lock ^= down;
            break;
        default:
            if (down) {
                pressed(key);
            }
            break;
    }
    extended = false;
}

// ---- The controller ----

void keyboard_service(void) {
    if (!present) {
        return;
    }
    uint64_t flags = irq_save();
    for (int i = 0; i < LEFT_OVER; i++) {
        uint8_t status = inb(KBC_STATUS);
        if (!(status & STATUS_OUTPUT)) {
            break;
        }
        uint8_t byte = inb(KBC_DATA);
        if (!(status & STATUS_AUX)) {
            scan_code(byte);
        }
    }
    irq_restore(flags);
}

static bool wait_for(uint8_t bit, bool set) {
    for (int i = 0; i < PATIENCE; i++) {
        if (((inb(KBC_STATUS) & bit) != 0) == set) {
            return true;
        }
        cpu_pause();
    }
    return false;
}

static bool send(uint16_t port, uint8_t byte) {
    if (!wait_for(STATUS_INPUT, false)) {
        return false;
    }
    outb(port, byte);
    return true;
}

static void drain(void) {
    for (int i = 0; i < LEFT_OVER && (inb(KBC_STATUS) & STATUS_OUTPUT); i++) {
        inb(KBC_DATA);
    }
}

// The keyboard itself is left as the firmware has set it up; the controller tells CPU 0 of
// its keys, and of nothing else.
static bool controller_init(void) {
    if (inb(KBC_STATUS) == STATUS_NONE || !send(KBC_COMMAND, COMMAND_KEYBOARD_OFF)
        || !send(KBC_COMMAND, COMMAND_AUX_OFF)) {
        return false;
    }
    drain();
    if (!send(KBC_COMMAND, COMMAND_READ_CONFIG) || !wait_for(STATUS_OUTPUT, true)) {
        return false;
    }
    uint8_t config = inb(KBC_DATA);
    config |= CONFIG_INTERRUPT | CONFIG_TRANSLATE;
    config &= (uint8_t)~(CONFIG_AUX_INTERRUPT | CONFIG_KEYBOARD_OFF);
    return send(KBC_COMMAND, COMMAND_WRITE_CONFIG) && send(KBC_DATA, config)
           && send(KBC_COMMAND, COMMAND_KEYBOARD_ON);
}

void keyboard_init(bool (*filter)(uint8_t byte)) {
    take = filter;
    present = controller_init();
    if (present) {
        isa_irq_enable(KEYBOARD_IRQ, keyboard_service);
    }
}

bool keyboard_has_input(void) {
    return head != tail;
}

int keyboard_getc(void) {
    uint64_t flags = irq_save(); // the filter may drop what is there
    int byte = -1;
    if (keyboard_has_input()) {
        byte = ring[tail & (RING - 1)];
        tail = tail + 1;
    }
    irq_restore(flags);
    return byte;
}

void keyboard_drop(void) {
    tail = head;
}

bool keyboard_drop_to(uint8_t byte) {
    for (uint32_t place = tail; place != head; place++) {
        if (ring[place & (RING - 1)] == byte) {
            tail = place + 1;
            return true;
        }
    }
    return false;
}
