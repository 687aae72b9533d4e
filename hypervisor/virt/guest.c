// Making, starting, stopping and freeing guests. Control CPU only, except the last
// section, which the exit path calls on the CPU that runs the vCPU.
#include "virt/guest.h"

#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/log.h"
#include "cpu/memory.h"
#include "cpu/percpu.h"
#include "cpu/smp.h"
#include "cpu/string.h"
#include "virt/decode.h"
#include "virt/irq.h"
#include "virt/nested.h"
#include "virt/run.h"

#define CONSOLE_PAGES ((CONSOLE_OUT_SIZE + CONSOLE_IN_SIZE) / PAGE_SIZE)

struct guest guests[GUEST_MAX];

struct guest *guest_by_id(uint32_t id) {
    return id < GUEST_MAX && guests[id].state != GUEST_FREE ? &guests[id] : NULL;
}

const char *guest_state_name(uint32_t state) {
    static const char *const names[] = { "free", "new", "running", "paused", "off", "crashed" };
    return state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

const char *guest_reason_name(uint32_t reason) {
    static const char *const names[] = { "", "exit", "poweroff", "reset", "stopped", "crash" };
    return reason < sizeof(names) / sizeof(names[0]) ? names[reason] : "?";
}

void guest_lock_slow(struct guest *g) {
    while (__atomic_exchange_n(&g->device_lock, 1, __ATOMIC_ACQUIRE) != 0) {
        while (__atomic_load_n(&g->device_lock, __ATOMIC_RELAXED) != 0) {
            cpu_pause();
        }
    }
}

void guest_notify(struct guest *g, uint32_t events) {
    __atomic_or_fetch(&g->events, events, __ATOMIC_RELEASE);
    if (this_cpu()->index != CPU_CONTROL) {
        cpu_kick(&cpus[CPU_CONTROL]);
    }
}

static void set_state(struct guest *g, uint32_t state) {
    g->state = state;
    guest_notify(g, GUEST_EVENT_STATE);
}

// ---- Making ----

int guest_create(const char *name, struct guest **out) {
    if (virt == NULL) {
        return -ENODEV;
    }
    struct guest *g = NULL;
    for (uint32_t i = 0; i < GUEST_MAX; i++) {
        if (guests[i].state == GUEST_FREE) {
            g = g == NULL ? &guests[i] : g;
        } else if (strcmp(guests[i].name, name) == 0) {
            return -EEXIST;
        }
    }
    if (g == NULL) {
        return -ENOSPC;
    }
    memset(g, 0, sizeof(*g));
    g->id = (uint32_t)(g - guests);
    if (!str_copy(g->name, sizeof(g->name), name)) {
        return -ERANGE;
    }
    uint8_t *ring = page_alloc(CONSOLE_PAGES);
    if (ring == NULL) {
        return -ENOMEM;
    }
    g->nested_root = nested_create(virt->nested);
    if (g->nested_root == 0) {
        page_free(ring, CONSOLE_PAGES);
        return -ENOMEM;
    }
    g->nested_generation = 1;
    g->console.out = ring;
    g->console.in = ring + CONSOLE_OUT_SIZE;
    int error = irq_map(g);
    if (error != 0) {
        nested_destroy(virt->nested, g->nested_root);
        page_free(ring, CONSOLE_PAGES);
        return error;
    }
    g->state = GUEST_NEW;
    *out = g;
    return 0;
}

int guest_add_ram(struct guest *g, uint64_t gpa, uint64_t size) {
    if (g->state != GUEST_NEW) {
        return -EBUSY;
    }
    if (g->region_count == GUEST_REGIONS) {
        return -ENOSPC;
    }
    if (size == 0 || (gpa | size) % PAGE_SIZE != 0 || gpa + size < gpa
        || gpa + size > UINT64_C(1) << virt_caps.phys_bits) {
        return -EINVAL;
    }
    for (uint32_t i = 0; i < g->region_count; i++) {
        const struct guest_region *r = &g->regions[i];
        if (gpa < r->gpa + r->size && r->gpa < gpa + size) {
            return -EEXIST;
        }
    }
    uint64_t extent = (size + LARGE_PAGE_SIZE - 1) & ~(LARGE_PAGE_SIZE - 1);
    uint64_t hpa = extent_alloc(extent);
    if (hpa == 0) {
        return -ENOMEM;
    }
    int error = nested_map(virt->nested, g->nested_root, gpa, hpa, size, NESTED_R | NESTED_W | NESTED_X,
        virt_caps.large_1g);
    if (error != 0) {
        extent_free(hpa, extent);
        return error;
    }
    g->nested_generation++;
    g->regions[g->region_count++] = (struct guest_region) { gpa, hpa, size, 0 };
    return 0;
}

int guest_add_vcpu(struct guest *g, uint32_t cpu) {
    if (g->state != GUEST_NEW) {
        return -EBUSY;
    }
    if (cpu >= cpu_count || cpus[cpu].state == CPU_FAILED || !cpus[cpu].virt_on) {
        return -ENODEV;
    }
    if (g->vcpu_count == GUEST_VCPUS) {
        return -ENOSPC;
    }
    if (cpu != CPU_CONTROL && cpus[cpu].vcpu != NULL) {
        return -EBUSY;
    }
    struct vcpu *v = vcpu_create(g, g->vcpu_count, cpu);
    if (v == NULL) {
        return -ENOMEM;
    }
    v->requests = REQ_PARK;
    v->parked = 1;
    v->state = VCPU_OFF;
    v->timer_next = UINT64_MAX;
    g->vcpus[g->vcpu_count++] = v;
    vcpu_attach(v);
    return 0;
}

int guest_power_devices(struct guest *g, uint64_t unix_seconds) {
    if (g->state != GUEST_NEW) {
        return -EBUSY;
    }
    uint64_t memory = 0;
    for (uint32_t i = 0; i < g->region_count; i++) {
        memory += g->regions[i].size;
    }
    g->unix_seconds = unix_seconds;
    platform_init(&g->platform, tsc_hz, unix_seconds, memory);
    g->platform.ioapic.id = g->vcpu_count; // as the MADT says
    g->platform.fwcfg.cpus = (uint16_t)g->vcpu_count;
    guest_devices_reset(g);
    return 0;
}

// ---- Life ----

static void for_each_unpark(struct guest *g) {
    for (uint32_t i = 0; i < g->vcpu_count; i++) {
        vcpu_unpark(g->vcpus[i]);
    }
}

static int park_all(struct guest *g) {
    int result = 0;
    for (uint32_t i = 0; i < g->vcpu_count; i++) {
        int error = vcpu_park(g->vcpus[i]);
        result = error != 0 ? error : result;
    }
    return result;
}

// Parked, and out of their CPUs' hands; after an error all are still in them.
static int detach_all(struct guest *g) {
    int error = park_all(g);
    for (uint32_t i = 0; error == 0 && i < g->vcpu_count; i++) {
        error = vcpu_detach(g->vcpus[i]);
    }
    for (uint32_t i = 0; error != 0 && i < g->vcpu_count; i++) {
        vcpu_attach(g->vcpus[i]);
    }
    return error;
}

int guest_start(struct guest *g) {
    if (g->state != GUEST_NEW || g->vcpu_count == 0) {
        return g->state != GUEST_NEW ? -EBUSY : -EINVAL;
    }
    g->tsc_start = rdtsc();
    for (uint32_t i = 0; i < g->vcpu_count; i++) {
        struct vcpu *v = g->vcpus[i];
        v->tsc_offset = 0 - g->tsc_start;
        v->state = i == 0 ? VCPU_RUNNABLE : VCPU_WAIT_SIPI; // SDM 3A 8.4.3
        v->requests |= REQ_TIMER;
    }
    g->starts++;
    g->ending = 0;
    g->end_reason = END_NONE;
    g->note[0] = 0;
    set_state(g, GUEST_RUNNING);
    for_each_unpark(g);
    return 0;
}

int guest_pause(struct guest *g) {
    if (g->state != GUEST_RUNNING) {
        return g->state == GUEST_PAUSED ? 0 : -EBUSY;
    }
    int error = park_all(g);
    if (error != 0) {
        return error;
    }
    if (g->state != GUEST_RUNNING) { // it ended while it was being parked
        return -EBUSY;
    }
    g->paused_at = rdtsc();
    set_state(g, GUEST_PAUSED);
    return 0;
}

int guest_resume(struct guest *g) {
    if (g->state != GUEST_PAUSED) {
        return -EBUSY;
    }
    // The guest's clock stands still while it is paused.
    uint64_t gap = rdtsc() - g->paused_at;
    g->tsc_start += gap;
    for (uint32_t i = 0; i < g->vcpu_count; i++) {
        g->vcpus[i]->tsc_offset -= gap;
        g->vcpus[i]->requests |= REQ_TIMER;
    }
    g->note[0] = 0;
    set_state(g, GUEST_RUNNING);
    for_each_unpark(g);
    return 0;
}

int guest_stop(struct guest *g) {
    if (g->state != GUEST_RUNNING && g->state != GUEST_PAUSED) {
        return g->state == GUEST_NEW ? -EINVAL : 0;
    }
    int error = park_all(g);
    if (error != 0) {
        return error;
    }
    if (g->state == GUEST_RUNNING || g->state == GUEST_PAUSED) {
        for (uint32_t i = 0; i < g->vcpu_count; i++) {
            g->vcpus[i]->state = VCPU_OFF;
        }
        g->end_reason = END_STOPPED;
        set_state(g, GUEST_OFF);
    }
    return 0;
}

int guest_reset(struct guest *g) {
    if (g->state == GUEST_RUNNING || g->state == GUEST_PAUSED) {
        return -EBUSY;
    }
    int error = detach_all(g);
    for (uint32_t i = 0; error == 0 && i < g->vcpu_count; i++) {
        struct vcpu *v = g->vcpus[i];
        uint32_t cpu = v->cpu;
        vcpu_destroy(v);
        g->vcpus[i] = v = vcpu_create(g, i, cpu);
        if (v == NULL) {
            for (uint32_t rest = i + 1; rest < g->vcpu_count; rest++) {
                vcpu_destroy(g->vcpus[rest]);
            }
            g->vcpu_count = i;
            return -ENOMEM;
        }
        v->requests = REQ_PARK;
        v->parked = 1;
        v->timer_next = UINT64_MAX;
        vcpu_attach(v);
    }
    if (error == 0) {
        memset(&g->crash, 0, sizeof(g->crash));
        g->end_reason = END_NONE;
        g->end_status = 0;
        g->wall_clock_msr = 0;
        g->nested_generation++;
        set_state(g, GUEST_NEW);
    }
    return error;
}

int guest_destroy(struct guest *g) {
    if (g->state == GUEST_RUNNING || g->state == GUEST_PAUSED) {
        int error = guest_stop(g);
        if (error != 0) {
            return error;
        }
    }
    int error = park_all(g);
    if (error == 0) {
        error = guest_unshare(g);
    }
    if (error == 0) {
        error = detach_all(g);
    }
    if (error != 0) {
        return error;
    }
    for (uint32_t i = 0; i < g->vcpu_count; i++) {
        vcpu_destroy(g->vcpus[i]);
    }
    nested_destroy(virt->nested, g->nested_root);
    for (uint32_t i = 0; i < g->region_count; i++) {
        if (g->regions[i].owner != 0) {
            continue;
        }
        extent_free(g->regions[i].hpa, (g->regions[i].size + LARGE_PAGE_SIZE - 1) & ~(LARGE_PAGE_SIZE - 1));
    }
    guest_devices_free(g);
    claims_free(g);
    trace_free(g);
    page_free(g->console.out, CONSOLE_PAGES);
    memset(g, 0, sizeof(*g));
    return 0;
}

// ---- Guest-physical memory ----

static uint64_t to_hpa(const struct guest *g, uint64_t gpa, size_t *available) {
    for (uint32_t i = 0; i < g->region_count; i++) {
        const struct guest_region *r = &g->regions[i];
        if (gpa - r->gpa < r->size) {
            *available = r->size - (gpa - r->gpa);
            return r->hpa + (gpa - r->gpa);
        }
    }
    return 0;
}

const void *guest_read_ptr(struct guest *g, uint64_t gpa, size_t *available) {
    uint64_t hpa = to_hpa(g, gpa, available);
    return hpa != 0 ? direct_view(hpa) : NULL;
}

void *guest_write_ptr(struct guest *g, uint64_t gpa, size_t *available) {
    uint64_t hpa = to_hpa(g, gpa, available);
    return hpa != 0 ? guest_alias(hpa) : NULL;
}

int guest_read(struct guest *g, uint64_t gpa, void *to, size_t size) {
    char *out = to;
    while (size > 0) {
        size_t available;
        const void *from = guest_read_ptr(g, gpa, &available);
        if (from == NULL) {
            return -EFAULT;
        }
        available = available < size ? available : size;
        memcpy(out, from, available);
        out += available;
        gpa += available;
        size -= available;
    }
    return 0;
}

int guest_write(struct guest *g, uint64_t gpa, const void *from, size_t size) {
    const char *in = from;
    while (size > 0) {
        size_t available;
        void *to = guest_write_ptr(g, gpa, &available);
        if (to == NULL) {
            return -EFAULT;
        }
        available = available < size ? available : size;
        memcpy(to, in, available);
        in += available;
        gpa += available;
        size -= available;
    }
    return 0;
}

// ---- The end, on the CPU that ran it ----

static void end(struct vcpu *v, uint32_t state, uint32_t reason, uint32_t status) {
    struct guest *g = v->guest;
    v->state = state == GUEST_CRASHED ? VCPU_CRASHED : VCPU_OFF;
    g->end_reason = reason;
    g->end_status = status;
    for (uint32_t i = 0; i < g->vcpu_count; i++) {
        if (g->vcpus[i] != v) {
            vcpu_request(g->vcpus[i], REQ_STOP);
        }
    }
    set_state(g, state);
}

// Two vCPUs may come to an end at once: the first decides what it was.
static bool first_to_end(struct vcpu *v) {
    if (__atomic_exchange_n(&v->guest->ending, 1, __ATOMIC_ACQ_REL) != 0) {
        v->state = VCPU_OFF;
        return false;
    }
    return true;
}

void guest_end(struct vcpu *v, uint32_t reason, uint32_t status) {
    if (first_to_end(v)) {
        end(v, GUEST_OFF, reason, status);
    }
}

void guest_deaf(struct vcpu *v) {
    struct guest *g = v->guest;
    v->state = VCPU_HALTED;
    v->deaf = true;
    // A vCPU that is woken shows it before it takes the request back, so its requests are read
    // first; and one that sent something to a vCPU looked at already has counted it.
    uint32_t wakes = __atomic_load_n(&g->wakes, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < g->vcpu_count; i++) {
        const struct vcpu *other = g->vcpus[i];
        if ((other->requests & (REQ_NMI | REQ_INIT | REQ_SIPI)) != 0
            || __atomic_load_n(&other->nmis, __ATOMIC_SEQ_CST) != 0) {
            return;
        }
        barrier();
        if (other->state != VCPU_WAIT_SIPI && (other->state != VCPU_HALTED || !other->deaf)) {
            return;
        }
    }
    if (__atomic_load_n(&g->wakes, __ATOMIC_SEQ_CST) != wakes) {
        return; // who was sent it, or the last to sleep after it, sees to this
    }
    guest_end(v, END_POWEROFF, 0);
}

void guest_crash(struct vcpu *v, const struct exit_record *e, const char *format, ...) {
    struct crash *c = &v->guest->crash;
    va_list args;
    if (!first_to_end(v)) {
        return;
    }
    va_start(args, format);
    fmt_vsnprintf(c->why, sizeof(c->why), format, args);
    va_end(args);
    c->vcpu = v->index;
    c->exit = *e;
    memcpy(c->gpr, v->gpr, sizeof(c->gpr));
    c->rip = v->rip;
    c->rflags = virt->reg_get(v, REG_RFLAGS);
    c->cr0 = virt->reg_get(v, REG_CR0);
    c->cr2 = virt->reg_get(v, REG_CR2);
    c->cr3 = virt->reg_get(v, REG_CR3);
    c->cr4 = virt->reg_get(v, REG_CR4);
    c->efer = virt->reg_get(v, REG_EFER);
    struct segment cs;
    virt->seg_get(v, SEG_CS, &cs);
    c->cs = cs.selector;
    c->cs_base = cs.base;
    c->byte_count = (uint8_t)vcpu_insn_bytes(v, c->bytes);
    end(v, GUEST_CRASHED, END_CRASH, 0);
}
