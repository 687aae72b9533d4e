// The closed list of exits that C handles. A handler answers the exit and leaves RIP
// alone: the dispatcher moves it by e->length, which a handler sets to 0 when the
// instruction did not complete (a fault was injected).
#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/percpu.h"
#include "virt/claim.h"
#include "virt/decode.h"
#include "virt/emulate.h"
#include "virt/exit_words.h"
#include "virt/guest.h"
#include "virt/irq.h"
#include "virt/run.h"
#include "virt/vcpu_state.h"
#include "virt/x86.h"

enum {
    HYPERCALL_ABI = 0, HYPERCALL_EXIT = 1, HYPERCALL_CONSOLE = 2, HYPERCALL_NOP = 3,
    HYPERCALL_PYTHON = 0x1000, // from here on they are messages
    HYPERCALL_ABI_VERSION = 1,
    ENOSYS_RESULT = 38,
    PORT_COM1 = 0x3F8,
    XCR0_SSE = 2, XCR0_AVX = 4, XCR0_MPX = 0x18, XCR0_AVX512 = 0xE0,
};

unsigned exit_cpl(struct vcpu *v) {
    return virt->cpl(v);
}

bool exit_inject(struct vcpu *v, struct exit_record *e, uint8_t vector, bool has_error, uint32_t error) {
    vcpu_inject_exception(v, vector, has_error, error);
    e->length = 0;
    return true;
}

bool exit_inject_fault(struct vcpu *v, struct exit_record *e, const struct walk_fault *f) {
    if (f->hole) {
        guest_crash(v, e, "its page tables or code lie at guest-physical %lx, where it has no memory "
            "(linear address %lx)", f->hole_gpa, f->address);
        return true;
    }
    if (f->non_canonical) {
        return exit_inject(v, e, EXC_GP, true, 0);
    }
    virt->reg_set(v, REG_CR2, f->address);
    return exit_inject(v, e, EXC_PF, true, f->error);
}

// The length of the instruction that exited, from the CPU or the decoder. 0: it
// could not be had, and the guest got its fault.
static uint32_t length_of(struct vcpu *v, struct exit_record *e) {
    const struct insn *insn;
    struct walk_fault fault;
    switch (vcpu_insn(v, &insn, &fault)) {
        case 0:
            return insn->length;
        case -EFAULT:
            exit_inject_fault(v, e, &fault);
            return 0;
        case -EAGAIN:
            return 0; // its tables are changing under us: enter again
        default: // LOCK where there is none, which TCG lets pass
            exit_inject(v, e, EXC_UD, false, 0);
            return 0;
    }
}

void exit_post(struct vcpu *v, const struct exit_record *e) {
    v->exit = *e;
    __atomic_store_n(&v->state, VCPU_WAITING, __ATOMIC_RELEASE);
    guest_notify(v->guest, GUEST_EVENT_MESSAGE);
}

// A message to Python: only this vCPU waits.
static bool ask_python(struct vcpu *v, const struct exit_record *e) {
    v->message = (struct exit_message) { .state = VCPU_RUNNABLE, .asked_core = true };
    exit_words(v, e, &v->message.words);
    exit_post(v, e);
    return false;
}

// ---- One handler an exit ----

static bool on_none(struct vcpu *v, struct exit_record *e) {
    (void)v;
    e->length = 0;
    return true;
}

static bool on_window(struct vcpu *v, struct exit_record *e) {
    v->window_open_wanted = false;
    virt->window(v, false);
    __atomic_or_fetch(&v->requests, REQ_IRQ, __ATOMIC_SEQ_CST);
    e->length = 0;
    return true;
}

