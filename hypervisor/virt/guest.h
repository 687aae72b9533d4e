// A guest: its memory, its vCPUs, its devices and what happened to it.
#ifndef VIPERVISOR_VIRT_GUEST_H
#define VIPERVISOR_VIRT_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/insn.h"
#include "dev/console.h"
#include "dev/platform.h"
#include "virt/mmio.h"
#include "virt/claim.h"
#include "virt/trace.h"
#include "virt/vcpu.h"

struct testdev;

#define GUEST_MAX 16
#define GUEST_VCPUS 8
#define GUEST_REGIONS 16
#define GUEST_NAME 32
#define GUEST_NOTE 96

enum guest_state {
    GUEST_FREE, // the slot is free
    GUEST_NEW, // made, not started
    GUEST_RUNNING,
    GUEST_PAUSED,
    GUEST_OFF, // ended by itself: power-off, exit port, reset without restart
    GUEST_CRASHED,
};

enum end_reason {
    END_NONE,
    END_EXIT, // port 0xF4; status holds the value
    END_POWEROFF,
    END_RESET,
    END_STOPPED, // from outside
    END_CRASH,
};

// Everything a reader needs to know why a guest died.
struct crash {
    char why[200]; // one sentence
    struct exit_record exit;
    uint64_t gpr[GPR_COUNT], rip, rflags, cr0, cr2, cr3, cr4, efer;
    uint16_t cs;
    uint64_t cs_base;
    uint8_t bytes[16]; // at RIP
    uint8_t byte_count;
    uint8_t vcpu;
};

struct guest_region {
    uint64_t gpa, hpa, size;
    uint32_t owner; // 0: its own; else the id + 1 of the guest whose memory it shares
};

// One answer of CPUID: value = (physical & mask) | fixed, per register in the
// order eax ebx ecx edx. An exact subleaf matches only itself; a leaf with
// `any_subleaf` matches all.
struct cpuid_entry {
    uint32_t leaf, subleaf;
    uint32_t flags; // CPUID_*
    uint32_t reserved;
    uint32_t mask[4], fixed[4];
};
enum {
    CPUID_ANY_SUBLEAF = 1,
    CPUID_OSXSAVE = 2, // ECX bit 27 mirrors the guest's CR4.OSXSAVE
    CPUID_XSAVE_SIZE = 4, // EBX: XSAVE area size for the guest's XCR0
    CPUID_APIC_ID = 8, // EBX 31-24 (leaf 1) or EDX (leaf 0xB): the vCPU's APIC id
};
#define CPUID_ENTRIES 96
#define CPUID_BUCKETS 128

struct msr_entry {
    uint32_t index, count; // [index, index + count)
    uint32_t read, write; // enum msr_action
    uint64_t value; // MSR_READ_FIXED; stored by MSR_WRITE_STORE
    uint64_t write_mask; // other bits changed: #GP
};
enum msr_action { MSR_FAULT, MSR_FIXED, MSR_STORED, MSR_IGNORE, MSR_NATIVE, MSR_CORE };
#define MSR_ENTRIES 96
#define MSR_BUCKETS 128

struct guest {
    uint32_t id;
    volatile uint32_t state; // enum guest_state
    char name[GUEST_NAME];
    uint64_t nested_root; // host-physical
    uint64_t nested_generation; // bumped by each edit, compared by entry
    uint32_t region_count;
    struct guest_region regions[GUEST_REGIONS];
    uint32_t vcpu_count;
    struct vcpu *vcpus[GUEST_VCPUS];
    struct mmio mmio;
    uint32_t devices; // GUEST_DEVICE_*, besides the plain PC's
    struct testdev *testdev; // NULL: it has none
    uint32_t device_lock; // of platform and console, with several vCPUs (guest_lock)
    struct platform platform;
    struct console console;
    uint32_t cpuid_count, msr_count;
    struct cpuid_entry cpuid[CPUID_ENTRIES]; // sorted by leaf, then subleaf
    struct msr_entry msrs[MSR_ENTRIES]; // sorted by index
    uint8_t cpuid_bucket[CPUID_BUCKETS]; // first entry of a leaf + 1 (policy.c)
    uint8_t msr_bucket[MSR_BUCKETS];
    // The hot look-ups: byte offset in the guest of an entry whose answer is a plain copy.
    uint16_t cpuid_fast[CPUID_BUCKETS]; // else of cpuid_none
    uint16_t msr_fast[MSR_BUCKETS]; // else 0
    bool msr_x2apic_core; // writes of all x2APIC registers are the core's
    bool x2apic_hidden; // CPUID does not show it: switching it on is #GP
    uint64_t cr4_hidden; // bits whose features CPUID does not show: setting them is #GP
    struct cpuid_entry cpuid_none; // zeroes, for a leaf that is not shown
    struct claims claims;
    struct trace *traces[GUEST_VCPUS]; // NULL: none
    uint64_t unclaimed_io, unclaimed_memory;
    bool pause_on_unclaimed;
    uint32_t wakes; // NMIs, INITs and start-ups that its vCPUs were sent
    uint32_t starts; // how often it was started
    uint32_t ending; // the first vCPU that ends it sets it
    uint32_t end_reason; // enum end_reason
    uint32_t end_status; // the guest's own value
    volatile uint32_t events; // GUEST_EVENT_*, taken by Python
    struct crash crash;
    uint64_t tsc_start; // host TSC at the guest's TSC 0
    uint64_t paused_at; // host TSC, while paused
    uint64_t unix_seconds; // the time of day at the guest's TSC 0
    uint64_t wall_clock_msr; // pvclock.h
    char note[GUEST_NOTE]; // why it is paused, when nobody asked for it
};
enum { GUEST_EVENT_STATE = 1, GUEST_EVENT_MESSAGE = 2, GUEST_EVENT_WATCH = 4, GUEST_EVENT_CONSOLE = 8 };

