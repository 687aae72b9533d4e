// The virtualisation seam: a vCPU in neutral terms, and the operations that a
// back end (svm.c, vmx.c) provides. No vendor name stands above this header.
//
// Ownership: a vCPU belongs to the CPU that runs it. The control CPU touches its
// state only while the vCPU is parked (run.h).
#ifndef VIPERVISOR_VIRT_VCPU_H
#define VIPERVISOR_VIRT_VCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dev/lapic.h"
#include "virt/exit.h"

struct cpu;
struct exit_note;
struct guest;
struct insn_cache;

// General registers in the encoding order of ModRM.
enum gpr {
    GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI,
    GPR_R8, GPR_R9, GPR_R10, GPR_R11, GPR_R12, GPR_R13, GPR_R14, GPR_R15,
    GPR_COUNT
};

// Registers behind reg_get/reg_set that do not lie in struct vcpu.
enum vreg {
    REG_RFLAGS, REG_CR0, REG_CR2, REG_CR3, REG_CR4, REG_EFER,
    REG_DR6, REG_DR7, REG_GDT_BASE, REG_GDT_LIMIT, REG_IDT_BASE, REG_IDT_LIMIT,
    REG_STAR, REG_LSTAR, REG_CSTAR, REG_FMASK, REG_KERNEL_GS_BASE,
    REG_SYSENTER_CS, REG_SYSENTER_ESP, REG_SYSENTER_EIP, REG_PAT,
    REG_SHADOW, // interrupt shadow: bit 0 STI or MOV SS
    REG_ACTIVITY, // 0 running, 1 halted
    REG_COUNT
};

enum vseg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT };

// Attributes as in a descriptor's bits 40-47 (low byte: type, S, DPL, P) and
// 52-55 (bits 12-15 here: AVL, L, D/B, G), which is Intel's access-rights format;
// bit 16: unusable.
struct segment {
    uint64_t base;
    uint32_t limit; // in bytes, already scaled by G
    uint32_t attributes;
    uint16_t selector;
};
#define SEG_ATTR_UNUSABLE (UINT32_C(1) << 16)
#define SEG_ATTR_L (UINT32_C(1) << 13)
#define SEG_ATTR_DB (UINT32_C(1) << 14)
#define SEG_ATTR_G (UINT32_C(1) << 15)
#define SEG_ATTR_DPL_SHIFT 5 // two bits

// An event to inject: vector | type << 8 | VALID, and its error code.
enum { EVENT_EXTERNAL = 0, EVENT_NMI = 2, EVENT_EXCEPTION = 3, EVENT_SOFTWARE = 4 };
#define EVENT_TYPE_SHIFT 8
#define EVENT_HAS_ERROR (UINT32_C(1) << 11)
#define EVENT_VALID (UINT32_C(1) << 31)

enum { EXC_DE = 0, EXC_DB = 1, EXC_NMI = 2, EXC_BP = 3, EXC_OF = 4, EXC_BR = 5, EXC_UD = 6, EXC_NM = 7,
       EXC_DF = 8, EXC_TS = 10, EXC_NP = 11, EXC_SS = 12, EXC_GP = 13, EXC_PF = 14, EXC_MF = 16,
       EXC_AC = 17, EXC_XM = 19, EXC_CP = 21 };
// Those that are faults in any case (bit: vector).
#define EXC_FAULTS (UINT32_C(1) << EXC_DE | UINT32_C(1) << EXC_BR | UINT32_C(1) << EXC_UD | UINT32_C(1) << EXC_NM \
    | UINT32_C(1) << EXC_TS | UINT32_C(1) << EXC_NP | UINT32_C(1) << EXC_SS | UINT32_C(1) << EXC_GP \
    | UINT32_C(1) << EXC_PF | UINT32_C(1) << EXC_MF | UINT32_C(1) << EXC_AC | UINT32_C(1) << EXC_XM \
    | UINT32_C(1) << EXC_CP)

// Reasons to leave the run loop, set by anybody (atomically), cleared by the
// owner. Zero is the hot case and the only thing entry tests.
enum {
    REQ_PARK = 1 << 0, // the control CPU wants the vCPU still
    REQ_IRQ = 1 << 1, // an interrupt controller may have something
    REQ_TIMER = 1 << 2, // a guest timer may be due
    REQ_STOP = 1 << 3, // its guest ends
    REQ_NMI = 1 << 4, // an NMI is to be injected
    REQ_SLICE = 1 << 5, // the time slice on the control CPU is over
    REQ_INJECT = 1 << 6, // `event` holds something to inject
    REQ_WINDOW = 1 << 7, // waiting for the interrupt window; nothing to do until then
    REQ_INIT = 1 << 8, // INIT came
    REQ_SIPI = 1 << 9, // a start-up IPI came, for `sipi_vector`
};

