// Access rights of the guest's own page tables: every combination of the bits of a page's
// entry, and each bit of its directory's, against reads, writes and fetches at CPL 0 and 3,
// with CR0.WP and EFER.NXE on and off: whether it faults, with which error code, and what
// becomes of the accessed and dirty bits (Intel SDM volume 3A, 4.6 to 4.8).
#include "check.h"
#include "guest.h"
#include "traps.h"

enum {
    PTE_ACCESSED = 1 << 5, PTE_DIRTY = 1 << 6,
    PF_PRESENT = 1, PF_WRITE = 2, PF_USER = 4, PF_RESERVED = 8, PF_FETCH = 16,
    EFER_NXE = 1 << 11,
    TARGET_SLOT = 0x124, // of the PML4: 0xFFFF920000000000
    OPCODE_RET = 0xC3, OPCODE_INT3 = 0xCC,
    SHOWN_FAILURES = 8,
};
#define PTE_NX (1ull << 63)
#define PTE_BIT51 (1ull << 51) // reserved: no CPU here has 52 address bits
#define PDE_BIT13 (1ull << 13) // reserved in a 2 MiB page's entry
#define TARGET ((volatile uint8_t *)0xFFFF920000000000)

enum kind { READ, WRITE, FETCH, KINDS };

extern uint64_t boot_pml4[512];
void user_read(void);
void user_write(void);
void user_fetch(void);
void kernel_fetch(void);
extern uint8_t kernel_fetched[];

static uint64_t pdpt[512] __attribute__((aligned(4096)));
static uint64_t pd[512] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096)));
enum { PAGE_LARGE_BYTES = 0x200000 };
static uint8_t page[2 * PAGE_LARGE_BYTES];
static uint64_t page_address; // of 2 MiB in the above

static struct {
    bool taken;
    uint64_t error, address;
} fault;

__asm__ (
    ".text\n"
    "user_read: mov $0xFFFF920000000000, %rax; mov (%rax), %al; int3\n"
    "user_write: mov $0xFFFF920000000000, %rax; movb $0xC3, (%rax); int3\n"
    "user_fetch: mov $0xFFFF920000000000, %rax; call *%rax; int3\n"
    "kernel_fetch: mov $0xFFFF920000000000, %rax; call *%rax\n"
    "kernel_fetched: ret\n");

// At CPL 0 it goes on behind the access; CPL 3 ends at its first trap anyway.
static bool on_page_fault(struct trap_frame *frame) {
    fault.taken = true;
    fault.error = frame->error;
    fault.address = read_cr2();
    if ((frame->cs & 3) == 0 && frame->rip == (uintptr_t)TARGET) {
        frame->rip = *(const uint64_t *)frame->rsp; // back from the CALL that could not be fetched
        frame->rsp += 8;
        return true;
    }
    return false;
}

static void access(enum kind kind, bool user) {
    static void (*const codes[KINDS])(void) = {user_read, user_write, user_fetch};
    fault.taken = false;
    if (user) {
        user_run(codes[kind]);
        if (!fault.taken && !(trap_was(TRAP_GP) && *(const uint8_t *)last_trap.rip == OPCODE_INT3)) {
            fault.taken = true; // something else: told by its error code
            fault.error = ~0ull;
        }
    } else if (kind == FETCH) {
        kernel_fetch();
    } else if (kind == WRITE) {
        __asm__ volatile (GUARD("movb %1, (%0)") : : "r" (TARGET), "q" ((uint8_t)OPCODE_RET) : "memory");
    } else {
        uint8_t byte;
        __asm__ volatile (GUARD("movb (%1), %0") : "=q" (byte) : "r" (TARGET) : "memory");
    }
}

struct mode {
    bool wp, nxe;
};

// What the entries say, as the manual has it. `pte` counts unless the PDE maps 2 MiB.
static bool allowed(uint64_t pde, uint64_t pte, enum kind kind, bool user, struct mode mode, uint64_t *error,
    uint64_t *due_pde, uint64_t *due_pte) {
    bool large = pde & PTE_LARGE;
    uint64_t reserved = PTE_BIT51 | (mode.nxe ? 0 : PTE_NX);
    *error = (kind == WRITE ? PF_WRITE : 0) | (user ? PF_USER : 0) | (kind == FETCH && mode.nxe ? PF_FETCH : 0);
    *due_pde = pde;
    *due_pte = pte;
    if (!(pde & PTE_PRESENT)) {
        return false;
    }
    *error |= PF_PRESENT;
    if (pde & (reserved | (large ? PDE_BIT13 : 0))) {
        *error |= PF_RESERVED;
        return false;
    }
    uint64_t both = pde, nx = pde;
    if (!large) {
        if (!(pte & PTE_PRESENT)) {
            *error &= ~(uint64_t)PF_PRESENT;
            return false;
        }
        if (pte & reserved) {
            *error |= PF_RESERVED;
            return false;
        }
        both &= pte;
        nx |= pte;
    }
    bool good = (!user || (both & PTE_USER)) && !(kind == FETCH && (nx & PTE_NX)) &&
        (kind != WRITE || (both & PTE_WRITE) || (!user && !mode.wp));
    if (good) {
        uint64_t dirty = kind == WRITE ? PTE_DIRTY : 0;
        *due_pde |= PTE_ACCESSED | (large ? dirty : 0);
        *due_pte |= large ? 0 : PTE_ACCESSED | dirty;
    }
    return good;
}

