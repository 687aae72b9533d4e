// Device memory of a guest: ranges of guest-physical addresses and who answers there.
#ifndef VIPERVISOR_VIRT_MMIO_H
#define VIPERVISOR_VIRT_MMIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guest;
struct vcpu;

// One access of 1, 2, 4 or 8 bytes at `offset` of the range, by any vCPU of the guest,
// on the CPU that runs it. Reads fill *value, writes take it masked to the size. A
// handler that moves an interrupt line sets REQ_IRQ itself. False: not answered; the
// access counts as unclaimed and reads ones.
typedef bool mmio_handler(struct vcpu *v, void *context, uint64_t offset, uint8_t size, bool write,
    uint64_t *value);

struct mmio_range {
    uint64_t gpa, size; // size 0: free
    mmio_handler *handler;
    void *context;
};

// Slot 0 is looked at first and kept for the range that holds the local APIC, which
// is accessed more often than all others together.
#define MMIO_RANGES 16
#define MMIO_FIRST UINT64_C(0xFEE00000) // local APIC after reset (SDM 3A 10.4.1)
struct mmio {
    uint32_t count; // slots in use, the first included
    struct mmio_range ranges[MMIO_RANGES];
    mmio_handler *elsewhere; // asked last, with the address itself; NULL: nobody
};

// While no vCPU of the guest runs. -EINVAL (empty or wraps), -EEXIST (overlaps another
// range or RAM), -ENOSPC.
int mmio_register(struct guest *g, uint64_t gpa, uint64_t size, mmio_handler *handler, void *context);
int mmio_unregister(struct guest *g, uint64_t gpa); // -ENOENT
// One access of any size up to 8; never fails (unclaimed memory reads ones).
void mmio_access(struct vcpu *v, uint64_t gpa, uint8_t size, bool write, uint64_t *value);

// The range that holds `gpa`, NULL: none.
static inline const struct mmio_range *mmio_find(const struct mmio *m, uint64_t gpa) {
    const struct mmio_range *r = m->ranges, *end = r + m->count;
    do {
        if (gpa - r->gpa < r->size) {
            return r;
        }
    } while (++r < end);
    return NULL;
}

// Whether an access that begins in the range ends there too.
static inline bool mmio_holds(const struct mmio_range *r, uint64_t gpa, uint64_t size) {
    return r->size - (gpa - r->gpa) >= size;
}

#endif