enum vcpu_state {
    VCPU_RUNNABLE, // 0: entry tests it together with the requests
    VCPU_OFF, // not yet started, or ended
    VCPU_HALTED, // HLT: waits for an interrupt
    VCPU_WAITING, // waits for Python's answer to `exit`
    VCPU_CRASHED,
    VCPU_WAIT_SIPI, // after INIT: waits for a start-up IPI
};

struct vcpu {
    // The assembly of the world switch knows these by generated offsets.
    uint64_t gpr[GPR_COUNT]; // RSP too, valid outside enter()
    uint64_t rip; // copied out by each exit, copied in by each entry
    void *control; // VMCB or VMCS, 4 KiB, physical = virtual
    uint64_t control_pa;
    // From here on C only.
    // Side by side: entry tests both at once, and goes ahead when both are 0.
    volatile uint32_t requests; // REQ_*
    volatile uint32_t state; // enum vcpu_state
    uint32_t event, event_error; // with REQ_INJECT
    uint8_t index; // in its guest
    uint8_t tpr; // CR8, where it exits
    bool cr8_watched; // irq_watch_cr8
    volatile uint8_t sipi_vector;
    volatile uint32_t nmis; // with REQ_NMI
    volatile bool deaf; // halted with interrupts off: only an NMI or INIT wakes it
    bool skipped; // RIP was moved past an instruction: entry ends the shadow
    bool skipped_late; // vmx: outside the run loop, which has not seen it yet
    bool launched; // vmx: VMRESUME next
    bool window_open_wanted;
    volatile uint32_t parked; // acknowledges REQ_PARK
    uint32_t cpu; // physical CPU index
    uint64_t timer_next; // host TSC of the guest's next timer event; UINT64_MAX: none
    uint64_t nested_seen; // generation of the nested tables last flushed for
    uint32_t exceptions; // bit: vector; they exit for Python
    uint64_t tsc_offset;
    uint64_t tsc_adjust; // IA32_TSC_ADJUST: what the guest added to tsc_offset
    uint64_t clock_msr; // its pvclock page (pvclock.h), 0: none
    uint64_t xcr0; // the guest's, valid while not loaded
    uint64_t dr[4]; // DR0-DR3 of the guest; DR6/DR7 by reg_get
    uint64_t pat; // shadowed, see design 4
    uint64_t tsc_aux;
    uint64_t fixed_msrs[6]; // vmx: STAR LSTAR CSTAR FMASK KERNEL_GS while not loaded
    void *xsave; // page(s) for the FPU/SIMD state while not loaded
    struct guest *guest;
    struct insn_cache *insns;
    struct exit_record exit; // of the last exit; the mailbox while VCPU_WAITING
    struct exit_message message; // with it
    struct served served;
    // Who answers each kind: the core, or claim_exit where Python has a claim (claim.h).
    exit_handler *handlers[EXIT_KINDS];
    uint64_t exits[EXIT_KINDS];
    uint64_t entries;
    struct exit_note *traced; // its last, while it is traced (trace.h)
    uint64_t refused_rip; // of the last refused entry (exits.c)
    void *vendor; // what else the back end keeps
    struct lapic lapic; // the owner's; others post to it
};

struct virt_caps {
    bool nrip; // the CPU gives the next RIP or the length on instruction exits
    bool decode_assists; // CR/DR exits name their register
    bool xsetbv_exits; // found by probing
    bool shadow_loaded; // the interrupt shadow field is honoured on entry (probed)
    bool window_at_once; // the window exit also comes when IF is already 1 (probed)
    bool flush_by_asid;
    bool entry_limited; // the back end can end an entry after a while by itself
    bool masked_interrupts_exit; // physical interrupts end a guest whose IF is 0 (probed)
    bool large_1g; // 1 GiB nested pages
    bool nested_ad; // accessed/dirty bits
    bool unrestricted; // real mode and paging off run natively
    uint8_t phys_bits;
    uint32_t asids;
    uint64_t cpuid_hide_7_ebx; // CPUID.7.EBX bits without their execution control
    uint64_t cpuid_hide_80000001_edx;
    uint64_t cpuid_hide_d1_eax;
};

