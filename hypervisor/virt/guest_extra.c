// What Python does to a running guest from outside: interrupt lines, shared memory.
// Control CPU only; the guest's vCPUs stand still meanwhile.
#include "cpu/err.h"
#include "cpu/memory.h"
#include "virt/guest.h"
#include "virt/nested.h"
#include "virt/run.h"

#define PIC_LINES 24 // of the I/O APIC; the first 16 are the 8259s' too

int guest_park(struct guest *g) {
    int result = 0;
    for (uint32_t i = 0; i < g->vcpu_count; i++) {
        int error = vcpu_park(g->vcpus[i]);
        result = error != 0 ? error : result;
    }
    if (result != 0) {
        guest_unpark(g);
    }
    return result;
}

void guest_unpark(struct guest *g) {
    for (uint32_t i = 0; g->state == GUEST_RUNNING && i < g->vcpu_count; i++) {
        vcpu_unpark(g->vcpus[i]);
    }
}

int guest_line(struct guest *g, uint32_t irq, bool level) {
    if (irq >= PIC_LINES || g->vcpu_count == 0) {
        return -EINVAL;
    }
    int error = guest_park(g);
    if (error != 0) {
        return error;
    }
    platform_line(&g->platform, (uint8_t)irq, level);
    // vCPU 0 looks at the 8259 and sends what the I/O APIC has to send.
    __atomic_or_fetch(&g->vcpus[0]->requests, REQ_IRQ | REQ_TIMER, __ATOMIC_SEQ_CST);
    guest_unpark(g);
    return 0;
}

static struct guest_region *region_of(struct guest *g, uint64_t gpa, uint64_t size) {
    for (uint32_t i = 0; i < g->region_count; i++) {
        struct guest_region *r = &g->regions[i];
        if (gpa >= r->gpa && gpa - r->gpa < r->size && r->size - (gpa - r->gpa) >= size) {
            return r;
        }
    }
    return NULL;
}

static bool overlaps(const struct guest *g, uint64_t gpa, uint64_t size) {
    for (uint32_t i = 0; i < g->region_count; i++) {
        if (gpa < g->regions[i].gpa + g->regions[i].size && g->regions[i].gpa < gpa + size) {
            return true;
        }
    }
    for (uint32_t i = 0; i < MMIO_RANGES; i++) {
        const struct mmio_range *r = &g->mmio.ranges[i];
        if (r->size != 0 && gpa < r->gpa + r->size && r->gpa < gpa + size) {
            return true;
        }
    }
    return false;
}

int guest_share(struct guest *from, uint64_t gpa, uint64_t size, struct guest *to, uint64_t to_gpa) {
    if (from == to || size == 0 || ((gpa | size | to_gpa) & (PAGE_SIZE - 1)) != 0 || to_gpa + size < to_gpa
        || (to_gpa + size) >> virt_caps.phys_bits != 0) {
        return -EINVAL;
    }
    const struct guest_region *r = region_of(from, gpa, size);
    if (r == NULL || r->owner != 0) {
        return -EFAULT; // not its own memory as a whole
    }
    if (overlaps(to, to_gpa, size)) {
        return -EEXIST;
    }
    if (to->region_count == GUEST_REGIONS) {
        return -ENOSPC;
    }
    int error = guest_park(to);
    if (error != 0) {
        return error;
    }
    uint64_t hpa = r->hpa + (gpa - r->gpa);
    error = nested_map(virt->nested, to->nested_root, to_gpa, hpa, size, NESTED_R | NESTED_W, virt_caps.large_1g);
    if (error == 0) {
        to->nested_generation++;
        to->regions[to->region_count++] = (struct guest_region) { to_gpa, hpa, size, from->id + 1 };
    }
    guest_unpark(to);
    return error;
}

int guest_unshare(struct guest *from) {
    for (uint32_t n = 0; n < GUEST_MAX; n++) {
        struct guest *g = &guests[n];
        for (uint32_t i = 0; g->state != GUEST_FREE && i < g->region_count;) {
            struct guest_region *r = &g->regions[i];
            if (r->owner != from->id + 1) {
                i++;
                continue;
            }
            int error = guest_park(g);
            if (error != 0) {
                return error;
            }
            (void)nested_unmap(virt->nested, g->nested_root, r->gpa, r->size);
            g->nested_generation++;
            *r = g->regions[--g->region_count];
            guest_unpark(g);
        }
    }
    return 0;
}
