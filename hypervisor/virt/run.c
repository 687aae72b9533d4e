// The run loop, halting, parking, and guests in slices on the control CPU.
//
// Who may touch a vCPU: `parked` is 0 while its CPU has (or may take) it, 1 while
// the control CPU may. The CPU clears it and then looks at REQ_PARK once more; the
// control CPU sets REQ_PARK and then looks at `parked`: with both sequentially
// consistent one of the two sees the other.
#include "virt/run.h"

#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/percpu.h"
#include "cpu/smp.h"
#include "virt/guest.h"
#include "virt/irq.h"
#include "virt/x86.h"

enum {
    PARK_TIMEOUT_MS = 1000,
    NMIS_AT_ONCE = 2,
    SLICE_US = 4000, // on the control CPU, while Python has nothing to do
};

static uint64_t slice_end; // host TSC; control CPU only
static uint32_t slice_next; // round robin over guests that share the control CPU

static void timer_irq(void) {
    struct cpu *cpu = this_cpu();
    cpu->timer_deadline = 0;
    if (cpu->loaded != NULL) {
        __atomic_or_fetch(&cpu->loaded->requests, REQ_TIMER, __ATOMIC_SEQ_CST);
    }
}

static void kick_irq(void) {
    this_cpu()->kicks++;
}

void run_init(void) {
    irq_set_handler(VECTOR_TIMER, timer_irq);
    irq_set_handler(VECTOR_KICK, kick_irq);
}

static void clear(struct vcpu *v, uint32_t bits) {
    __atomic_and_fetch(&v->requests, ~bits, __ATOMIC_SEQ_CST);
}

static bool on_control(const struct vcpu *v) {
    return v->cpu == CPU_CONTROL;
}

// ---- Requests: everything that is not the hot path ----

static void update_timers(struct vcpu *v) {
    struct guest *g = v->guest;
    clear(v, REQ_TIMER);
    v->timer_next = UINT64_MAX;
    if (v->index == 0) {
        guest_lock(g);
        uint64_t next = platform_update(&g->platform, &g->console, guest_tsc(g));
        v->timer_next = next == UINT64_MAX ? UINT64_MAX : next + g->tsc_start;
        irq_flush(g, v);
        guest_unlock(g);
        if (platform_irq_pending(&g->platform)) {
            __atomic_or_fetch(&v->requests, REQ_IRQ, __ATOMIC_SEQ_CST);
        }
    }
    irq_timer_update(v);
    uint64_t deadline = v->timer_next;
    if (on_control(v) && slice_end < deadline) {
        deadline = slice_end;
    }
    timer_arm(deadline == UINT64_MAX ? 0 : deadline);
}

// Gives the guest its interrupt now, or asks for the window.
static void offer_interrupt(struct vcpu *v) {
    clear(v, REQ_IRQ);
    if (v->state == VCPU_WAIT_SIPI || !irq_pending(v)) {
        irq_watch_cr8(v);
        return;
    }
    if (v->state == VCPU_HALTED) {
        if (v->deaf) {
            return; // only an NMI would wake it
        }
        v->state = VCPU_RUNNABLE;
    }
    if ((v->requests & REQ_INJECT) == 0 && virt->can_interrupt(v)) {
        virt->inject(v, irq_take(v) | EVENT_VALID | EVENT_EXTERNAL << EVENT_TYPE_SHIFT, 0);
        if (irq_all_quiet(v)) {
            return;
        }
        if (!irq_pending(v)) {
            irq_watch_cr8(v);
            return;
        }
    }
    if (!v->window_open_wanted) {
        v->window_open_wanted = true;
        virt->window(v, true);
    }
}

static void rouse(struct vcpu *v) {
    if (v->state == VCPU_HALTED) {
        v->deaf = false;
        v->state = VCPU_RUNNABLE;
    }
}

// Whoever sends an NMI counts it and then asks. Until v is seen to be awake either the count
// or the request stands: guest_deaf looks at those, and then at the state.
static void inject_nmi(struct vcpu *v) {
    if (__atomic_load_n(&v->nmis, __ATOMIC_SEQ_CST) != 0) {
        rouse(v);
    }
    clear(v, REQ_NMI);
    if (__atomic_load_n(&v->nmis, __ATOMIC_SEQ_CST) != 0) {
        rouse(v);
    }
    uint32_t count = __atomic_exchange_n(&v->nmis, 0, __ATOMIC_SEQ_CST);
    if (count == 0 || v->state == VCPU_WAIT_SIPI) {
        return; // SDM 3A 10.6.1: ignored until the start-up IPI
    }
    rouse(v);
    // More than the back end has latches for are one.
    for (uint32_t i = 0; i < count && i < NMIS_AT_ONCE; i++) {
        virt->inject(v, EVENT_VALID | EVENT_NMI << EVENT_TYPE_SHIFT | EXC_NMI, 0);
    }
}

static void forget(struct vcpu *v) {
    clear(v, REQ_INIT | REQ_NMI | REQ_INJECT);
    __atomic_store_n(&v->nmis, 0, __ATOMIC_RELEASE);
}

