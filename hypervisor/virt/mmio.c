// The table of device ranges and accesses by it.
#include "virt/mmio.h"

#include "cpu/err.h"
#include "virt/claim.h"
#include "virt/guest.h"

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

// Begins or ends in a range and does not lie in it as a whole: a byte at a time.
static void by_bytes(struct vcpu *v, uint64_t gpa, uint8_t size, bool write, uint64_t *value) {
    uint64_t all = 0;
    for (unsigned i = 0; i < size; i++) {
        uint64_t byte = *value >> 8 * i & 0xFF;
        mmio_access(v, gpa + i, 1, write, &byte);
        all |= (byte & 0xFF) << 8 * i;
    }
    *value = write ? *value : all;
}

void mmio_access(struct vcpu *v, uint64_t gpa, uint8_t size, bool write, uint64_t *value) {
    struct guest *g = v->guest;
    const struct mmio_range *r = mmio_find(&g->mmio, gpa);
    if (r != NULL ? !mmio_holds(r, gpa, size) : mmio_find(&g->mmio, gpa + size - 1) != NULL) {
        by_bytes(v, gpa, size, write, value);
        return;
    }
    if (r != NULL && r->handler(v, r->context, gpa - r->gpa, size, write, value)) {
        return;
    }
    const struct mmio_range elsewhere = { .handler = g->mmio.elsewhere, .context = g };
    if (claim_behind(v, elsewhere.handler != NULL ? &elsewhere : NULL, gpa, size, write, value)) {
        return;
    }
    g->unclaimed_memory++;
    if (!write) {
        *value = UINT64_MAX; // nobody drives the bus
    }
}
