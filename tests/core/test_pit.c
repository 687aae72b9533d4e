// The 8254 against a reference that counts clock by clock as the data sheet says.
// sources: hypervisor/dev/pit.c
#include "check.h"
#include "dev/pit.h"
#include "dev/ratio.h"

enum { C0 = PIT_CHANNEL_0, C2 = PIT_CHANNEL_2, CW = PIT_CONTROL, P61 = PIT_SYSTEM_B };

// One counter of the data sheet: count register, counting element, OUT, gate.
struct reference {
    unsigned mode, control;
    bool bcd;
    uint32_t cr, ce, full;
    bool counting, load, pending, triggered, gate, out;
    bool odd;   // mode 3: the count in the counting element is odd
    bool armed; // modes 4 and 5: the strobe is to come, once
    uint64_t rises;
};

static void ref_control(struct reference *r, uint8_t control) {
    r->control = control & 0x3F;
    r->mode = control >> 1 & 7;
    if (r->mode > 5) {
        r->mode -= 4;
    }
    r->bcd = control & 1;
    r->full = r->bcd ? 10000 : 65536;
    r->counting = r->load = r->pending = r->triggered = false;
    r->out = r->mode != 0;
}

static void ref_count(struct reference *r, uint32_t count) {
    r->cr = count;
    r->pending = true;
    if (r->mode == 0 || r->mode == 4) {
        r->load = true;
        r->out = r->mode == 4;
    } else if ((r->mode == 2 || r->mode == 3) && !r->counting) {
        r->load = true;
    }
    r->counting = true;
}

static void ref_gate(struct reference *r, bool gate) {
    if (gate == r->gate) {
        return;
    }
    r->gate = gate;
    if ((r->mode == 2 || r->mode == 3) && !gate && r->counting) {
        r->out = true;
    } else if (gate && r->counting && r->mode != 0 && r->mode != 4) {
        r->load = true;
        r->triggered = true;
    }
}

static void ref_out(struct reference *r, bool out) {
    r->rises += out && !r->out;
    r->out = out;
}

static void ref_reload(struct reference *r) {
    r->ce = r->mode == 3 ? r->cr & ~1u : r->cr;
    r->pending = false;
    r->odd = r->cr & 1;
    r->armed = true;
}

static void ref_clock(struct reference *r) {
    bool by_trigger = r->mode == 1 || r->mode == 5;
    if (!r->counting || (by_trigger && !r->triggered)) {
        return;
    }
    if (r->load && (r->gate || r->mode == 0 || r->mode == 4 || by_trigger)) {
        r->load = false;
        ref_reload(r);
        if (r->mode == 1) {
            ref_out(r, false);
        } else if (r->mode == 5) {
            ref_out(r, true);
        }
        return;
    }
    if (!r->gate && !by_trigger) {
        return;
    }
    switch (r->mode) {
        case 0:
        case 1:
            r->ce = (r->ce + r->full - 1) % r->full;
            if (r->ce == 0) {
                ref_out(r, true);
            }
            break;
        case 2:
            if (r->ce == 1) {
                ref_reload(r);
                ref_out(r, true);
            } else {
                r->ce--;
                ref_out(r, r->ce != 1);
            }
            break;
        case 3: // an odd count makes the high half one clock longer
            if (r->ce == 0 || (r->ce == 2 && !(r->out && r->odd))) {
                bool out = !r->out;
                ref_reload(r);
                ref_out(r, out);
            } else {
                r->ce -= 2;
            }
            break;
        default:
            r->ce = (r->ce + r->full - 1) % r->full;
            ref_out(r, r->ce != 0 || !r->armed);
            r->armed &= r->ce != 0;
            break;
    }
}

static struct pit p;

static uint32_t digits(bool bcd, uint32_t n) {
    n %= bcd ? 10000 : 65536;
    return bcd ? n / 1000 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 | n % 10 : n;
}

// One TSC step is one tick here.
static void start(void) {
    pit_init(&p, PIT_HZ);
}

