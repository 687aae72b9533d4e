// The i8042 without devices. After power-on its output buffer seems full for a
// while: Linux drains 16 bytes, finds the buffer still full and concludes that
// there is no controller, which saves it ten thousand polls of a silent one. The
// supply ends, so that code which drains without a limit goes on too. The input
// buffer is never full: who waits to send the reset command does not wait.
#include "dev/kbc.h"

enum {
    STATUS_OBF = 1 << 0,
    STATUS_SYSTEM = 1 << 2, // self test passed
    STATUS_UNLOCKED = 1 << 4,
    STALE_BYTES = 64,
    NO_DATA = 0xFF,
    BYTE_IRQ1 = 1 << 0,
    BYTE_SYSTEM = 1 << 2,
    BYTE_NO_KEYBOARD = 1 << 4,
    BYTE_NO_MOUSE = 1 << 5,
    OUTPUT_NOT_RESET = 1 << 0,
    OUTPUT_A20 = 1 << 1,
    OUTPUT_IDLE = 0xCC, // the lines that a PC leaves high
};

// Commands to port 0x64.
enum {
    READ_BYTE = 0x20,
    WRITE_BYTE = 0x60,
    MOUSE_OFF = 0xA7,
    MOUSE_ON = 0xA8,
    MOUSE_TEST = 0xA9,
    SELF_TEST = 0xAA,
    KEYBOARD_TEST = 0xAB,
    KEYBOARD_OFF = 0xAD,
    KEYBOARD_ON = 0xAE,
    READ_INPUT_PORT = 0xC0,
    READ_OUTPUT_PORT = 0xD0,
    WRITE_OUTPUT_PORT = 0xD1,
    WRITE_KEYBOARD_BUFFER = 0xD2,
    A20_OFF = 0xDD,
    A20_ON = 0xDF,
    PULSE = 0xF0, // the low four bits that are clear pulse low
    SELF_TEST_PASSED = 0x55,
    TEST_PASSED = 0x00,
    MOUSE_CLOCK_LOW = 0x01, // what the test of an absent port says
    INPUT_PORT_UNLOCKED = 0x80,
};

void kbc_init(struct kbc *k) {
    *k = (struct kbc){
        .command_byte = BYTE_SYSTEM | BYTE_NO_KEYBOARD | BYTE_NO_MOUSE,
        .output_port = OUTPUT_IDLE | OUTPUT_NOT_RESET | OUTPUT_A20,
        .data = NO_DATA,
        .stale = STALE_BYTES,
    };
}

static void set_line(struct kbc *k) {
    k->line = k->full && (k->command_byte & BYTE_IRQ1);
}

static void answer(struct kbc *k, uint8_t value) {
    k->data = value;
    k->full = true;
}

uint8_t kbc_read(struct kbc *k, uint16_t port) {
    if (port == KBC_COMMAND) {
        if (k->full) {
            return STATUS_OBF | STATUS_SYSTEM | STATUS_UNLOCKED;
        }
        return k->stale ? STATUS_OBF : STATUS_SYSTEM | STATUS_UNLOCKED;
    }
    if (k->full) {
        k->full = false;
        set_line(k);
        return k->data;
    }
    if (k->stale) {
        k->stale--;
        return NO_DATA;
    }
    return k->data; // the buffer keeps its last byte
}

static bool command(struct kbc *k, uint8_t value) {
    k->pending = 0;
    switch (value) {
        case READ_BYTE:
            answer(k, k->command_byte);
            break;
        case WRITE_BYTE:
        case WRITE_OUTPUT_PORT:
        case WRITE_KEYBOARD_BUFFER:
            k->pending = value;
            break;
        case MOUSE_OFF:
            k->command_byte |= BYTE_NO_MOUSE;
            break;
        case MOUSE_ON:
            k->command_byte &= (uint8_t)~BYTE_NO_MOUSE;
            break;
        case KEYBOARD_OFF:
            k->command_byte |= BYTE_NO_KEYBOARD;
            break;
        case KEYBOARD_ON:
            k->command_byte &= (uint8_t)~BYTE_NO_KEYBOARD;
            break;
        case MOUSE_TEST:
            answer(k, MOUSE_CLOCK_LOW);
            break;
        case SELF_TEST:
            answer(k, SELF_TEST_PASSED);
            break;
        case KEYBOARD_TEST:
            answer(k, TEST_PASSED);
            break;
        case READ_INPUT_PORT:
            answer(k, INPUT_PORT_UNLOCKED);
            break;
        case READ_OUTPUT_PORT:
            answer(k, k->output_port);
            break;
        case A20_OFF:
            k->output_port &= (uint8_t)~OUTPUT_A20;
            break;
        case A20_ON:
            k->output_port |= OUTPUT_A20;
            break;
        default:
            return value >= PULSE && !(value & OUTPUT_NOT_RESET);
    }
    return false;
}

bool kbc_write(struct kbc *k, uint16_t port, uint8_t value) {
    bool reset = false;
    if (port == KBC_COMMAND) {
        reset = command(k, value);
    } else {
        switch (k->pending) {
            case WRITE_BYTE:
                k->command_byte = value;
                break;
            case WRITE_OUTPUT_PORT:
                k->output_port = value;
                reset = !(value & OUTPUT_NOT_RESET);
                break;
            case WRITE_KEYBOARD_BUFFER:
                answer(k, value);
                break;
            default: // for a keyboard that is not there
                break;
        }
        k->pending = 0;
    }
    set_line(k);
    return reset;
}
