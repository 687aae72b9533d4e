// The table of device ranges and accesses by it.
#include "virt/mmio.h"

#include "cpu/err.h"
#include "virt/guest.h"

enum { ACCESS_MAX = 8 };

static bool holds(const struct mmio_range *r, uint64_t gpa, uint64_t size) {
    return gpa - r->gpa < r->size && r->size - (gpa - r->gpa) >= size;
}

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size) {
    return a < b + b_size && b < a + a_size;
}

int mmio_register(struct guest *g, uint64_t gpa, uint64_t size, mmio_handler *handler, void *context) {
    struct mmio *m = &g->mmio;
    if (size == 0 || gpa + size < gpa) {
        return -EINVAL;
    }
    for (uint32_t i = 0; i < g->region_count; i++) {
        if (overlap(gpa, size, g->regions[i].gpa, g->regions[i].size)) {
            return -EEXIST;
        }
    }
    uint32_t slot = MMIO_RANGES;
    for (uint32_t i = 0; i < MMIO_RANGES; i++) {
        if (m->ranges[i].size != 0 && overlap(gpa, size, m->ranges[i].gpa, m->ranges[i].size)) {
            return -EEXIST;
        }
        if (m->ranges[i].size == 0 && i != 0 && slot == MMIO_RANGES) {
            slot = i;
        }
    }
    if (m->ranges[0].size == 0 && MMIO_FIRST - gpa < size) {
        slot = 0;
    }
    if (slot == MMIO_RANGES) {
        return -ENOSPC;
    }
    m->ranges[slot] = (struct mmio_range) { gpa, size, handler, context };
    m->count = slot >= m->count ? slot + 1 : m->count;
    return 0;
}

int mmio_unregister(struct guest *g, uint64_t gpa) {
    for (uint32_t i = 0; i < g->mmio.count; i++) {
        struct mmio_range *r = &g->mmio.ranges[i];
        if (r->size != 0 && r->gpa == gpa) {
            *r = (struct mmio_range) { 0 };
            return 0;
        }
    }
    return -ENOENT;
}

const struct mmio_range *mmio_find(const struct guest *g, uint64_t gpa, uint64_t size) {
    const struct mmio *m = &g->mmio;
    if (__builtin_expect(holds(&m->ranges[0], gpa, size), 1)) {
        return &m->ranges[0];
    }
    for (uint32_t i = 1; i < m->count; i++) {
        if (holds(&m->ranges[i], gpa, size)) {
            return &m->ranges[i];
        }
    }
    return NULL;
}

// Begins or ends in one range and does not lie in it as a whole: a byte at a time.
static bool split(const struct guest *g, uint64_t gpa, uint8_t size) {
    return mmio_find(g, gpa, 1) != NULL || mmio_find(g, gpa + size - 1, 1) != NULL;
}

void mmio_access(struct vcpu *v, uint64_t gpa, uint8_t size, bool write, uint64_t *value) {
    const struct mmio_range *r = mmio_find(v->guest, gpa, size);
    if (__builtin_expect(r != NULL, 1)) {
        if (r->handler(v, r->context, gpa - r->gpa, size, write, value)) {
            return;
        }
    } else if (size > 1 && size <= ACCESS_MAX && split(v->guest, gpa, size)) {
        uint64_t all = 0;
        for (unsigned i = 0; i < size; i++) {
            uint64_t byte = *value >> 8 * i & 0xFF;
            mmio_access(v, gpa + i, 1, write, &byte);
            all |= (byte & 0xFF) << 8 * i;
        }
        *value = write ? *value : all;
        return;
    }
    v->guest->unclaimed_memory++;
    if (!write) {
        *value = UINT64_MAX; // nobody drives the bus
    }
}