// INIT resets all but the APIC's id and mode; the boot CPU goes on at the firmware,
// which means the guest starts anew. False: it cannot go on.
static bool take_init(struct vcpu *v) {
    if (v->index == 0) {
        guest_end(v, END_RESET, 0);
        forget(v);
        return false;
    }
    forget(v);
    irq_reset(v);
    v->deaf = false;
    if (vcpu_put(v) != 0 || vcpu_reset(v) != 0 || vcpu_load(v) != 0) {
        v->state = VCPU_OFF;
        return false;
    }
    v->state = VCPU_WAIT_SIPI;
    return true;
}

// SDM 3A 8.4.4.1: real mode, at the page that the vector names.
static void take_sipi(struct vcpu *v) {
    enum { PAGE_BITS = 12, PARAGRAPHS_PER_PAGE_BITS = 8 };
    struct segment cs;
    if (v->state != VCPU_WAIT_SIPI) {
        clear(v, REQ_SIPI);
        return;
    }
    uint32_t vector = __atomic_load_n(&v->sipi_vector, __ATOMIC_ACQUIRE);
    virt->seg_get(v, SEG_CS, &cs);
    cs.selector = (uint16_t)(vector << PARAGRAPHS_PER_PAGE_BITS);
    cs.base = (uint64_t)vector << PAGE_BITS;
    (void)virt->seg_set(v, SEG_CS, &cs);
    v->rip = 0;
    v->state = VCPU_RUNNABLE;
    clear(v, REQ_SIPI); // after that, for guest_deaf
}

// The requests that come seldom. False: leave the run loop.
static __attribute__((noinline)) bool serve_rare(struct vcpu *v) {
    if ((v->requests & REQ_INIT) != 0 && !take_init(v)) {
        return false;
    }
    if ((v->requests & REQ_SIPI) != 0) {
        take_sipi(v);
    }
    if ((v->requests & REQ_NMI) != 0) {
        inject_nmi(v);
    }
    if ((v->requests & REQ_INJECT) != 0) {
        clear(v, REQ_INJECT);
        virt->inject(v, v->event, v->event_error);
        v->event = 0;
    }
    return true;
}

// False: leave the run loop.
static bool serve_requests(struct vcpu *v) {
    uint32_t requests = v->requests;
    if ((requests & (REQ_PARK | REQ_STOP)) != 0) {
        return false;
    }
    if ((requests & REQ_TIMER) != 0) {
        if (on_control(v) && rdtsc() >= slice_end) {
            return false;
        }
        update_timers(v);
    }
    if ((requests & (REQ_INIT | REQ_SIPI | REQ_NMI | REQ_INJECT)) != 0 && !serve_rare(v)) {
        return false;
    }
    if ((v->requests & REQ_IRQ) != 0) {
        offer_interrupt(v);
    }
    return true;
}

static bool is_asleep(const struct vcpu *v) {
    return v->state == VCPU_HALTED || v->state == VCPU_WAIT_SIPI;
}

// On a CPU of its own: sleep until a request; then see whether it woke.
static bool wait_halted(struct vcpu *v) {
    while (is_asleep(v)) {
        irq_disable();
        if (v->requests == 0) {
            if (on_control(v)) {
                irq_enable();
                return false; // the control CPU has other things to do
            }
            cpu_sleep();
        }
        irq_enable();
        if (v->requests != 0 && !serve_requests(v)) {
            return false;
        }
    }
    return true;
}

// The hot loop, in the back end where it has one.
static void run_exits(struct vcpu *v, struct exit_record *e) {
    if (virt->run != NULL) {
        virt->run(v, e, exit_step);
        return;
    }
    for (;;) {
        virt->enter(v, e);
        if (!exit_step(v, e, FETCH_UNKNOWN)) {
            return;
        }
        if (e->length != 0) {
            vcpu_skip(v, e->length);
        }
        if (v->requests != 0 || v->state != VCPU_RUNNABLE) {
            return;
        }
    }
}

void vcpu_run(struct vcpu *v) {
    struct exit_record e;
    update_timers(v);
    while (v->state == VCPU_RUNNABLE || is_asleep(v)) {
        if (__builtin_expect(is_asleep(v), 0) && !wait_halted(v)) {
            return;
        }
        if (__builtin_expect(v->requests != 0, 0) && !serve_requests(v)) {
            return;
        }
        if (__builtin_expect(v->traced != NULL, 0)) {
            trace_entry(v);
        }
        run_exits(v, &e);
        if (e.kind == EXIT_INTERRUPT && on_control(v) && this_cpu()->timer_deadline != 0) {
            return; // not the timer: a device of the monitor has something for Python
        }
    }
}

// ---- A CPU that belongs to a guest ----

static bool may_run(const struct vcpu *v) {
    return (v->state == VCPU_RUNNABLE || is_asleep(v)) && (v->requests & (REQ_PARK | REQ_STOP)) == 0;
}

static void set_parked(struct vcpu *v, uint32_t value) {
    __atomic_store_n(&v->parked, value, __ATOMIC_SEQ_CST);
}

