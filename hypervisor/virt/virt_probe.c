// Emulators and hypervisors below do not all do what the manuals say and their
// CPUID claims. Each probe runs a few bytes in real mode in one page of its own.
#include "virt/virt_probe.h"

#include "cpu/insn.h"
#include "cpu/log.h"
#include "cpu/memory.h"
#include "cpu/percpu.h"
#include "cpu/smp.h"
#include "cpu/string.h"
#include "virt/guest.h"
#include "virt/nested.h"
#include "virt/vcpu.h"
#include "virt/vcpu_state.h"
#include "virt/x86.h"

#define HLT 0xF4
#define NOP 0x90
#define INTERRUPT_AFTER_NS UINT64_C(50000)
#define INTERRUPT_LATE_NS UINT64_C(500000) // half of what the back end's own limit is

struct probe {
    struct vcpu *v;
    uint8_t *page; // the guest's only page, at guest-physical 0
    struct exit_record e;
};

static void start(struct probe *p, const uint8_t *code, size_t size) {
    struct segment cs;
    (void)vcpu_reset(p->v);
    memset(p->page, HLT, PAGE_SIZE);
    memcpy(p->page, code, size);
    virt->seg_get(p->v, SEG_CS, &cs);
    cs.selector = 0;
    cs.base = 0;
    (void)virt->seg_set(p->v, SEG_CS, &cs);
    p->v->rip = 0;
    p->v->gpr[GPR_RSP] = PAGE_SIZE;
}

// Until something happens that was not just an interrupt passing by.
static uint32_t run(struct probe *p) {
    for (int i = 0; i < 16; i++) {
        virt->enter(p->v, &p->e);
        if (p->e.kind != EXIT_NONE && p->e.kind != EXIT_INTERRUPT && p->e.kind != EXIT_NMI) {
            break;
        }
    }
    return p->e.kind;
}

// An XSETBV that does not exit changes the CPU's XCR0; the guest's is put back by
// vcpu_put, and vcpu_reset starts the next probe afresh.
static void probe_xsetbv(struct probe *p) {
    static const uint8_t code[] = {0x0F, 0x01, 0xD1, HLT}; // xsetbv
    if (!fpu_xcr0_max()) {
        return;
    }
    start(p, code, sizeof(code));
    (void)virt->reg_set(p->v, REG_CR4, CR4_OSXSAVE);
    p->v->gpr[GPR_RAX] = XCR0_X87;
    p->v->gpr[GPR_RDX] = 0;
    virt_caps.xsetbv_exits = run(p) == EXIT_XSETBV;
}

// The next RIP of a prefixed HLT: right, or not to be used.
static void probe_length(struct probe *p) {
    static const uint8_t code[] = {0x66, HLT};
    if (!virt_caps.nrip) {
        return;
    }
    start(p, code, sizeof(code));
    virt_caps.nrip = run(p) == EXIT_HLT && p->e.length == sizeof(code);
}

// With a shadow the window opens one instruction later.
static void probe_window(struct probe *p) {
    static const uint8_t code[] = {NOP, NOP, HLT};
    start(p, code, sizeof(code));
    (void)virt->reg_set(p->v, REG_RFLAGS, RFLAGS_IF);
    virt->window(p->v, true);
    virt_caps.window_at_once = run(p) == EXIT_WINDOW && p->v->rip == 0;

    start(p, code, sizeof(code));
    (void)virt->reg_set(p->v, REG_RFLAGS, RFLAGS_IF);
    (void)virt->reg_set(p->v, REG_SHADOW, 1);
    virt_caps.shadow_loaded = true; // until shown otherwise
    virt->window(p->v, true);
    virt_caps.shadow_loaded = run(p) == EXIT_WINDOW && p->v->rip == 1;
}

// A guest that spins with IF = 0 while an interrupt comes. Only where the back end ends
// the entry by itself in the end: the guest never would.
static void probe_masked_interrupt(struct probe *p) {
    static const uint8_t code[] = {0xEB, 0xFE}; // jmp .
    virt_caps.masked_interrupts_exit = !virt_caps.entry_limited;
    if (!virt_caps.entry_limited) {
        return;
    }
    start(p, code, sizeof(code));
    struct cpu *cpu = this_cpu();
    timer_arm(rdtsc() + ns_to_tsc(INTERRUPT_AFTER_NS));
    uint64_t begin = rdtsc();
    do {
        virt->enter(p->v, &p->e);
    } while (p->e.kind == EXIT_INTERRUPT && cpu->timer_deadline != 0);
    virt_caps.masked_interrupts_exit = rdtsc() - begin < ns_to_tsc(INTERRUPT_LATE_NS);
    timer_arm(0);
}

static void run_all(struct probe *p) {
    if (vcpu_load(p->v) != 0) {
        return;
    }
    probe_length(p);
    probe_window(p);
    probe_xsetbv(p);
    probe_masked_interrupt(p);
    (void)vcpu_put(p->v);
}

void virt_probe(void) {
    static struct guest guest;
    struct probe p = {0};

    guest.nested_root = nested_create(virt->nested);
    p.page = page_alloc(1);
    if (guest.nested_root && p.page &&
        nested_map(virt->nested, guest.nested_root, 0, (uintptr_t)p.page, PAGE_SIZE,
            NESTED_R | NESTED_W | NESTED_X, false) == 0) {
        p.v = vcpu_create(&guest, 0, 0);
    }
    if (p.v) {
        run_all(&p);
        vcpu_destroy(p.v);
    } else {
        log_printf("vipervisor: no memory to probe the virtualisation hardware\n");
    }
    if (guest.nested_root) {
        nested_destroy(virt->nested, guest.nested_root);
    }
    if (p.page) {
        page_free(p.page, 1);
    }
}