static uint16_t read_both(uint64_t t, uint16_t port) {
    unsigned low = pit_read(&p, t, port);
    return (uint16_t)(low | pit_read(&p, t, port) << 8);
}

static uint16_t latched(uint64_t t, unsigned channel) {
    pit_write(&p, t, CW, (uint8_t)(channel << 6));
    return read_both(t, (uint16_t)(C0 + channel));
}

static uint8_t status(uint64_t t, unsigned channel) {
    pit_write(&p, t, CW, (uint8_t)(0xE0 | 2u << channel));
    return pit_read(&p, t, (uint16_t)(C0 + channel));
}

static void program(uint64_t t, unsigned channel, unsigned mode, uint16_t count) {
    pit_write(&p, t, CW, (uint8_t)(channel << 6 | 0x30 | mode << 1));
    pit_write(&p, t, (uint16_t)(C0 + channel), (uint8_t)count);
    pit_write(&p, t, (uint16_t)(C0 + channel), (uint8_t)(count >> 8));
}

static void compare_channel_2(unsigned mode, uint64_t seed, unsigned steps) {
    struct reference r = {.full = 65536, .out = true};
    start();
    for (uint64_t t = 0; t < steps; t++) {
        unsigned what = check_random(&seed, t < 2 ? 1 : 40);
        if (what == 0) {
            uint8_t control = (uint8_t)(0xB0 | mode << 1 | check_random(&seed, 2));
            ref_control(&r, control);
            pit_write(&p, t, CW, control);
        }
        if (what <= 2) {
            uint32_t count = check_random(&seed, 8) ? 2 + check_random(&seed, 40) : 3000 + check_random(&seed, 6000);
            if (check_random(&seed, 50) == 0) {
                count = r.full; // written as 0
            }
            uint32_t written = digits(r.bcd, count);
            ref_count(&r, count);
            pit_write(&p, t, C2, (uint8_t)written);
            pit_write(&p, t, C2, (uint8_t)(written >> 8));
        } else if (what <= 5) {
            bool gate = what == 3 ? false : true;
            ref_gate(&r, gate);
            pit_write(&p, t, P61, gate);
        }
        ref_clock(&r);
        if (!r.counting || ((mode == 1 || mode == 5) && !r.triggered) || r.load) {
            continue;
        }
        unsigned first = check_random(&seed, 3); // each question may come first
        if (first == 0) {
            EQUAL(pit_read(&p, t + 1, P61) >> 5 & 1, r.out);
        } else if (first == 1) {
            EQUAL(status(t + 1, 2) >> 6 & 1, r.pending);
        }
        EQUAL(latched(t + 1, 2), digits(r.bcd, r.ce));
        EQUAL(status(t + 1, 2), r.control | r.out << 7 | r.pending << 6);
        EQUAL(pit_read(&p, t + 1, P61) >> 5 & 1, r.out);
    }
}

CASE(mode_0_counts_like_the_data_sheet) {
    compare_channel_2(0, 10, 300000);
}
CASE(mode_1_counts_like_the_data_sheet) {
    compare_channel_2(1, 11, 300000);
}
CASE(mode_2_counts_like_the_data_sheet) {
    compare_channel_2(2, 12, 300000);
}
CASE(mode_3_counts_like_the_data_sheet) {
    compare_channel_2(3, 13, 300000);
}
CASE(mode_4_counts_like_the_data_sheet) {
    compare_channel_2(4, 14, 300000);
}
CASE(mode_5_counts_like_the_data_sheet) {
    compare_channel_2(5, 15, 300000);
}
CASE(retriggered_one_shot_stays_low) {
    start();
    program(0, 2, 1, 100);
    pit_write(&p, 10, P61, 1);
    EQUAL(pit_read(&p, 10, P61) & 0x20, 0x20);
    EQUAL(pit_read(&p, 11, P61) & 0x20, 0);
    pit_write(&p, 50, P61, 0);
    pit_write(&p, 60, P61, 1);
    EQUAL(pit_read(&p, 60, P61) & 0x20, 0);
    EQUAL(pit_read(&p, 160, P61) & 0x20, 0);
    EQUAL(pit_read(&p, 161, P61) & 0x20, 0x20);
}
CASE(modes_6_and_7_are_2_and_3) {
    start();
    pit_write(&p, 0, CW, 0x3C);
    EQUAL(status(0, 0) & 0x0E, 0x04);
    pit_write(&p, 0, CW, 0x3E);
    EQUAL(status(0, 0) & 0x0E, 0x06);
}