static __attribute__((noinline)) bool hypercall(struct vcpu *v, struct exit_record *e) {
    if (e->hypercall.cpl != 0) {
        return exit_inject(v, e, EXC_UD, false, 0);
    }
    uint32_t number = (uint32_t)v->gpr[GPR_RAX];
    switch (number) {
        case HYPERCALL_ABI:
            v->gpr[GPR_RAX] = HYPERCALL_ABI_VERSION;
            return true;
        case HYPERCALL_EXIT:
            guest_end(v, END_EXIT, (uint32_t)v->gpr[GPR_RBX]);
            return true;
        case HYPERCALL_CONSOLE:
            guest_lock(v->guest);
            v->gpr[GPR_RAX] = console_put(&v->guest->console, (uint8_t)v->gpr[GPR_RBX]) ? 0 : 0 - (uint64_t)EAGAIN;
            guest_unlock(v->guest);
            return true;
        default:
            if (number >= HYPERCALL_PYTHON) {
                return ask_python(v, e);
            }
            v->gpr[GPR_RAX] = 0 - (uint64_t)ENOSYS_RESULT;
            return true;
    }
}

static bool on_hypercall(struct vcpu *v, struct exit_record *e) {
    // Apart from the others, so that it needs no stack frame.
    if ((uint32_t)v->gpr[GPR_RAX] == HYPERCALL_NOP && e->hypercall.cpl == 0) {
        v->gpr[GPR_RAX] = 0;
        return true;
    }
    return hypercall(v, e);
}

static void io_action(struct vcpu *v, enum platform_action action) {
    switch (action) {
        case PLATFORM_EXIT:
            guest_end(v, END_EXIT, v->guest->platform.exit_status);
            break;
        case PLATFORM_POWEROFF:
            guest_end(v, END_POWEROFF, 0);
            break;
        case PLATFORM_RESET:
            guest_end(v, END_RESET, 0);
            break;
        default:
            break;
    }
}

// One access of 1, 2 or 4 bytes; what nobody claims reads ones.
static inline __attribute__((always_inline)) bool port_access(struct vcpu *v, uint16_t port, uint8_t size,
    bool write, uint32_t *value) {
    struct guest *g = v->guest;
    enum platform_action action;
    if (__builtin_expect(!platform_io(&g->platform, &g->console, guest_tsc(g), port, size, write, value, &action), 0)
        && !(g->devices != 0 && guest_device_io(g, port, size, write, value))) {
        g->unclaimed_io++;
        *value = UINT32_MAX;
        return true;
    }
    if (__builtin_expect(action != PLATFORM_GO_ON, 0) && action != PLATFORM_STALL) {
        io_action(v, action);
    }
    irq_after_access(g, v);
    return action != PLATFORM_STALL;
}

static __attribute__((noinline)) bool port_access_locked(struct vcpu *v, uint16_t port, uint8_t size, bool write,
    uint32_t *value) {
    guest_lock(v->guest);
    bool done = port_access(v, port, size, write, value);
    guest_unlock(v->guest);
    return done;
}

bool exit_port_access(struct vcpu *v, uint16_t port, uint8_t size, bool write, uint32_t *value) {
    if (__builtin_expect(v->guest->vcpu_count > 1, 0)) {
        return port_access_locked(v, port, size, write, value);
    }
    return port_access(v, port, size, write, value);
}

// Everything but the read of the PM timer, which changes nothing and needs no lock, and
// bytes that a polling driver writes.
static __attribute__((noinline)) bool any_io(struct vcpu *v, struct exit_record *e) {
    static const uint32_t masks[5] = { 0, 0xFF, 0xFFFF, 0, 0xFFFFFFFF };
    if (__builtin_expect(e->io.string, 0)) {
        return emulate_string_io(v, e);
    }
    uint32_t mask = masks[e->io.size];
    uint32_t value = (uint32_t)v->gpr[GPR_RAX] & mask;
    // In line for one vCPU: this is the way of every byte on a console.
    bool done = __builtin_expect(v->guest->vcpu_count > 1, 0)
        ? port_access_locked(v, e->io.port, e->io.size, !e->io.in, &value)
        : port_access(v, e->io.port, e->io.size, !e->io.in, &value);
    if (__builtin_expect(!done, 0)) {
        e->length = 0; // the console is full and must lose nothing: the same again later
        return true;
    }
    if (e->io.in) {
        if (e->io.size == 4) {
            v->gpr[GPR_RAX] = value; // a 32-bit result clears the upper half
        } else {
            v->gpr[GPR_RAX] = (v->gpr[GPR_RAX] & ~(uint64_t)mask) | (value & mask);
        }
    }
    return true;
}

