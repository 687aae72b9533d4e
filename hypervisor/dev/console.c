// The console rings. Every byte is stored before the position that publishes it
// (release), and positions are read before the bytes (acquire).
#include "dev/console.h"

#include "cpu/string.h"

// One slot stays empty: the producer may already be writing it, so a reader that
// is not waited for must not take the byte that lay there.
#define OUT_KEPT (CONSOLE_OUT_SIZE - 1)

bool console_put(struct console *c, uint8_t byte) {
    uint64_t head = c->out_head;
    if (c->held && head - __atomic_load_n(&c->out_tail, __ATOMIC_ACQUIRE) >= OUT_KEPT) {
        return false;
    }
    c->out[head % CONSOLE_OUT_SIZE] = byte;
    __atomic_store_n(&c->out_head, head + 1, __ATOMIC_RELEASE);
    return true;
}

int console_getc(struct console *c) {
    uint64_t tail = c->in_tail;
    if (tail == __atomic_load_n(&c->in_head, __ATOMIC_ACQUIRE)) {
        return -1;
    }
    uint8_t byte = c->in[tail % CONSOLE_IN_SIZE];
    __atomic_store_n(&c->in_tail, tail + 1, __ATOMIC_RELEASE);
    return byte;
}

bool console_has_input(const struct console *c) {
    return c->in_tail != __atomic_load_n(&c->in_head, __ATOMIC_ACQUIRE);
}

static uint64_t oldest(uint64_t head) {
    return head > OUT_KEPT ? head - OUT_KEPT : 0;
}

size_t console_read(const struct console *c, uint64_t *position, void *to, size_t size) {
    for (;;) {
        uint64_t head = __atomic_load_n(&c->out_head, __ATOMIC_ACQUIRE);
        uint64_t at = *position;
        if (at < oldest(head)) {
            at = oldest(head);
        } else if (at > head) {
            at = head;
        }
        uint64_t left = head - at;
        size_t count = left < size ? (size_t)left : size;
        size_t index = (size_t)(at % CONSOLE_OUT_SIZE), first = CONSOLE_OUT_SIZE - index;
        if (first > count) {
            first = count;
        }
        memcpy(to, c->out + index, first);
        memcpy((uint8_t *)to + first, c->out, count - first);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        *position = at + count;
        if (count == 0 || at >= oldest(__atomic_load_n(&c->out_head, __ATOMIC_RELAXED))) {
            return count;
        }
        *position = at; // the producer passed us while we copied: from its oldest byte on
    }
}

size_t console_type(struct console *c, const void *from, size_t size) {
    uint64_t head = c->in_head;
    uint64_t room = CONSOLE_IN_SIZE - (head - __atomic_load_n(&c->in_tail, __ATOMIC_ACQUIRE));
    size_t count = room < size ? (size_t)room : size;
    for (size_t i = 0; i < count; i++) {
        c->in[(head + i) % CONSOLE_IN_SIZE] = ((const uint8_t *)from)[i];
    }
    __atomic_store_n(&c->in_head, head + count, __ATOMIC_RELEASE);
    return count;
}