// Interrupts of channel 0: as many as the reference's OUT rises by counting.
static void compare_edges(unsigned mode, uint64_t seed) {
    for (unsigned round = 0; round < 60; round++) {
        struct reference r = {.full = 65536, .out = true, .gate = true};
        uint64_t edges = 0, t = check_random(&seed, 1000);
        start();
        ref_control(&r, (uint8_t)(0x30 | mode << 1));
        pit_write(&p, t, CW, (uint8_t)(0x30 | mode << 1));
        for (uint64_t end = t + 20000; t < end; t++) {
            if (r.counting == false || check_random(&seed, 3000) == 0) {
                uint32_t count = 50 + check_random(&seed, 3000);
                edges += pit_update(&p, t);
                ref_count(&r, count);
                pit_write(&p, t, C0, (uint8_t)count);
                pit_write(&p, t, C0, (uint8_t)(count >> 8));
            }
            ref_clock(&r);
            if (check_random(&seed, 40) == 0) { // looked at late: none is lost
                edges += pit_update(&p, t + 1);
                EQUAL(edges, r.rises);
            }
        }
    }
}

CASE(mode_0_interrupts_once_a_count) {
    compare_edges(0, 20);
}
CASE(mode_2_interrupts_each_period) {
    compare_edges(2, 22);
}
CASE(mode_3_interrupts_each_period) {
    compare_edges(3, 23);
}

CASE(mode_4_interrupts_when_the_strobe_ends) {
    start();
    program(100, 0, 4, 10);
    EQUAL(pit_next(&p), 100 + 1 + 10 + 1);
    EQUAL(pit_update(&p, 111), 0);
    EQUAL(pit_update(&p, 112), 1);
    EQUAL(pit_next(&p), PIT_NEVER);
    EQUAL(pit_update(&p, 200000), 0); // the wrap is no strobe
}

CASE(mode_0_tells_its_level) {
    start();
    CHECK(p.out0);
    pit_write(&p, 5, CW, 0x30);
    CHECK(!p.out0);
    CHECK(pit_write(&p, 5, C0, 10));
    EQUAL(pit_next(&p), PIT_NEVER); // the high byte is missing
    pit_write(&p, 5, C0, 0);
    EQUAL(pit_next(&p), 5 + 1 + 10);
    CHECK(!pit_write(&p, 5, C2, 1)); // another channel
}

CASE(next_is_the_first_tsc_of_the_edge) {
    static const uint64_t clocks[] = {4000000, 20000000, 100000000, 1000000000, 2596000000, 4999999937};
    uint64_t seed = 3;
    for (unsigned i = 0; i < 6; i++) {
        for (unsigned j = 0; j < 200; j++) {
            uint64_t t = (uint64_t)check_random(&seed, 1u << 30) << check_random(&seed, 20);
            uint16_t count = (uint16_t)(100 + check_random(&seed, 60000));
            pit_init(&p, clocks[i]);
            program(t, 0, check_random(&seed, 2) ? 0 : 2, count);
            uint64_t due = pit_next(&p);
            struct pit before = p;
            EQUAL(pit_update(&before, due - 1), 0);
            EQUAL(pit_update(&p, due), 1);
            // Length: count periods of the crystal, plus loading, up to rounding.
            double expected = (count + 1.0) * (double)clocks[i] / PIT_HZ, one = (double)clocks[i] / PIT_HZ;
            CHECK((double)(due - t) <= expected + 1 && (double)(due - t) >= expected - one - 1);
        }
    }
}