static bool on_io(struct vcpu *v, struct exit_record *e) {
    if (e->io.port == PM_TIMER && e->io.in && e->io.size == 4 && !e->io.string) {
        const struct guest *g = v->guest;
        v->gpr[GPR_RAX] = pmtimer_value(&g->platform.pmtimer, guest_tsc(g));
        return true;
    }
    if (e->io.port == PORT_COM1 && !e->io.in && e->io.size == 1 && !e->io.string) {
        struct guest *g = v->guest;
        if (g->vcpu_count == 1 && uart_write_polled(&g->platform.uart, &g->console, (uint8_t)v->gpr[GPR_RAX])) {
            return true;
        }
    }
    return any_io(v, e);
}

static bool on_hlt(struct vcpu *v, struct exit_record *e) {
    (void)e;
    uint64_t rflags = virt->reg_get(v, REG_RFLAGS);
    if ((rflags & RFLAGS_TF) != 0) {
        return true; // the #DB of the single step ends the halt at once (SDM 2A, HLT)
    }
    if ((rflags & RFLAGS_IF) == 0) {
        guest_deaf(v);
        return true;
    }
    v->deaf = false;
    v->state = VCPU_HALTED;
    __atomic_or_fetch(&v->requests, REQ_IRQ, __ATOMIC_SEQ_CST);
    return true;
}

static bool on_shutdown(struct vcpu *v, struct exit_record *e) {
    guest_crash(v, e, "triple fault: an exception while a double fault was being delivered");
    return true;
}

static bool on_xsetbv(struct vcpu *v, struct exit_record *e) {
    uint64_t value = (uint32_t)v->gpr[GPR_RAX] | v->gpr[GPR_RDX] << 32;
    bool valid = exit_cpl(v) == 0 && (uint32_t)v->gpr[GPR_RCX] == 0 && (value & XCR0_X87) != 0
        && (value & ~fpu_xcr0_max()) == 0;
    valid = valid && ((value & XCR0_AVX) == 0 || (value & XCR0_SSE) != 0);
    valid = valid && ((value & XCR0_MPX) == 0 || (value & XCR0_MPX) == XCR0_MPX);
    valid = valid && ((value & XCR0_AVX512) == 0
        || ((value & XCR0_AVX512) == XCR0_AVX512 && (value & XCR0_AVX) != 0));
    if ((virt->reg_get(v, REG_CR4) & CR4_OSXSAVE) == 0) {
        return exit_inject(v, e, EXC_UD, false, 0);
    }
    if (!valid) {
        return exit_inject(v, e, EXC_GP, true, 0);
    }
    xsetbv(0, value); // the guest's XCR0 stays live while it is loaded
    return true;
}

static bool on_exception(struct vcpu *v, struct exit_record *e) {
    // Intercepted only to keep a guest from looping in microcode: hand it back.
    if (e->exception.vector == EXC_PF) {
        virt->reg_set(v, REG_CR2, e->exception.address);
    }
    return exit_inject(v, e, e->exception.vector, e->exception.has_error, e->exception.error);
}

static bool on_skip(struct vcpu *v, struct exit_record *e) {
    (void)v;
    (void)e;
    return true; // PAUSE, WBINVD, INVD: nothing to do on coherent memory
}

static bool on_virt_insn(struct vcpu *v, struct exit_record *e) {
    return exit_inject(v, e, EXC_UD, false, 0); // CPUID shows neither VMX nor SVM
}

static bool on_other_insn(struct vcpu *v, struct exit_record *e) {
    return exit_inject(v, e, EXC_UD, false, 0);
}

static bool on_misconfig(struct vcpu *v, struct exit_record *e) {
    guest_crash(v, e, "its nested page tables are wrong at %lx (a fault of the monitor)", e->nested.gpa);
    return true;
}