// Where the next instruction lies and how it is fetched, in two words, so that a
// back end hands them over in registers. Equal words mean: same linear address,
// same top-level table, same paging mode and code size. What the CPU checks at the
// fetch (CPL, NX, SMEP) is left out: it has just executed that instruction.
struct fetch_state {
    uint64_t linear; // CS.base + RIP, wrapped as the mode wraps it
    uint64_t space; // CR3; any mode but 64-bit with 4 levels adds FETCH_*
};
#define FETCH_UNKNOWN ((struct fetch_state){0, UINT64_MAX}) // equals no other
#define FETCH_NEVER (UINT64_MAX - 1) // a `space` that no look-up has, not even the unknown

// Bits that CR3 reserves (SDM 3A 2.5).
#define FETCH_OTHER (UINT64_C(1) << 52) // not 64-bit code under 4-level paging
#define FETCH_PG (UINT64_C(1) << 53)
#define FETCH_PAE (UINT64_C(1) << 54)
#define FETCH_PSE (UINT64_C(1) << 55)
#define FETCH_LA57 (UINT64_C(1) << 56)
#define FETCH_LMA (UINT64_C(1) << 57)
#define FETCH_L (UINT64_C(1) << 58)
#define FETCH_DB (UINT64_C(1) << 59)

// Control register bits that decide it (SDM 3A 2.2.1, 2.5).
#define FETCH_CR0_PG (UINT64_C(1) << 31)
#define FETCH_CR4_PSE (UINT64_C(1) << 4)
#define FETCH_CR4_PAE (UINT64_C(1) << 5)
#define FETCH_CR4_LA57 (UINT64_C(1) << 12)
#define FETCH_EFER_LMA (UINT64_C(1) << 10)

// True for 64-bit code under 4-level paging, where a fetch_state is {RIP, CR3} as they
// are. Segment attributes as in struct segment.
static inline bool fetch_is_plain(uint32_t cs_attributes, uint64_t efer, uint64_t cr4) {
    return (cs_attributes & SEG_ATTR_L) && (efer & FETCH_EFER_LMA) && !(cr4 & FETCH_CR4_LA57);
}
// The same in any mode (insn_cache.c).
struct fetch_state fetch_state_of(uint64_t rip, uint64_t cs_base, uint32_t cs_attributes, uint64_t cr0,
    uint64_t cr3, uint64_t cr4, uint64_t efer);

// Bits of one level's entry in the vendor's nested format (virt/nested.h).
struct nested_format {
    uint64_t table; // non-leaf entry
    uint64_t leaf_rwx, leaf_rx, leaf_r; // leaf RAM, write-back
    uint64_t leaf_large; // added to 2 MiB and 1 GiB leaves
    uint64_t leaf_uncached; // instead of the bits of memory_type: device memory
    uint64_t memory_type; // mask of a leaf's type bits (EPT 5:3 and IPAT; NPT PWT, PCD)
    uint64_t present_mask; // an entry with none of these is absent
    uint64_t writable, executable, accessed, dirty;
};

struct vcpu_ops {
    const char *name; // "svm", "vmx"
    const struct nested_format *nested;
    // MSRs that the world switch leaves in the CPU, at most as many as vcpu.fixed_msrs:
    // vcpu_load and vcpu_put move them.
    const uint32_t *carried_msrs;
    uint32_t carried_count;

    // True when CPUID shows this vendor's virtualisation at all.
    bool (*present)(void);
    // Fills caps; appends the name of each missing feature to `missing`
    // (comma-separated, NUL-ended). 0, or -ENODEV when the back end cannot work.
    int (*probe)(struct virt_caps *caps, char *missing, size_t size);
    int (*cpu_enable)(struct cpu *cpu); // on the CPU itself
    void (*cpu_disable)(struct cpu *cpu);

    // Makes the control structure, or reuses v->control, with the architectural reset
    // state; the nested root must exist. Callable on any CPU; vcpu_free likewise, after vcpu_put.
    int (*vcpu_init)(struct vcpu *v);
    void (*vcpu_free)(struct vcpu *v);
    // Take and give back the CPU: VMPTRLD/VMCLEAR and the state that the world
    // switch itself does not move (MSRs, debug registers, XCR0 and XSAVE are
    // vcpu.c's, vendor state is the back end's).
    int (*vcpu_load)(struct vcpu *v);
    int (*vcpu_put)(struct vcpu *v);