CASE(no_drift_over_a_day) {
    uint64_t hz = 2596000123, edges = 0, day = 86400 * hz, t = 0;
    pit_init(&p, hz);
    program(0, 0, 2, 11932); // Linux' 100 Hz
    while (pit_next(&p) <= day) {
        t = pit_next(&p);
        edges += pit_update(&p, t);
    }
    uint64_t expected = ((uint64_t)86400 * PIT_HZ - 1) / 11932;
    EQUAL(edges, expected);
    EQUAL(t, ratio_up(1 + expected * 11932, hz, PIT_HZ));
}

CASE(late_periods_are_all_reported) {
    start();
    program(0, 0, 2, 1000);
    EQUAL(pit_update(&p, 1 + 10 * 1000 - 1), 9);
    EQUAL(pit_update(&p, 1 + 10 * 1000), 1);
    EQUAL(pit_next(&p), 1 + 11 * 1000);
}

CASE(too_fast_a_rate_does_not_eat_the_cpu) {
    pit_init(&p, 1000000000);
    program(0, 0, 2, 2);
    uint64_t looks = 0, t = 0, edges = 0;
    while (t < 1000000000) {
        t = pit_next(&p);
        edges += pit_update(&p, t);
        looks++;
    }
    CHECK(looks < 40000);
    CHECK(edges > 596000);
}

CASE(reprogramming_forgets_the_backlog) {
    start();
    program(0, 0, 2, 100);
    p.backlog = 5;
    pit_write(&p, 10, CW, 0x34);
    EQUAL(p.backlog, 0);
    EQUAL(pit_next(&p), PIT_NEVER); // stopped until a count comes
}

CASE(latch_holds_until_read) {
    start();
    program(0, 0, 2, 0x8000);
    pit_write(&p, 101, CW, 0x00);
    pit_write(&p, 150, CW, 0x00); // ignored, the first is not read yet
    EQUAL(pit_read(&p, 200, C0), (0x8000 - 100) & 0xFF);
    EQUAL(pit_read(&p, 300, C0), (0x8000 - 100) >> 8);
    EQUAL(read_both(401, C0), 0x8000 - 400); // live again
}

CASE(control_word_starts_afresh) {
    start();
    pit_write(&p, 0, C0, 0x11); // low byte, the high one never comes
    program(0, 0, 2, 0x1234);
    EQUAL(pit_next(&p), 1 + 0x1234);
    pit_read(&p, 1, C0);
    pit_write(&p, 1, CW, 0x00); // half read and latched
    program(1, 0, 2, 0x4321);
    EQUAL(read_both(2, C0), 0x4321);
    pit_write(&p, 3, CW, 0xE2);
    program(3, 0, 2, 0x4321);
    EQUAL(read_both(4, C0), 0x4321); // no status in front
}

CASE(null_count_until_the_next_clock) {
    start();
    program(10, 0, 2, 100);
    EQUAL(status(10, 0), 0xF4);
    EQUAL(status(11, 0), 0xB4);
    pit_write(&p, 20, C0, 50);
    pit_write(&p, 20, C0, 0);
    EQUAL(status(110, 0) & 0x40, 0x40); // until the period ends
    EQUAL(status(111, 0) & 0x40, 0);
}

CASE(power_on) {
    start();
    EQUAL(status(5, 0), 0xF6);
    EQUAL(read_both(5, C0), 0);
    EQUAL(read_both(5, C2), 0);
    EQUAL(pit_next(&p), PIT_NEVER);
    pit_write(&p, 5, P61, 1);
    EQUAL(read_both(6, C2), 0);
}

CASE(access_low_or_high_only) {
    start();
    pit_write(&p, 0, CW, 0x14); // low byte, mode 2
    pit_write(&p, 0, C0, 200);
    EQUAL(pit_next(&p), 201);
    EQUAL(pit_read(&p, 11, C0), 190);
    EQUAL(pit_read(&p, 11, C0), 190);
    pit_write(&p, 20, CW, 0x24); // high byte
    pit_write(&p, 20, C0, 2);
    EQUAL(pit_next(&p), 21 + 512);
    EQUAL(pit_read(&p, 21, C0), 2);
    EQUAL(pit_read(&p, 22, C0), 1);
    pit_write(&p, 22, CW, 0x00);
    EQUAL(pit_read(&p, 400, C0), 1); // latched, one byte
    EQUAL(pit_read(&p, 400, C0), 0);
    EQUAL(status(400, 0) & 0x30, 0x20);
}