// TCG leaves by "invalid guest state", RIP still on it, where a MOV to CR3 sets a
// reserved bit; hardware gives the guest #GP. An entry that is refused twice at the
// same RIP is really refused.
static bool is_bad_cr3_write(struct vcpu *v) {
    const struct insn *insn;
    struct walk_fault fault;
    bool again = v->refused_rip == v->rip;
    v->refused_rip = v->rip;
    return !again && vcpu_insn(v, &insn, &fault) == 0 && insn->class == INSN_MOV_CR && insn->write
        && insn->special == 3 && virt->reg_set(v, REG_CR3, v->gpr[insn->reg]) != 0;
}

static bool on_entry_failed(struct vcpu *v, struct exit_record *e) {
    char rule[160];
    if (is_bad_cr3_write(v)) {
        return exit_inject(v, e, EXC_GP, true, 0);
    }
    virt->explain(v, rule, sizeof(rule));
    guest_crash(v, e, "the CPU refused to enter it: %s", rule);
    return true;
}

static bool on_unknown(struct vcpu *v, struct exit_record *e) {
    guest_crash(v, e, "it left by exit reason %lx (detail %lx), which is not known here", e->raw,
        e->qualification);
    return true;
}

exit_handler *const exit_core_handlers[EXIT_KINDS] = {
    [EXIT_NONE] = on_none, [EXIT_CPUID] = policy_cpuid, [EXIT_RDMSR] = policy_rdmsr,
    [EXIT_WRMSR] = policy_wrmsr, [EXIT_IO] = on_io, [EXIT_NESTED_FAULT] = emulate_mmio,
    [EXIT_HYPERCALL] = on_hypercall, [EXIT_HLT] = on_hlt, [EXIT_WINDOW] = on_window,
    [EXIT_NMI_WINDOW] = on_window, [EXIT_INTERRUPT] = on_none, [EXIT_NMI] = on_none,
    [EXIT_SHUTDOWN] = on_shutdown, [EXIT_CR] = emulate_cr, [EXIT_DR] = emulate_dr, [EXIT_XSETBV] = on_xsetbv,
    [EXIT_EXCEPTION] = on_exception, [EXIT_PAUSE] = on_skip, [EXIT_WBINVD] = on_skip,
    [EXIT_VIRT_INSN] = on_virt_insn, [EXIT_OTHER_INSN] = on_other_insn,
    [EXIT_TASK_SWITCH] = emulate_task_switch, [EXIT_NESTED_MISCONFIG] = on_misconfig,
    [EXIT_ENTRY_FAILED] = on_entry_failed, [EXIT_UNKNOWN] = on_unknown,
};

bool exit_core(struct vcpu *v, struct exit_record *e) {
    return exit_core_handlers[e->kind](v, e);
}

// Exits that complete an instruction: its length is needed when the CPU gave none.
#define INSN_EXITS (1u << EXIT_CPUID | 1u << EXIT_RDMSR | 1u << EXIT_WRMSR | 1u << EXIT_HYPERCALL \
    | 1u << EXIT_HLT | 1u << EXIT_CR | 1u << EXIT_DR | 1u << EXIT_XSETBV | 1u << EXIT_PAUSE \
    | 1u << EXIT_WBINVD | 1u << EXIT_IO)

// The exits that complete no instruction, and those where the cache does not know it.
static __attribute__((noinline)) bool step_slow(struct vcpu *v, struct exit_record *e) {
    if ((INSN_EXITS >> e->kind & 1) != 0 && e->length == 0 && (e->length = length_of(v, e)) == 0) {
        return true; // fault injected, or crashed
    }
    // The run loop wants to see every interrupt.
    return v->handlers[e->kind](v, e) && e->kind != EXIT_INTERRUPT;
}

// The tail call of the handler keeps it without a frame. An exit that completes no
// instruction comes with length 0 and FETCH_UNKNOWN, so it takes the slow way.
bool exit_step(struct vcpu *v, struct exit_record *e, struct fetch_state f) {
    uint32_t kind = e->kind;
    v->exits[kind]++;
    if (e->length == 0) {
        const struct insn_slot *s = insn_slot_current(v->insns, f);
        if (__builtin_expect(s == NULL, 0)) {
            return step_slow(v, e);
        }
        v->insns->stats.hits++;
        e->length = s->length;
    }
    return v->handlers[kind](v, e);
}