    // One entry and one exit; interrupts are enabled before and after, and were
    // off between the test of v->requests and the entry: returns with EXIT_NONE
    // when a request came first, or v is not VCPU_RUNNABLE. Fills *e. Only EXIT_ENTRY_FAILED
    // reports a refused entry.
    void (*enter)(struct vcpu *v, struct exit_record *e);
    // The same again and again: calls step(v, e, f) after each exit, moves RIP by
    // e->length and enters again, until step answers false (RIP stays) or enter would
    // not enter (*e is EXIT_NONE then). f is the fetch state of the instruction, or
    // FETCH_UNKNOWN, as on every exit that is no instruction's. Keeps the caller's
    // registers only once, which enter cannot. NULL: use enter.
    void (*run)(struct vcpu *v, struct exit_record *e,
        bool (*step)(struct vcpu *, struct exit_record *, struct fetch_state));

    // Valid on the owning CPU while v is loaded.
    uint64_t (*reg_get)(struct vcpu *v, enum vreg reg);
    // -EINVAL for a value that a MOV by the guest would take #GP for; -EIO. Does what
    // follows from a change (EFER.LMA, IA-32e mode).
    int (*reg_set)(struct vcpu *v, enum vreg reg, uint64_t value);
    void (*seg_get)(struct vcpu *v, enum vseg seg, struct segment *s);
    int (*seg_set)(struct vcpu *v, enum vseg seg, const struct segment *s);
    // On the path of every exit whose length the CPU does not give, so a back end
    // tests for 64-bit code first (fetch_is_plain, or its like on raw fields) and
    // gathers the rest for fetch_state_of only when that fails. Bits 5-6 of
    // SEG_SS's attributes (DPL) are the CPL on every back end.
    struct fetch_state (*fetch_state)(struct vcpu *v);
    unsigned (*cpl)(struct vcpu *v);

    bool (*can_interrupt)(struct vcpu *v); // IF=1, no shadow, nothing being injected
    void (*inject)(struct vcpu *v, uint32_t event, uint32_t error); // at the next entry
    // Nothing is delivered at the next entry: neither what inject() set nor a single step.
    void (*uninject)(struct vcpu *v);
    uint32_t (*vectoring)(struct vcpu *v, uint32_t *error); // event the last exit interrupted
    void (*window)(struct vcpu *v, bool on); // exit with EXIT_WINDOW when IF opens
    // CR8 where its accesses do not exit; NULL: they do. While watched, writes exit.
    uint8_t (*cr8_get)(struct vcpu *v);
    void (*cr8_set)(struct vcpu *v, uint8_t value);
    void (*cr8_watch)(struct vcpu *v, bool on);
    void (*set_tsc_offset)(struct vcpu *v, uint64_t offset);
    // These exceptions exit, besides those that always do (bit: vector).
    void (*set_exceptions)(struct vcpu *v, uint32_t vectors);
    // On a failed entry or for hv.why(): which manual rule is broken, in words.
    void (*explain)(struct vcpu *v, char *buffer, size_t size);
    // Control-structure field by the manual's encoding/offset, for introspection.
    int (*field_get)(struct vcpu *v, uint32_t field, uint64_t *value);
};

extern const struct vcpu_ops svm_ops, vmx_ops;
extern const struct vcpu_ops *virt; // chosen at boot; NULL: none
extern struct virt_caps virt_caps;
extern char virt_missing[512]; // comma-separated names, "" when nothing is missing

int virt_init(void); // choose and probe, on the control CPU
int virt_enable_cpu(void); // on each CPU

// vcpu.c: written once over the ops.
struct vcpu *vcpu_create(struct guest *g, uint32_t index, uint32_t cpu); // NULL: no memory
void vcpu_destroy(struct vcpu *v);
int vcpu_reset(struct vcpu *v); // as after power-on, not loaded anywhere (but by a probe)
int vcpu_load(struct vcpu *v); // state onto this CPU; -EBUSY when another is there
int vcpu_put(struct vcpu *v); // and off it: FPU, XCR0, MSRs, debug registers
void vcpu_wrap_rip(struct vcpu *v);
void vcpu_request(struct vcpu *v, uint32_t bits); // atomic or; kicks its CPU when remote
void vcpu_inject_exception(struct vcpu *v, uint8_t vector, bool has_error, uint32_t error);

// The dispatcher alone moves RIP.
static inline void vcpu_skip(struct vcpu *v, uint32_t length) {
    v->rip += length;
    v->skipped = v->skipped_late = true;
    if (__builtin_expect((uint32_t)v->rip < length, 0)) {
        vcpu_wrap_rip(v);
    }
}

#endif
