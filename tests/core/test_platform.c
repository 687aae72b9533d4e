// Ports, access sizes, interrupt lines and the calls that end a guest.
// sources: hypervisor/dev/platform.c hypervisor/dev/pic.c hypervisor/dev/ioapic.c hypervisor/dev/pit.c
// sources: hypervisor/dev/rtc.c
// sources: hypervisor/dev/uart.c hypervisor/dev/pmtimer.c hypervisor/dev/kbc.c hypervisor/dev/console.c
// sources: hypervisor/dev/pci.c hypervisor/dev/fwcfg.c hypervisor/dev/crtc.c hypervisor/dev/hpet.c
#include "check.h"
#include "dev/platform.h"

enum { HZ = 1193182 * 10, TICK = 10 };

static uint8_t out_bytes[CONSOLE_OUT_SIZE], in_bytes[CONSOLE_IN_SIZE];
static struct console c;
static struct platform p;
static enum platform_action action;
static bool claimed;
static uint64_t now;

static void start(void) {
    now = 0;
    c = (struct console){.out = out_bytes, .in = in_bytes};
    platform_init(&p, HZ, 1700000000, 64u << 20);
}

static uint32_t in(uint16_t port, uint8_t size) {
    uint32_t value = 0x5A5A5A5A;
    claimed = platform_io(&p, &c, now, port, size, false, &value, &action);
    return value;
}

static enum platform_action out(uint16_t port, uint8_t size, uint32_t value) {
    claimed = platform_io(&p, &c, now, port, size, true, &value, &action);
    return action;
}

// The PICs as Linux sets them, everything unmasked.
static void start_pics(void) {
    start();
    static const uint8_t master[] = {0x30, 0x04, 0x01, 0x00}, slave[] = {0x38, 0x02, 0x01, 0x00};
    out(0x20, 1, 0x11);
    out(0xA0, 1, 0x11);
    for (unsigned i = 0; i < 4; i++) {
        out(0x21, 1, master[i]);
        out(0xA1, 1, slave[i]);
    }
}

static void program_timer(uint8_t mode, uint16_t count) {
    out(0x43, 1, (uint32_t)(0x30 | mode << 1));
    out(0x40, 1, count & 0xFF);
    out(0x40, 1, count >> 8);
}

static void run_to(uint64_t t) {
    while (p.deadline <= t) {
        now = p.deadline > now ? p.deadline : now;
        uint64_t next = platform_update(&p, &c, now);
        EQUAL(next, p.deadline);
        CHECK(next > now);
    }
    now = t;
}

CASE(starts_quiet) {
    start();
    EQUAL(in(0x21, 1), 0xFF);
    EQUAL(in(0x64, 1), 0x01);
    EQUAL(in(0x3FE, 1), 0xB0);
    EQUAL(in(0x604, 2), 1);
    start_pics();
    CHECK(!platform_irq_pending(&p));
    EQUAL(p.deadline, UINT64_MAX);
    EQUAL(p.version, PLATFORM_VERSION);
    EQUAL(platform_update(&p, &c, 5 * (uint64_t)HZ), UINT64_MAX);
    CHECK(!platform_irq_pending(&p));
}

CASE(unclaimed_ports) {
    static const uint16_t ports[] = {0x00, 0x2F8, 0x3E8, 0x2E8, 0x1F7, 0x3C0, 0x4E, 0xED, 0x60C, 0xFFFF, 0x100, 0xF4};
    start();
    for (unsigned i = 0; i < sizeof ports / sizeof *ports; i++) {
        in(ports[i], 1);
        CHECK(!claimed);
    }
    out(0x2F8, 1, 0);
    CHECK(!claimed);
    in(0x1234, 4);
    CHECK(!claimed);
    EQUAL(action, PLATFORM_GO_ON);
}

CASE(claimed_ports) {
    static const uint16_t ports[] = {0x20, 0x21, 0x40, 0x41, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x80, 0x92, 0xA0,
        0xA1, 0xE9, 0x3F8, 0x3FF, 0x4D0, 0x4D1, 0x600, 0x604, 0x608, 0x60B, 0xCF8, 0xCF9, 0xCFC, 0xCFF};
    start();
    for (unsigned i = 0; i < sizeof ports / sizeof *ports; i++) {
        CHECK(in(ports[i], 1) < 0x100);
        CHECK(claimed);
        EQUAL(action, PLATFORM_GO_ON);
        EQUAL(out(ports[i], 1, 0), PLATFORM_GO_ON);
        CHECK(claimed);
    }
}