static unsigned tried, wrong;
static bool tcg;

static void try(uint64_t pde, uint64_t pte, struct mode mode) {
    for (unsigned i = 0; i < 2 * KINDS; i++) {
        enum kind kind = i % KINDS;
        bool user = i >= KINDS;
        uint64_t error, due_pde, due_pte;
        pd[0] = pde;
        pt[0] = pte;
        invlpg((const void *)TARGET);
        bool good = allowed(pde, pte, kind, user, mode, &error, &due_pde, &due_pte);
        access(kind, user);
        // An access that faults may have set A of the directory's entry on the way.
        bool entries = pt[0] == due_pte && (pd[0] == due_pde || (!good && pd[0] == (due_pde | PTE_ACCESSED)));
        if (tcg && (error & PF_RESERVED)) {
            error &= ~(uint64_t)PF_PRESENT; // as QEMU has it
        }
        bool right = fault.taken == !good && entries &&
            (good || (fault.error == error && fault.address == (uintptr_t)TARGET));
        tried++;
        if (!right && wrong++ < SHOWN_FAILURES) {
            print("PDE %llx PTE %llx, %s %s, WP %u, NXE %u: fault %u error %llx, due %u error %llx; then %llx %llx\n",
                (unsigned long long)pde, (unsigned long long)pte, user ? "user" : "kernel",
                kind == READ ? "read" : kind == WRITE ? "write" : "fetch", mode.wp, mode.nxe, fault.taken,
                (unsigned long long)fault.error, !good, (unsigned long long)error, (unsigned long long)pd[0],
                (unsigned long long)pt[0]);
        }
    }
}

static uint64_t bits_of(unsigned number, const uint64_t *bits, unsigned count) {
    uint64_t all = 0;
    for (unsigned i = 0; i < count; i++) {
        all |= number >> i & 1 ? bits[i] : 0;
    }
    return all;
}

static void try_all(struct mode mode) {
    static const uint64_t leaf[] = {PTE_PRESENT, PTE_WRITE, PTE_USER, PTE_ACCESSED, PTE_DIRTY, PTE_NX, PTE_BIT51};
    static const uint64_t other[] = {0, PTE_PRESENT, PTE_WRITE, PTE_USER, PTE_ACCESSED, PTE_NX, PTE_BIT51};
    const unsigned all = 1u << sizeof(leaf) / sizeof(leaf[0]);
    uint64_t table = (uintptr_t)pt, open = PTE_PRESENT | PTE_WRITE | PTE_USER;
    for (unsigned i = 0; i < all; i++) {
        for (unsigned flip = 0; flip < sizeof(other) / sizeof(other[0]); flip++) {
            try(table | (open ^ other[flip]), page_address | bits_of(i, leaf, sizeof(leaf) / sizeof(leaf[0])), mode);
        }
        uint64_t pde = page_address | PTE_LARGE | bits_of(i, leaf, sizeof(leaf) / sizeof(leaf[0]));
        try(pde, 0, mode);
        try(pde | PDE_BIT13, 0, mode);
    }
}

int guest_main(void) {
    trap_hook(TRAP_PF, on_page_fault);
    tcg = cpu_is_tcg();
    page_address = ((uintptr_t)page + PAGE_LARGE_BYTES - 1) & ~(uint64_t)(PAGE_LARGE_BYTES - 1);
    *(uint8_t *)page_address = OPCODE_RET;
    boot_pml4[TARGET_SLOT] = (uintptr_t)pdpt | PTE_PRESENT_WRITE_USER;
    pdpt[0] = (uintptr_t)pd | PTE_PRESENT_WRITE_USER;
    uint64_t cr0 = read_cr0(), efer = rdmsr(MSR_EFER);
    for (unsigned i = 0; i < 4; i++) {
        struct mode mode = {i & 1, i & 2};
        write_cr0(mode.wp ? cr0 | CR0_WP : cr0 & ~(uint64_t)CR0_WP);
        wrmsr(MSR_EFER, mode.nxe ? efer | EFER_NXE : efer & ~(uint64_t)EFER_NXE);
        tried = wrong = 0;
        try_all(mode);
        static const char *const names[] = {"WP 0, NXE 0", "WP 1, NXE 0", "WP 0, NXE 1", "WP 1, NXE 1"};
        expect(names[i], wrong == 0, "%u of %u accesses", wrong, tried);
    }
    write_cr0(cr0);
    wrmsr(MSR_EFER, efer);
    return check_end();
}
