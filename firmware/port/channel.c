// The framed channel on COM2: guests' consoles in C, everything else to Python.
#include "channel.h"

#include "capture.h"
#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/smp.h"
#include "cpu/string.h"
#include "hold.h"
#include "serial.h"
#include "virt/guest.h"

#define RX_SIZE 16384u
#define TX_SIZE 32768u
#define FRAME_START 0x7E
#define HEADER 5u // start, type, stream, length
#define CRC_SIZE 2u
#define FRAME_MAX (HEADER + CHANNEL_PAYLOAD + CRC_SIZE)
#define QUEUE 16u // frames that wait for Python
#define POLL_BYTES 4096u // looked at in one channel_poll()
#define SEND_TIMEOUT_MS 2000

static uint8_t rx_ring[RX_SIZE], tx_ring[TX_SIZE];
static struct serial com2 = {
    .port = SERIAL_COM2,
    .rx = rx_ring,
    .rx_size = RX_SIZE,
    .tx = tx_ring,
    .tx_size = TX_SIZE,
};

// The frame being received, from FRAME_START on.
static uint8_t frame[FRAME_MAX];
static size_t frame_size;

static struct channel_frame queue[QUEUE];
static unsigned queue_head, queue_tail; // count frames

// What this side knows of each guest's console.
static struct line {
    bool attached;
    uint64_t typed; // bytes of CONSOLE_IN put into the guest's console
    uint32_t acked;
} lines[GUEST_MAX];

static void com2_interrupt(void) {
    serial_service(&com2);
}

void console_changed(struct guest *g) {
    if (g->console.elsewhere) {
        guest_notify(g, GUEST_EVENT_CONSOLE);
    } else if (g->vcpu_count > 0) {
        vcpu_request(g->vcpus[0], REQ_TIMER); // its UART looks at the console again
    }
}

void channel_init(void) {
    serial_init(&com2, SERIAL_COM2_IRQ, com2_interrupt);
}

bool channel_has_input(void) {
    return serial_has_input(&com2) && queue_head - queue_tail < QUEUE;
}

static uint16_t crc16(uint16_t crc, const uint8_t *data, size_t size) {
    // CRC-16/CCITT-FALSE, one nibble at a time.
    static const uint16_t table[16] = {
        0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50A5, 0x60C6, 0x70E7,
        0x8108, 0x9129, 0xA14A, 0xB16B, 0xC18C, 0xD1AD, 0xE1CE, 0xF1EF,
    };
    for (size_t i = 0; i < size; i++) {
        crc = (uint16_t)(crc << 4 ^ table[crc >> 12 ^ data[i] >> 4]);
        crc = (uint16_t)(crc << 4 ^ table[crc >> 12 ^ (data[i] & 15)]);
    }
    return crc;
}

// ---- To the host ----

static void put_frame(uint8_t type, uint8_t stream, const void *payload, size_t length) {
    uint8_t header[HEADER] = { FRAME_START, type, stream, (uint8_t)length, (uint8_t)(length >> 8) };
    uint16_t crc = crc16(0xFFFF, header + 1, HEADER - 1);
    crc = crc16(crc, payload, length);
    uint8_t tail[CRC_SIZE] = { (uint8_t)crc, (uint8_t)(crc >> 8) };
    serial_queue(&com2, header, HEADER);
    serial_queue(&com2, payload, length);
    serial_queue(&com2, tail, CRC_SIZE);
}

static bool room_for(size_t length) {
    return serial_tx_room(&com2) >= HEADER + length + CRC_SIZE;
}

// One frame of a guest's new console output, if there is any, and room.
static void send_console(struct guest *g) {
    struct console *c = &g->console;
    if (!lines[g->id].attached || c->channel_at == c->out_head || !room_for(CHANNEL_PAYLOAD)) {
        return;
    }
    uint8_t part[CHANNEL_PAYLOAD];
    bool stalled = console_full(c);
    size_t n = console_read(c, &c->channel_at, part, sizeof(part));
    if (c->held) {
        c->out_tail = c->channel_at; // the guest may overwrite what was sent
        if (stalled) {
            console_changed(g); // its transmitter waits for that
        }
    }
    if (n != 0) {
        put_frame(CHANNEL_CONSOLE_OUT, (uint8_t)g->id, part, n);
    }
}

static void send_ack(struct guest *g) {
    struct line *line = &lines[g->id];
    uint64_t waiting = g->console.in_head - g->console.in_tail;
    uint32_t consumed = (uint32_t)(waiting < line->typed ? line->typed - waiting : 0);
    if (consumed != line->acked && room_for(sizeof(consumed))) {
        line->acked = consumed;
        put_frame(CHANNEL_CONSOLE_ACK, (uint8_t)g->id, &consumed, sizeof(consumed));
    }
}

static void send_lines(void) {
    static uint32_t first; // another guest each time, or one could take all the room
    first++;
    for (uint32_t i = 0; i < GUEST_MAX; i++) {
        struct guest *g = &guests[(first + i) % GUEST_MAX];
        if (g->state != GUEST_FREE) {
            send_console(g);
            send_ack(g);
        }
    }
}

// What the guests have written by now: a guest that goes on writing is not waited for.
static void written_now(uint64_t heads[GUEST_MAX]) {
    for (uint32_t i = 0; i < GUEST_MAX; i++) {
        heads[i] = guests[i].state != GUEST_FREE && lines[i].attached ? guests[i].console.out_head : 0;
    }
}