CASE(read_back_latches_several_channels_at_once) {
    start();
    program(0, 0, 2, 1000);
    program(0, 1, 2, 500);
    pit_write(&p, 101, CW, 0xC6);       // count and status of 0 and 1
    EQUAL(pit_read(&p, 150, C0), 0xB4); // OUT high, both bytes, mode 2
    EQUAL(read_both(160, C0), 900);
    EQUAL(pit_read(&p, 170, C0 + 1), 0xB4);
    EQUAL(read_both(180, C0 + 1), 400);
    pit_write(&p, 201, CW, 0xD2); // count only, of 0
    EQUAL(read_both(300, C0), 800);
}

CASE(status_latch_is_kept_until_read) {
    start();
    pit_write(&p, 0, CW, 0x30);
    pit_write(&p, 0, CW, 0xE2);
    program(0, 2, 0, 1);
    pit_write(&p, 1, C0, 5);
    pit_write(&p, 1, C0, 0);
    pit_write(&p, 100, CW, 0xE2);
    EQUAL(pit_read(&p, 100, C0), 0x70); // as of the first: OUT low, null count
    EQUAL(status(100, 0), 0xB0);
}

CASE(writing_the_low_byte_stops_mode_0) {
    start();
    program(0, 0, 0, 10);
    CHECK(status(20, 0) & 0x80);
    pit_write(&p, 20, C0, 5);
    CHECK(!(status(20, 0) & 0x80));
    EQUAL(pit_next(&p), PIT_NEVER);
    EQUAL(pit_update(&p, 90000), 0);
}

CASE(port_61) {
    start();
    EQUAL(pit_read(&p, 0, P61) & 0x0F, 0);
    pit_write(&p, 0, P61, 0xFF);
    EQUAL(pit_read(&p, 0, P61) & 0xCF, 0x0F);
    unsigned toggles = 0, last = pit_read(&p, 0, P61) & 0x10;
    for (uint64_t t = 1; t <= 1800; t++) {
        unsigned now = pit_read(&p, t, P61) & 0x10;
        toggles += now != last;
        last = now;
    }
    EQUAL(toggles, 100);
}

// What Linux does in pit_calibrate_tsc: 10 ms on channel 2, watched through OUT2.
CASE(calibration_through_channel_2) {
    uint64_t hz = 20000000, t = 12345;
    pit_init(&p, hz);
    pit_write(&p, t, P61, (uint8_t)((pit_read(&p, t, P61) & ~2) | 1));
    program(t, 2, 0, 11932);
    CHECK(!(pit_read(&p, t, P61) & 0x20));
    uint64_t begin = t;
    while (!(pit_read(&p, t, P61) & 0x20)) {
        t += 10;
    }
    double ms = (double)(t - begin) * 1000 / (double)hz;
    CHECK(ms > 9.999 && ms < 10.003);
}

CASE(control_port_reads_ones) {
    start();
    EQUAL(pit_read(&p, 0, CW), 0xFF);
}

CASE(ratio_is_exact_and_safe) {
    EQUAL(ratio_down(999, 3, 1000), 2);
    EQUAL(ratio_up(999, 3, 1000), 3);
    EQUAL(ratio_up(1000, 3, 1000), 3);
    EQUAL(ratio_down(UINT64_MAX, 7, 7), UINT64_MAX);
    EQUAL(ratio_down(UINT64_MAX, 3579545, 2500000000), UINT64_C(26412380206130662));
    EQUAL(ratio_down(UINT64_MAX, 8, 7), UINT64_MAX); // does not fit
    EQUAL(ratio_up(UINT64_MAX, 1, 2), UINT64_C(1) << 63);
}