enum { GUEST_DEVICE_TESTDEV = 1 };

extern struct guest guests[GUEST_MAX];

struct guest *guest_by_id(uint32_t id); // NULL: no such guest
int guest_create(const char *name, struct guest **out);
int guest_add_ram(struct guest *g, uint64_t gpa, uint64_t size); // allocates and maps
int guest_add_vcpu(struct guest *g, uint32_t cpu); // 0, -EBUSY, -ENODEV, -ENOMEM
// guest_device.c: a device that not every guest has, by name. -ENODEV, -EBUSY, -EEXIST.
int guest_device(struct guest *g, const char *name);
void guest_devices_reset(struct guest *g);
void guest_devices_free(struct guest *g);
// False: none of them claims the port.
bool guest_device_io(struct guest *g, uint16_t port, uint8_t size, bool write, uint32_t *value);
int guest_start(struct guest *g);
int guest_pause(struct guest *g);
int guest_resume(struct guest *g);
int guest_stop(struct guest *g); // END_STOPPED
int guest_reset(struct guest *g); // vCPUs and devices as after power-on; NEW again
int guest_power_devices(struct guest *g, uint64_t unix_seconds);
// guest_extra.c: interrupt line `irq` of the guest's board.
int guest_line(struct guest *g, uint32_t irq, bool level); // -EINVAL, -ETIMEDOUT
// Maps memory of `from` into `to` as well, until `from` is destroyed. -EFAULT, -EEXIST,
// -ENOSPC, -ENOMEM.
int guest_share(struct guest *from, uint64_t gpa, uint64_t size, struct guest *to, uint64_t to_gpa);
int guest_unshare(struct guest *from); // takes it from all others
int guest_park(struct guest *g); // all vCPUs, or none and -ETIMEDOUT
void guest_unpark(struct guest *g); // when it is running
const char *guest_state_name(uint32_t state);
const char *guest_reason_name(uint32_t reason);
int guest_destroy(struct guest *g); // everything back, memory scrubbed when reused

// Guest-physical memory, across regions. The read pointer is good for
// `*available` bytes; NULL where nothing is mapped.
const void *guest_read_ptr(struct guest *g, uint64_t gpa, size_t *available);
void *guest_write_ptr(struct guest *g, uint64_t gpa, size_t *available);
int guest_read(struct guest *g, uint64_t gpa, void *to, size_t size); // -EFAULT
int guest_write(struct guest *g, uint64_t gpa, const void *from, size_t size);

// policy.c: the compiled CPUID and MSR tables. Entries must be sorted; -EINVAL, -ENOSPC.
int guest_set_cpuid(struct guest *g, const struct cpuid_entry *entries, uint32_t count);
int guest_set_msrs(struct guest *g, const struct msr_entry *entries, uint32_t count);
bool policy_cpuid(struct vcpu *v, struct exit_record *e);
bool policy_rdmsr(struct vcpu *v, struct exit_record *e);
bool policy_wrmsr(struct vcpu *v, struct exit_record *e);

// Around devices that several vCPUs may touch; a guest with one vCPU pays a test.
void guest_lock_slow(struct guest *g);
static inline void guest_lock(struct guest *g) {
    if (__builtin_expect(g->vcpu_count > 1, 0)) {
        guest_lock_slow(g);
    }
}
static inline void guest_unlock(struct guest *g) {
    if (__builtin_expect(g->vcpu_count > 1, 0)) {
        __atomic_store_n(&g->device_lock, 0, __ATOMIC_RELEASE);
    }
}

// The guest's TSC now.
static inline uint64_t guest_tsc(const struct guest *g) {
    return rdtsc() - g->tsc_start;
}
// Something for Python: sets the event bits and wakes the control CPU.
void guest_notify(struct guest *g, uint32_t events);

// Called on the owning CPU from the exit path.
void guest_end(struct vcpu *v, uint32_t reason, uint32_t status);
// HLT with interrupts off. When no vCPU is left that anything could wake, the guest is
// off: this is how an operating system without ACPI says that it has shut down.
void guest_deaf(struct vcpu *v);
void guest_crash(struct vcpu *v, const struct exit_record *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