CASE(exit_port_takes_any_size) {
    start();
    EQUAL(out(0xF4, 1, 0x42), PLATFORM_EXIT);
    EQUAL(p.exit_status, 0x42);
    EQUAL(out(0xF4, 2, 0x1234), PLATFORM_EXIT);
    EQUAL(p.exit_status, 0x1234);
    EQUAL(out(0xF4, 4, 0xDEADBEEF), PLATFORM_EXIT);
    EQUAL(p.exit_status, 0xDEADBEEF);
    CHECK(claimed);
}

CASE(resets) {
    start();
    EQUAL(out(0x64, 1, 0xFE), PLATFORM_RESET);
    start();
    EQUAL(out(0xCF9, 1, 0x02), PLATFORM_GO_ON);
    EQUAL(in(0xCF9, 1), 0x02);
    EQUAL(out(0xCF9, 1, 0x06), PLATFORM_RESET);
    start();
    EQUAL(out(0xCF9, 1, 0x0E), PLATFORM_RESET);
    start();
    EQUAL(out(0x92, 1, 0x02), PLATFORM_GO_ON);
    EQUAL(in(0x92, 1), 0x02);
    EQUAL(out(0x92, 1, 0x03), PLATFORM_RESET);
}

CASE(power_off) {
    start();
    EQUAL(out(0x604, 2, 0x3C01), PLATFORM_GO_ON);
    EQUAL(out(0x604, 2, 0x2001), PLATFORM_POWEROFF);
    start();
    EQUAL(out(0x605, 1, 0x20), PLATFORM_POWEROFF);
    start();
    EQUAL(in(0x604, 2), 1);
    EQUAL(out(0x604, 4, 0x2000), PLATFORM_POWEROFF);
}

CASE(pci_configuration) {
    start();
    out(0xCF8, 4, 0x80000000);
    CHECK(claimed);
    EQUAL(in(0xCF8, 4), 0x80000000);
    EQUAL(in(0xCFC, 4), 0x12378086);
    EQUAL(in(0xCFE, 2), 0x1237);
    EQUAL(in(0xCFD, 1), 0x80);
    EQUAL(out(0xCFB, 1, 1), PLATFORM_GO_ON); // a byte does not reach the address register
    EQUAL(in(0xCF8, 4), 0x80000000);
    EQUAL(in(0xCFA, 2), 0xFFFF);
    out(0xCF8, 4, 0x80000800); // device 1
    EQUAL(in(0xCFC, 4), 0xFFFFFFFF);
    EQUAL(out(0xCF8, 4, 0x80000600), PLATFORM_GO_ON); // byte 1 of it is not the reset register
    EQUAL(in(0xCF9, 1), 0);
}

CASE(firmware_configuration) {
    start();
    out(0x510, 2, 0x0005);
    CHECK(claimed);
    EQUAL(in(0x511, 1), 1);
    EQUAL(in(0x511, 1), 0);
    out(0x510, 2, 0x0003);
    EQUAL(in(0x511, 4), 64u << 20);
    out(0x510, 2, 0);
    EQUAL(in(0x511, 1), 'Q');
    EQUAL(in(0x511, 1), 'E');
    out(0x511, 1, 'x'); // nothing is written by this port
    EQUAL(in(0x511, 1), 'M');
}

CASE(text_cursor) {
    start();
    out(0x3D4, 2, 0x120E); // index and data in one go
    out(0x3D4, 1, 0x0F);
    out(0x3D5, 1, 0x34);
    EQUAL(in(0x3D5, 1), 0x34);
    out(0x3D4, 1, 0x0E);
    EQUAL(in(0x3D4, 2), 0x120E);
    CHECK(claimed);
}

CASE(debug_port) {
    start();
    EQUAL(in(0xE9, 1), 0xE9);
    out(0xE9, 1, 'A');
    out(0x3F8, 1, 'B');
    EQUAL(c.out_head, 2);
    EQUAL(memcmp(out_bytes, "AB", 2), 0);
}

CASE(post_port) {
    start();
    out(0x80, 1, 0x77);
    EQUAL(p.post_code, 0x77);
    EQUAL(in(0x80, 1), 0x77);
}