static bool output_waits(const uint64_t heads[GUEST_MAX]) {
    for (uint32_t i = 0; i < GUEST_MAX; i++) {
        if (guests[i].console.channel_at < heads[i]) {
            return true;
        }
    }
    return false;
}

// Until that is queued and a frame of `length` fits behind it.
static int make_room(size_t length) {
    uint64_t heads[GUEST_MAX];
    written_now(heads);
    uint64_t limit = tsc_hz / 1000 * SEND_TIMEOUT_MS;
    uint64_t since = rdtsc();
    uint32_t room = serial_tx_room(&com2);
    for (;;) {
        send_lines();
        if (!output_waits(heads) && room_for(length)) {
            return 0;
        }
        serial_service(&com2);
        uint32_t now_room = serial_tx_room(&com2);
        if (now_room != room) {
            room = now_room;
            since = rdtsc();
        } else if (rdtsc() - since > limit) {
            return -ETIMEDOUT;
        }
        cpu_pause();
    }
}

int channel_send(uint8_t type, uint8_t stream, const void *payload, size_t length) {
    if (length > CHANNEL_PAYLOAD) {
        return -ERANGE;
    }
    int error = make_room(length);
    if (error == 0) {
        put_frame(type, stream, payload, length);
    }
    return error;
}

void channel_drain(void) {
    (void)make_room(0);
}

void channel_flush(void) {
    channel_drain();
    serial_flush(&com2, SEND_TIMEOUT_MS);
}

// ---- From the host ----

void channel_guest_made(uint32_t id) {
    struct console *c = &guests[id].console;
    lines[id].typed = 0;
    lines[id].acked = 0;
    c->channel_at = 0;
    c->out_tail = 0;
    c->held = lines[id].attached;
}

static void attach(uint8_t id, bool on) {
    if (id >= GUEST_MAX) {
        return;
    }
    lines[id].attached = on;
    struct guest *g = guest_by_id(id);
    if (g == NULL) {
        return; // channel_guest_made() looks at it
    }
    struct console *c = &g->console;
    c->channel_at = c->out_head > CONSOLE_OUT_SIZE ? c->out_head - CONSOLE_OUT_SIZE : 0;
    c->out_tail = c->channel_at;
    c->held = on;
}

// True when the frame was dealt with; false: Python's queue is full.
static bool dispatch(uint8_t type, uint8_t stream, const uint8_t *payload, size_t length) {
    if (type == CHANNEL_CONSOLE_IN) {
        struct guest *g = guest_by_id(stream);
        if (g != NULL) {
            lines[stream].typed += console_type(&g->console, payload, length);
            console_changed(g);
        }
        return true;
    }
    if (type == CHANNEL_ATTACH) {
        if (length == 1) {
            attach(stream, payload[0] != 0);
        }
        return true;
    }
    if (type == CHANNEL_EXEC_STOP && capture_stream() == stream) {
        hold_stop(); // it runs now, and Python would read this behind it
        return true;
    }
    if (type != CHANNEL_HELLO && type != CHANNEL_EXEC && type != CHANNEL_EXEC_STOP && type != CHANNEL_QUIT) {
        return true; // from a newer host: not ours to know
    }
    if (queue_head - queue_tail == QUEUE) {
        return false;
    }
    struct channel_frame *f = &queue[queue_head % QUEUE];
    f->type = type;
    f->stream = stream;
    f->length = (uint16_t)length;
    memcpy(f->payload, payload, length);
    queue_head++;
    return true;
}

// The frame in `frame` is no good: start again at the next FRAME_START in it.
static void resynchronise(void) {
    size_t i = 1;
    while (i < frame_size && frame[i] != FRAME_START) {
        i++;
    }
    frame_size -= i;
    memmove(frame, frame + i, frame_size);
}

// Deals with what `frame` holds as far as it goes; false: Python's queue is full.
static bool examine(void) {
    while (frame_size > 0) {
        if (frame[0] != FRAME_START) {
            resynchronise();
            continue;
        }
        if (frame_size < HEADER) {
            return true;
        }
        size_t length = (size_t)(frame[3] | frame[4] << 8);
        if (length > CHANNEL_PAYLOAD) {
            resynchronise();
            continue;
        }
        size_t whole = HEADER + length + CRC_SIZE;
        if (frame_size < whole) {
            return true;
        }
        uint16_t crc = crc16(0xFFFF, frame + 1, HEADER - 1 + length);
        if (crc != (frame[HEADER + length] | frame[HEADER + length + 1] << 8)) {
            resynchronise();
            continue;
        }
        if (!dispatch(frame[1], frame[2], frame + HEADER, length)) {
            return false;
        }
        frame_size -= whole;
        memmove(frame, frame + whole, frame_size);
    }
    return true;
}

bool channel_poll(void) {
    if (!com2.present) {
        return false;
    }
    serial_service(&com2);
    for (unsigned n = 0; n < POLL_BYTES && examine(); n++) {
        // A whole frame never stays in `frame` here, so there is room for a byte.
        int c = serial_getc(&com2);
        if (c < 0) {
            break;
        }
        frame[frame_size++] = (uint8_t)c;
    }
    send_lines();
    return queue_head != queue_tail;
}

const struct channel_frame *channel_next(void) {
    return queue_head == queue_tail ? NULL : &queue[queue_tail % QUEUE];
}

void channel_take(void) {
    queue_tail++;
}
