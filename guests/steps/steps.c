// Single steps over all that leaves the guest, at CPL 0 and 3: as many #DB as there are
// instructions, at the right addresses, with nothing but BS in DR6. Needs the device "testdev".
#include "steps.h"
#include "check.h"
#include "guest.h"
#include "traps.h"

enum {
    DR6_BD = 1 << 13,
    DR6_BS = 1 << 14,
    RFLAGS_TF = 1 << 8,
    RFLAGS_IOPL_3 = 0x3000,
    RFLAGS_FIXED = 2,
    STOPS = 24,
    CPUID_ECX_XSAVE = 1 << 26,
    OPCODE_INT3 = 0xCC,
};
#define DR6_INIT 0xFFFF0FF0ull

struct scenario {
    const char *name;
    uint8_t *code;
    const uint64_t *stops; // ended by 0
    uint64_t flags;
};
extern const struct scenario scenarios[];

static struct {
    unsigned hits;
    uint64_t rip[STOPS], dr6[STOPS];
} seen;

static bool on_debug(struct trap_frame *frame) {
    if (seen.hits < STOPS) {
        seen.rip[seen.hits] = frame->rip;
        seen.dr6[seen.hits] = read_dr6();
    } else {
        frame->rflags &= ~(uint64_t)RFLAGS_TF;
    }
    seen.hits++;
    write_dr6(DR6_INIT);
    return true;
}

// INT3 ends a scenario; CPL 3 comes back by itself (traps.c).
static bool on_breakpoint(struct trap_frame *frame) {
    if ((frame->cs & 3) == 3) {
        return false;
    }
    frame->rip = (uintptr_t)user_return;
    frame->rsp = user_saved_rsp;
    frame->rflags = RFLAGS_FIXED;
    return true;
}

// The device's memory; where it is missing, which is natively only, RAM.
volatile uint8_t *device_memory;

static void find_device(void) {
    static volatile uint8_t page[64];
    volatile uint32_t *device = (volatile uint32_t *)0xFF000000;
    device[0] = 0x12345678;
    device[1] = 0x9ABCDEF0;
    bool there = device[0] == 0x12345678 && device[1] == 0x9ABCDEF0;
    device_memory = there ? (volatile uint8_t *)device : page;
    if (under_vipervisor()) {
        expect("the device is there", there, "run it with --device testdev");
    }
}

static const char *missing(uint64_t flags) {
    bool vipervisor = under_vipervisor(), tcg = cpu_is_tcg();
    if ((flags & NEEDS_XSAVE) && !(read_cr4() & CR4_OSXSAVE)) {
        return "no XSAVE";
    }
    if ((flags & NEEDS_VIPERVISOR_AMD) && !(vipervisor && cpu_is_amd())) {
        return "no VMMCALL here";
    }
    if ((flags & NEEDS_VIPERVISOR_INTEL) && !(vipervisor && !cpu_is_amd())) {
        return "no VMCALL here";
    }
    if ((flags & NEEDS_SS_SHADOW) && tcg) {
        return "this emulated CPU steps in the shadow";
    }
    if ((flags & NEEDS_STI_STEP) && tcg) {
        return "this emulated CPU does not step in the shadow of STI";
    }
    if ((flags & NEEDS_MSR_FAULT) && !vipervisor) {
        return "this emulated CPU has every MSR";
    }
    if ((flags & NEEDS_BD_ALONE) && !vipervisor) {
        return "this emulated CPU takes the fault for a step";
    }
    if ((flags & NEEDS_INT1) && tcg) {
        return "this emulated CPU has no INT1";
    }
    if ((flags & NEEDS_HLT_STEP) && !vipervisor) {
        return "this emulated CPU goes on halted";
    }
    return NULL;
}

static void judge(const struct scenario *s, const char *where) {
    unsigned due = 0;
    char name[80];
    size_t length = strlen(s->name);
    memcpy(name, s->name, length);
    memcpy(name + length, where, strlen(where) + 1);
    while (s->stops[due] != 0) {
        due++;
    }
    unsigned wrong = 0;
    while (wrong < due && wrong < seen.hits) {
        uint64_t dr6 = DR6_INIT | DR6_BS;
        if (wrong == 0 && (s->flags & (FIRST_WITHOUT_BS | FIRST_IS_BD))) {
            dr6 = s->flags & FIRST_IS_BD ? DR6_INIT | DR6_BD : DR6_INIT;
        }
        if (seen.rip[wrong] != s->stops[wrong] || seen.dr6[wrong] != dr6) {
            break;
        }
        wrong++;
    }
    if (seen.hits == due && wrong == due) {
        expect(name, true, "right");
        return;
    }
    uint64_t start = (uintptr_t)s->code;
    expect(name, false, "%u #DB of %u; number %u at +%llx, DR6 %llx, was due at +%llx", seen.hits, due, wrong,
        (unsigned long long)(seen.rip[wrong] - start), (unsigned long long)seen.dr6[wrong],
        (unsigned long long)(s->stops[wrong] - start));
}

int guest_main(void) {
    irq_init();
    find_device();
    if (cpuid(1, 0).ecx & CPUID_ECX_XSAVE) {
        write_cr4(read_cr4() | CR4_OSXSAVE);
    }
    trap_hook(TRAP_DB, on_debug);
    trap_hook(TRAP_BP, on_breakpoint);
    for (const struct scenario *s = scenarios; s->name != NULL; s++) {
        const char *why = missing(s->flags);
        void (*code)(void) = (void (*)(void))(uintptr_t)s->code;
        if (why != NULL) {
            // The other vendor's hypercall is nothing that is missing.
            if (!under_vipervisor() || !(s->flags & (NEEDS_VIPERVISOR_AMD | NEEDS_VIPERVISOR_INTEL))) {
                skip(s->name, why);
            }
            continue;
        }
        memset(&seen, 0, sizeof(seen));
        write_dr6(DR6_INIT);
        kernel_run(code);
        judge(s, ", CPL 0");
        if (s->flags & KERNEL_ONLY) {
            continue;
        }
        memset(&seen, 0, sizeof(seen));
        trap_clear();
        user_run_with(code, RFLAGS_IOPL_3 | RFLAGS_FIXED);
        judge(s, ", CPL 3");
        if (!trap_was(TRAP_GP) || *(const uint8_t *)last_trap.rip != OPCODE_INT3) { // its gate is CPL 0's
            expect(s->name, false, "ended by exception %u at %llx", last_trap.vector,
                (unsigned long long)last_trap.rip);
        }
    }
    return check_end();
}