CASE(wide_accesses_go_byte_by_byte) {
    start();
    out(0x3FE, 2, 0x5AFF); // MSR, scratch
    EQUAL(in(0x3FF, 1), 0x5A);
    EQUAL(in(0x3FF, 2), 0xFF5A); // 0x400 is nobody's
    CHECK(claimed);
    EQUAL(in(0x3FE, 2), 0x5AB0);
    out(0x70, 2, 0x330F); // index and data at once
    EQUAL(in(0x71, 1), 0x33);
    EQUAL(in(0x600, 4), 0);
    out(0x600, 4, 0x01000000);
    EQUAL(in(0x600, 4), 0x01000000);
    EQUAL(in(0x602, 2), 0x0100);
}

CASE(pm_timer_by_any_size) {
    start();
    now = (uint64_t)HZ * 100; // 357954500 = 0x155601C4
    EQUAL(in(0x608, 4), 357954500);
    EQUAL(in(0x608, 2), 357954500 & 0xFFFF);
    EQUAL(in(0x60B, 1), 357954500 >> 24);
    out(0x608, 4, 0);
    EQUAL(in(0x608, 4), 357954500);
}

CASE(timer_interrupts) {
    start_pics();
    program_timer(2, 1000);
    EQUAL(p.deadline, 1001 * TICK);
    run_to(1000 * TICK);
    CHECK(!platform_irq_pending(&p));
    run_to(1001 * TICK);
    CHECK(platform_irq_pending(&p));
    EQUAL(platform_irq_ack(&p), 0x30);
    CHECK(!platform_irq_pending(&p));
    out(0x20, 1, 0x20);
    CHECK(!platform_irq_pending(&p));
    run_to(2001 * TICK);
    CHECK(platform_irq_pending(&p));
}

CASE(one_shot_modes_interrupt_once) {
    for (unsigned mode = 0; mode <= 4; mode += 4) {
        start_pics();
        program_timer((uint8_t)mode, 500);
        run_to(100000 * TICK);
        EQUAL(platform_irq_ack(&p), 0x30);
        out(0x20, 1, 0x20);
        CHECK(!platform_irq_pending(&p));
        EQUAL(p.deadline, UINT64_MAX);
        program_timer((uint8_t)mode, 500); // and again
        run_to(200000 * TICK);
        EQUAL(platform_irq_ack(&p), 0x30);
    }
}

static unsigned drain(void) {
    unsigned count = 0;
    while (platform_irq_pending(&p)) {
        EQUAL(platform_irq_ack(&p), 0x30);
        CHECK(!platform_irq_pending(&p)); // one at a time, the next after the EOI
        out(0x20, 1, 0x20);
        CHECK(++count < 100);
    }
    return count;
}

CASE(late_ticks_are_delivered) {
    start_pics();
    program_timer(2, 1000);
    now = 4 * 1000 * TICK + 1 * TICK;
    platform_update(&p, &c, now);
    EQUAL(drain(), 4);
    EQUAL(p.pit.backlog, 0);
    run_to(now + 3000 * TICK); // nobody takes them meanwhile
    EQUAL(drain(), 3);
}

CASE(very_late_ticks_are_no_burst) {
    start_pics();
    program_timer(2, 1000);
    now = 5000 * 1000 * (uint64_t)TICK;
    platform_update(&p, &c, now);
    EQUAL(drain(), 1 + PIT_BACKLOG);
}

CASE(late_ticks_under_automatic_eoi) {
    start_pics();
    out(0x20, 1, 0x11);
    out(0x21, 1, 0x30);
    out(0x21, 1, 0x04);
    out(0x21, 1, 0x03);
    program_timer(2, 1000);
    now = 3001 * TICK;
    platform_update(&p, &c, now);
    for (unsigned i = 0; i < 3; i++) {
        EQUAL(platform_irq_ack(&p), 0x30);
    }
    CHECK(!platform_irq_pending(&p));
}

CASE(masked_ticks_are_one) {
    start_pics();
    out(0x21, 1, 0x01);
    program_timer(2, 1000);
    run_to(20000 * TICK);
    out(0x21, 1, 0x00);
    EQUAL(drain(), 1);
}

CASE(programming_late_loses_nothing_due) {
    start_pics();
    program_timer(2, 1000);
    now = 1500 * TICK; // nobody called platform_update
    out(0x43, 1, 0x34);
    EQUAL(drain(), 1);
}

CASE(programming_moves_the_line) {
    start_pics();
    program_timer(2, 1000);
    run_to(1001 * TICK);
    CHECK(platform_irq_pending(&p));
    out(0x43, 1, 0x30); // OUT falls, the request with it
    CHECK(!platform_irq_pending(&p));
    out(0x43, 1, 0x34); // and rises
    CHECK(platform_irq_pending(&p));
}