void cpu_main(void) {
    struct cpu *cpu = this_cpu();
    for (;;) {
        irq_disable();
        // Answers vcpu_detach(): the vCPU that was here before is not touched any more.
        __atomic_store_n(&cpu->looked, __atomic_load_n(&cpu->asked, __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
        struct vcpu *v = __atomic_load_n(&cpu->vcpu, __ATOMIC_SEQ_CST);
        cpu->state = v != NULL ? CPU_GUEST : CPU_IDLE;
        if (v == NULL || !may_run(v)) {
            cpu_sleep();
            irq_enable();
            continue;
        }
        irq_enable();
        set_parked(v, 0);
        if (may_run(v)) {
            if (vcpu_load(v) == 0) {
                vcpu_run(v);
                timer_arm(0);
                vcpu_put(v);
            } else {
                v->state = VCPU_CRASHED;
                v->guest->end_reason = END_CRASH;
                v->guest->state = GUEST_CRASHED;
                guest_notify(v->guest, GUEST_EVENT_STATE);
            }
        }
        set_parked(v, 1);
    }
}

// ---- The control CPU ----

// Kicks a CPU and waits for its answer.
static int await_answer(struct cpu *cpu, const volatile uint32_t *answer, uint32_t expected) {
    cpu_kick(cpu);
    uint64_t limit = rdtsc() + ns_to_tsc(UINT64_C(1000000) * PARK_TIMEOUT_MS);
    while (__atomic_load_n(answer, __ATOMIC_SEQ_CST) != expected) {
        if (rdtsc() > limit) {
            return -ETIMEDOUT;
        }
        cpu_pause();
    }
    return 0;
}

int vcpu_park(struct vcpu *v) {
    __atomic_or_fetch(&v->requests, REQ_PARK, __ATOMIC_SEQ_CST);
    if (on_control(v)) {
        v->parked = 1; // Python runs, so v does not
        return 0;
    }
    return await_answer(&cpus[v->cpu], &v->parked, 1);
}

void vcpu_attach(struct vcpu *v) {
    if (!on_control(v)) {
        __atomic_store_n(&cpus[v->cpu].vcpu, v, __ATOMIC_RELEASE);
    }
}

int vcpu_detach(struct vcpu *v) {
    if (on_control(v)) {
        return 0; // Python runs, so nobody looks
    }
    struct cpu *cpu = &cpus[v->cpu];
    __atomic_store_n(&cpu->vcpu, NULL, __ATOMIC_SEQ_CST);
    return await_answer(cpu, &cpu->looked, __atomic_add_fetch(&cpu->asked, 1, __ATOMIC_SEQ_CST));
}

void vcpu_unpark(struct vcpu *v) {
    clear(v, REQ_PARK);
    if (!on_control(v)) {
        cpu_kick(&cpus[v->cpu]);
    }
}

// The next vCPU that shares the control CPU and has something to do now.
static struct vcpu *next_slice(uint64_t now, uint64_t *wake) {
    const uint32_t first = slice_next / GUEST_VCPUS % GUEST_MAX;
    // The guest whose turn it is comes twice: from its next vCPU on, then all of it.
    for (uint32_t i = 0; i <= GUEST_MAX; i++) {
        uint32_t number = (first + i) % GUEST_MAX;
        struct guest *g = &guests[number];
        if (g->state != GUEST_RUNNING) {
            continue;
        }
        for (uint32_t index = i == 0 ? slice_next % GUEST_VCPUS : 0; index < g->vcpu_count; index++) {
            struct vcpu *v = g->vcpus[index];
            if (!on_control(v) || !may_run(v)) {
                continue;
            }
            if (v->state == VCPU_HALTED && v->requests == 0 && v->timer_next > now) {
                *wake = v->timer_next < *wake ? v->timer_next : *wake;
                continue;
            }
            return v;
        }
    }
    return NULL;
}

static bool something_for_python(void) {
    for (uint32_t i = 0; i < GUEST_MAX; i++) {
        if (guests[i].events != 0) {
            return true;
        }
    }
    return false;
}

bool control_poll(void) {
    uint64_t wake = UINT64_MAX;
    uint64_t now = rdtsc();
    struct vcpu *v = cpus[CPU_CONTROL].virt_on ? next_slice(now, &wake) : NULL;
    if (v != NULL) {
        slice_next = v->guest->id * GUEST_VCPUS + v->index + 1; // also when it cannot be loaded
    }
    if (v != NULL && vcpu_load(v) == 0) {
        v->parked = 0;
        slice_end = now + ns_to_tsc(UINT64_C(1000) * SLICE_US);
        vcpu_run(v);
        timer_arm(0);
        vcpu_put(v);
        v->parked = 1;
    }
    return something_for_python();
}

void control_idle(uint64_t deadline) {
    irq_disable();
    uint64_t wake = deadline == 0 ? UINT64_MAX : deadline;
    bool work = something_for_python() || next_slice(rdtsc(), &wake) != NULL;
    if (!work) {
        timer_arm(wake == UINT64_MAX ? 0 : wake);
        cpu_sleep();
        irq_enable();
        timer_arm(0);
        return;
    }
    irq_enable();
}
