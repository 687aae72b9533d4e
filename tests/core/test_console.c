// The console rings: order, overflow, the held reader, wrap-around, two threads.
// sources: hypervisor/dev/console.c
#include <pthread.h>

#include "check.h"
#include "dev/console.h"

static uint8_t out_bytes[CONSOLE_OUT_SIZE], in_bytes[CONSOLE_IN_SIZE];

static struct console fresh(void) {
    return (struct console){.out = out_bytes, .in = in_bytes};
}

static uint8_t pattern(uint64_t position) {
    return (uint8_t)(position * 167 + (position >> 8) * 13);
}

CASE(bytes_come_out_in_order) {
    struct console c = fresh();
    char got[8] = {0};
    uint64_t at = 0;
    for (const char *s = "hello"; *s; s++) {
        CHECK(console_put(&c, (uint8_t)*s));
    }
    EQUAL(console_read(&c, &at, got, 3), 3);
    EQUAL(at, 3);
    EQUAL(memcmp(got, "hel", 3), 0);
    EQUAL(console_read(&c, &at, got, sizeof got), 2);
    EQUAL(memcmp(got, "lo", 2), 0);
    EQUAL(console_read(&c, &at, got, sizeof got), 0);
    EQUAL(at, 5);
}

CASE(two_readers_do_not_disturb_each_other) {
    struct console c = fresh();
    uint8_t got[4];
    uint64_t first = 0, second = 1;
    console_put(&c, 10);
    console_put(&c, 20);
    EQUAL(console_read(&c, &first, got, 4), 2);
    EQUAL(got[0], 10);
    EQUAL(console_read(&c, &second, got, 4), 1);
    EQUAL(got[0], 20);
}

CASE(unheld_ring_keeps_the_newest) {
    struct console c = fresh();
    static uint8_t got[CONSOLE_OUT_SIZE];
    uint64_t total = 3 * CONSOLE_OUT_SIZE + 777, at = 5;
    for (uint64_t i = 0; i < total; i++) {
        CHECK(console_put(&c, pattern(i)));
    }
    CHECK(!console_full(&c));
    size_t n = console_read(&c, &at, got, sizeof got);
    EQUAL(n, CONSOLE_OUT_SIZE - 1);
    EQUAL(at, total);
    for (size_t i = 0; i < n; i++) {
        EQUAL(got[i], pattern(total - n + i));
    }
}

CASE(position_ahead_of_the_ring_comes_back) {
    struct console c = fresh();
    uint8_t got[4];
    uint64_t at = 1000;
    console_put(&c, 1);
    EQUAL(console_read(&c, &at, got, 4), 0);
    EQUAL(at, 1);
}

CASE(held_ring_refuses_and_loses_nothing) {
    struct console c = fresh();
    static uint8_t got[CONSOLE_OUT_SIZE];
    uint64_t put = 0, at = 0;
    c.held = true;
    while (console_put(&c, pattern(put))) {
        put++;
        CHECK(put <= CONSOLE_OUT_SIZE);
    }
    EQUAL(put, CONSOLE_OUT_SIZE - 1);
    CHECK(console_full(&c));
    EQUAL(console_read(&c, &at, got, 100), 100);
    CHECK(!console_put(&c, 0)); // reading alone makes no room, letting go does
    c.out_tail = at;
    for (int i = 0; i < 100; i++) {
        CHECK(console_put(&c, pattern(put++)));
    }
    CHECK(!console_put(&c, 0));
    EQUAL(console_read(&c, &at, got, sizeof got), CONSOLE_OUT_SIZE - 1);
    for (unsigned i = 0; i < CONSOLE_OUT_SIZE - 1; i++) {
        EQUAL(got[i], pattern(100 + i));
    }
}

CASE(full_warns_before_the_end) {
    struct console c = fresh();
    c.held = true;
    uint64_t put = 0;
    while (!console_full(&c)) {
        CHECK(console_put(&c, 0));
        put++;
    }
    CHECK(put < CONSOLE_OUT_SIZE - 1000);
    CHECK(put > CONSOLE_OUT_SIZE / 2);
    CHECK(console_put(&c, 0)); // a driver that does not wait still gets through
    c.held = false;
    CHECK(!console_full(&c));
}

CASE(typed_bytes_arrive_once) {
    struct console c = fresh();
    CHECK(!console_has_input(&c));
    EQUAL((uint64_t)console_getc(&c), (uint64_t)-1);
    EQUAL(console_type(&c, "\xFFok", 3), 3);
    CHECK(console_has_input(&c));
    EQUAL(console_getc(&c), 0xFF);
    EQUAL(console_getc(&c), 'o');
    EQUAL(console_getc(&c), 'k');
    CHECK(!console_has_input(&c));
}

CASE(typing_accepts_what_fits) {
    struct console c = fresh();
    static uint8_t typed[CONSOLE_IN_SIZE + 10];
    for (unsigned i = 0; i < sizeof typed; i++) {
        typed[i] = pattern(i);
    }
    c.in_head = c.in_tail = CONSOLE_IN_SIZE - 3; // wraps
    EQUAL(console_type(&c, typed, sizeof typed), CONSOLE_IN_SIZE);
    EQUAL(console_type(&c, typed, 1), 0);
    for (unsigned i = 0; i < CONSOLE_IN_SIZE; i++) {
        EQUAL(console_getc(&c), pattern(i));
    }
    EQUAL((uint64_t)console_getc(&c), (uint64_t)-1);
}

enum { STREAM = 1000000 };

static void *produce(void *argument) {
    struct console *c = argument;
    for (uint64_t i = 0; i < STREAM;) {
        if (console_put(c, pattern(i))) {
            i++;
        }
    }
    return NULL;
}

CASE(held_stream_between_threads_is_whole) {
    struct console c = fresh();
    uint8_t got[700];
    uint64_t at = 0;
    pthread_t thread;
    c.held = true;
    CHECK(pthread_create(&thread, NULL, produce, &c) == 0);
    bool same = true;
    while (at < STREAM) {
        uint64_t before = at;
        size_t n = console_read(&c, &at, got, sizeof got);
        same &= at == before + n;
        for (size_t i = 0; i < n; i++) {
            same &= got[i] == pattern(before + i);
        }
        c.out_tail = at;
    }
    pthread_join(thread, NULL);
    CHECK(same);
}

CASE(unheld_stream_between_threads_is_never_torn) {
    struct console c = fresh();
    static uint8_t got[CONSOLE_OUT_SIZE];
    uint64_t at = 0;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, produce, &c) == 0);
    bool same = true;
    while (at < STREAM) {
        size_t n = console_read(&c, &at, got, sizeof got);
        for (size_t i = 0; i < n; i++) {
            same &= got[i] == pattern(at - n + i);
        }
    }
    pthread_join(thread, NULL);
    CHECK(same);
}