CASE(irr_shows_what_is_due) {
    start_pics();
    program_timer(2, 1000);
    now = 1500 * TICK;
    out(0x20, 1, 0x0A);
    EQUAL(in(0x20, 1), 0x01);
}

CASE(uart_interrupts) {
    start_pics();
    out(0x3FC, 1, 0x08);
    out(0x3F9, 1, 0x01);
    CHECK(!platform_irq_pending(&p));
    console_type(&c, "hi", 2);
    platform_update(&p, &c, now);
    EQUAL(platform_irq_ack(&p), 0x34);
    EQUAL(in(0x3F8, 1), 'h');
    out(0x20, 1, 0x64);
    CHECK(platform_irq_pending(&p));
    pic_ack(&p.pic);
    in(0x3FD, 1); // moves no line: no further edge
    out(0x20, 1, 0x64);
    CHECK(!platform_irq_pending(&p));
    out(0x3FC, 1, 0x00);
    out(0x3FC, 1, 0x08);
    EQUAL(platform_irq_ack(&p), 0x34); // without a FIFO: one edge a byte
    EQUAL(in(0x3F8, 1), 'i');
    out(0x20, 1, 0x64);
    CHECK(!platform_irq_pending(&p));
}

// The 8250 driver's transmit loop: 16 bytes an interrupt, none lost, none stuck.
CASE(linux_transmit_loop) {
    start_pics();
    out(0x3FA, 1, 0x01);
    out(0x3FC, 1, 0x0B);
    unsigned sent = 0, interrupts = 0;
    out(0x3F9, 1, 0x02);
    while (platform_irq_pending(&p)) {
        CHECK(++interrupts < 1000);
        EQUAL(platform_irq_ack(&p), 0x34);
        out(0x20, 1, 0x64);
        while (!(in(0x3FA, 1) & 1)) {
            CHECK(in(0x3FD, 1) & 0x20);
            for (unsigned i = 0; i < 16 && sent < 1000; i++) {
                out(0x3F8, 1, sent++ & 0xFF);
            }
            if (sent == 1000) {
                out(0x3F9, 1, 0x00);
            }
        }
    }
    EQUAL(sent, 1000);
    EQUAL(c.out_head, 1000);
    for (unsigned i = 0; i < 1000; i++) {
        EQUAL(out_bytes[i], i & 0xFF);
    }
}

// A handler that writes a single byte for each interrupt lives on the edges alone.
CASE(byte_a_time_transmit_loop) {
    start_pics();
    out(0x3FC, 1, 0x08);
    out(0x3F9, 1, 0x02);
    unsigned sent = 0;
    while (platform_irq_pending(&p) && sent < 100) {
        platform_irq_ack(&p);
        out(0x3F8, 1, 'x');
        sent++;
        out(0x20, 1, 0x20);
    }
    EQUAL(sent, 100);
}

CASE(rtc_interrupts) {
    start_pics();
    out(0x70, 1, 0x0B);
    out(0x71, 1, 0x12);
    EQUAL(p.deadline, HZ);
    run_to(HZ);
    EQUAL(platform_irq_ack(&p), 0x38);
    out(0xA0, 1, 0x20);
    out(0x20, 1, 0x20);
    run_to(3 * HZ);
    CHECK(!platform_irq_pending(&p)); // register C was not read
    out(0x70, 1, 0x0C);
    EQUAL(in(0x71, 1) & 0x90, 0x90);
    EQUAL(p.deadline, 4 * HZ);
    run_to(4 * HZ);
    EQUAL(platform_irq_ack(&p), 0x38);
}

CASE(keyboard_controller_interrupts) {
    start_pics();
    out(0x64, 1, 0x60);
    out(0x60, 1, 0x01);
    out(0x64, 1, 0xAA);
    EQUAL(platform_irq_ack(&p), 0x31);
    EQUAL(in(0x60, 1), 0x55);
    out(0x20, 1, 0x20);
    CHECK(!platform_irq_pending(&p));
}

CASE(sci) {
    start_pics();
    out(0x4D1, 1, 0x02);
    out(0x602, 2, 1);
    uint64_t due = p.deadline;
    CHECK(due < 3 * (uint64_t)HZ);
    run_to(due);
    EQUAL(platform_irq_ack(&p), 0x39);
    out(0xA0, 1, 0x20);
    out(0x20, 1, 0x20);
    CHECK(platform_irq_pending(&p)); // a level
    out(0x600, 2, 1);
    CHECK(!platform_irq_pending(&p));
    CHECK(p.deadline > due && p.deadline < UINT64_MAX);
}

