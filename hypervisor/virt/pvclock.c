// Time since the guest's start is a line through 0, so one page serves until the guest
// sets its TSC, all vCPUs agree, and a pause (which moves the TSC) needs nothing.
#include "virt/pvclock.h"

#include <stddef.h>

#include "cpu/smp.h"
#include "dev/ratio.h"
#include "virt/guest.h"

enum {
    NS_PER_SECOND = 1000000000,
    ENABLE = 1 << 0,
    FLAG_TSC_STABLE = 1 << 0, // the same time on all vCPUs
    MUL_BITS = 32,
};

struct vcpu_time_info {
    uint32_t version; // odd: being written
    uint32_t pad0;
    uint64_t tsc_timestamp, system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags, pad[2];
};
_Static_assert(sizeof(struct vcpu_time_info) == 32, "pvclock_vcpu_time_info");
_Static_assert(offsetof(struct vcpu_time_info, tsc_shift) == 28, "pvclock_vcpu_time_info");

struct wall_clock {
    uint32_t version, sec, nsec;
};

void pvclock_scale(uint64_t hz, uint32_t *mul, int8_t *shift) {
    uint64_t scaled = NS_PER_SECOND, base = hz;
    int8_t s = 0;
    for (; scaled >= base; s++) {
        base <<= 1;
    }
    for (; scaled <= (base - 1) / 2; s--) {
        scaled <<= 1;
    }
    *mul = (uint32_t)ratio_divide((ratio_product)scaled << MUL_BITS, base);
    *shift = s;
}

// The structure at gpa in the guest's memory; NULL: it is not there as a whole.
static void *place(struct guest *g, uint64_t gpa, size_t size) {
    size_t available;
    void *at = gpa % sizeof(uint32_t) == 0 ? guest_write_ptr(g, gpa, &available) : NULL;
    return at != NULL && available >= size ? at : NULL;
}

// The version is odd while the rest changes (x86 keeps stores in order).
static void begin(volatile uint32_t *version) {
    *version |= 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void end(volatile uint32_t *version) {
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    *version += 1;
}

void pvclock_update(struct vcpu *v) {
    struct vcpu_time_info *t = NULL;
    if ((v->clock_msr & ENABLE) != 0) {
        t = place(v->guest, v->clock_msr & ~(uint64_t)ENABLE, sizeof(*t));
    }
    if (t == NULL) {
        return;
    }
    begin(&t->version);
    // What the TSC shows when the guest's time is 0.
    t->tsc_timestamp = v->tsc_offset + v->guest->tsc_start;
    t->system_time = 0;
    pvclock_scale(tsc_hz, &t->tsc_to_system_mul, &t->tsc_shift);
    t->flags = FLAG_TSC_STABLE;
    end(&t->version);
}

static bool write_wall(struct guest *g, uint64_t gpa) {
    struct wall_clock *w = place(g, gpa, sizeof(*w));
    if (w == NULL) {
        return false;
    }
    begin(&w->version);
    w->sec = (uint32_t)g->unix_seconds; // at the guest's time 0
    w->nsec = 0;
    end(&w->version);
    g->wall_clock_msr = gpa;
    return true;
}

uint64_t pvclock_read(const struct vcpu *v, uint32_t msr) {
    return msr == MSR_KVM_WALL_CLOCK_NEW ? v->guest->wall_clock_msr : v->clock_msr;
}

bool pvclock_write(struct vcpu *v, uint32_t msr, uint64_t value) {
    if (msr == MSR_KVM_WALL_CLOCK_NEW) {
        return write_wall(v->guest, value);
    }
    uint64_t gpa = value & ~(uint64_t)ENABLE;
    if ((value & ENABLE) != 0 && place(v->guest, gpa, sizeof(struct vcpu_time_info)) == NULL) {
        return false;
    }
    v->clock_msr = value;
    pvclock_update(v);
    return true;
}