CASE(full_console_stalls_the_writer) {
    start_pics();
    c.held = true;
    unsigned sent = 0;
    while (out(0xE9, 1, 'x') == PLATFORM_GO_ON) {
        CHECK(++sent < CONSOLE_OUT_SIZE);
    }
    EQUAL(action, PLATFORM_STALL);
    EQUAL(sent, CONSOLE_OUT_SIZE - 1);
    static const struct {
        uint16_t port;
        uint8_t size;
    } writes[] = {{0xE9, 1}, {0x3F8, 1}, {0xE9, 2}, {0xE8, 4}, {0x3F8, 2}};
    for (unsigned i = 0; i < 5; i++) {
        p.deadline = UINT64_MAX;
        EQUAL(out(writes[i].port, writes[i].size, 'x'), PLATFORM_STALL);
        CHECK(claimed);
        EQUAL(p.deadline, now + HZ / 1000);
    }
    EQUAL(c.out_head, sent);
    CHECK(p.deadline <= now + HZ / 1000);
    now = p.deadline;
    CHECK(platform_update(&p, &c, now) > now);
    c.out_tail = c.out_head;
    EQUAL(out(0xE9, 1, 'y'), PLATFORM_GO_ON);
    EQUAL(out(0x3F8, 1, 'z'), PLATFORM_GO_ON);
    EQUAL(c.out_head, sent + 2);
}

CASE(stalled_uart_wakes_by_the_deadline) {
    start_pics();
    c.held = true;
    while (in(0x3FD, 1) & 0x20) {
        out(0x3F8, 1, 'x');
    }
    out(0x3FC, 1, 0x08);
    out(0x3F9, 1, 0x02);
    CHECK(!platform_irq_pending(&p));
    CHECK(p.deadline <= now + HZ / 1000);
    run_to(now + HZ / 100); // looks on
    CHECK(p.deadline <= now + HZ / 1000);
    c.out_tail = c.out_head;
    run_to(now + HZ / 100);
    CHECK(platform_irq_pending(&p));
    EQUAL(p.deadline, UINT64_MAX);
}

CASE(a_copy_is_a_snapshot) {
    start_pics();
    program_timer(3, 777);
    out(0x70, 1, 0x0B);
    out(0x71, 1, 0x42);
    run_to(5000 * TICK);
    static struct platform copy;
    memcpy(&copy, &p, sizeof p);
    run_to(9000 * TICK);
    uint16_t vector = platform_irq_ack(&p);
    static struct platform later;
    memcpy(&later, &p, sizeof p);
    memcpy(&p, &copy, sizeof p);
    now = 5000 * TICK;
    run_to(9000 * TICK);
    EQUAL(platform_irq_ack(&p), vector);
    EQUAL(memcmp(&p.pit, &later.pit, sizeof p.pit), 0);
    EQUAL(memcmp(&p.rtc, &later.rtc, sizeof p.rtc), 0);
    EQUAL(memcmp(&p.pic, &later.pic, sizeof p.pic), 0);
}

// Whatever a guest does to its ports, no call fails, hangs or asks for the past.
CASE(random_accesses) {
    static const uint16_t bases[] = {
        0x20, 0x40, 0x60, 0x70, 0x80, 0x90, 0xA0, 0xE8, 0x3F8, 0x4D0, 0x600, 0x604, 0x608, 0xCF8, 0xCFC,
        0x510, 0x3D4};
    uint64_t seed = 99;
    start();
    for (unsigned i = 0; i < 300000; i++) {
        uint16_t port = (uint16_t)(bases[check_random(&seed, sizeof bases / 2)] + check_random(&seed, 8));
        uint8_t size = (uint8_t)(1u << check_random(&seed, 3));
        uint32_t mask = size == 4 ? UINT32_MAX : (1u << 8 * size) - 1;
        now += check_random(&seed, 2) ? check_random(&seed, 100) : check_random(&seed, 5000000);
        if (check_random(&seed, 2)) {
            CHECK((in(port, size) & ~mask) == 0 || !claimed);
        } else {
            out(port, size, check_random(&seed, UINT32_MAX) & mask);
        }
        if (p.deadline <= now) {
            CHECK(platform_update(&p, &c, now) > now);
        }
        if (platform_irq_pending(&p) && check_random(&seed, 2)) {
            platform_irq_ack(&p);
        }
        if (check_random(&seed, 100) == 0) {
            console_type(&c, "0123456789", 10);
        }
    }
}
