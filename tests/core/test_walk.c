// sources: hypervisor/virt/walk.c
// Guest page walks: cases from the manual one by one, then random tables against a
// second implementation that follows the manual's tables mode by mode.

#include "check.h"
#include "virt/decode.h"
#include "cpu/err.h"

// Two pieces of guest RAM: low, and above 4 GiB for PAE, PSE-36 and 4 levels.
#define LOW_SIZE 0x40000u
#define HIGH_BASE UINT64_C(0x500000000)
#define HIGH_SIZE 0x10000u
static _Alignas(4096) uint8_t low[LOW_SIZE], high[HIGH_SIZE];
static struct guest guest;
static int writes;
static int race_after = -1; // guest_write_ptr changes the entry first, this many times
static uint64_t race_flip;

const struct vcpu_ops *virt;
struct virt_caps virt_caps;

static uint8_t *ram(uint64_t gpa, size_t *available) {
    if (gpa < LOW_SIZE) {
        *available = LOW_SIZE - gpa;
        return low + gpa;
    }
    if (gpa >= HIGH_BASE && gpa < HIGH_BASE + HIGH_SIZE) {
        *available = HIGH_BASE + HIGH_SIZE - gpa;
        return high + (gpa - HIGH_BASE);
    }
    return NULL;
}

const void *guest_read_ptr(struct guest *g, uint64_t gpa, size_t *available) {
    (void)g;
    return ram(gpa, available);
}

void *guest_write_ptr(struct guest *g, uint64_t gpa, size_t *available) {
    (void)g;
    uint8_t *at = ram(gpa, available);
    writes++;
    if (at && race_after > 0) {
        race_after--;
        *(uint64_t *)at ^= race_flip;
    }
    return at;
}

enum {
    P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80,
};
#define XD (UINT64_C(1) << 63)
#define CR0_PAGING UINT64_C(0x80010001) // PG, WP, PE
#define CR0_PAGING_NO_WP UINT64_C(0x80000001)
#define CR4_PSE UINT64_C(0x10)
#define CR4_PAE UINT64_C(0x20)
#define CR4_LA57 UINT64_C(0x1000)
#define CR4_SMEP UINT64_C(0x100000)
#define CR4_SMAP UINT64_C(0x200000)
#define EFER_LONG UINT64_C(0x500)
#define EFER_NXE UINT64_C(0x800)
#define RFLAGS_AC UINT64_C(0x40000)

static void put64(uint64_t gpa, uint64_t value) {
    size_t n;
    memcpy(ram(gpa, &n), &value, 8);
}

static uint64_t get64(uint64_t gpa) {
    size_t n;
    uint64_t value;
    memcpy(&value, ram(gpa, &n), 8);
    return value;
}

static void put32(uint64_t gpa, uint32_t value) {
    size_t n;
    memcpy(ram(gpa, &n), &value, 4);
}

static uint32_t get32(uint64_t gpa) {
    size_t n;
    uint32_t value;
    memcpy(&value, ram(gpa, &n), 4);
    return value;
}

static void clear_ram(void) {
    memset(low, 0, sizeof(low));
    memset(high, 0, sizeof(high));
}

static struct walk_context context(uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer) {
    return (struct walk_context){.guest = &guest, .cr0 = cr0, .cr3 = cr3, .cr4 = cr4, .efer = efer,
        .phys_bits = 40};
}

static void expect(const char *name, const struct walk_context *c, uint64_t gva, uint32_t access, uint64_t want) {
    uint64_t gpa = 0;
    struct walk_fault fault;
    int result = guest_walk(c, gva, access, true, &gpa, &fault, NULL, NULL);
    check(!result && gpa == want, name, "result %d gpa %#" PRIx64 " want %#" PRIx64 " error %#x", result, gpa,
        want, fault.error);
}

static void expect_fault(const char *name, const struct walk_context *c, uint64_t gva, uint32_t access,
    uint32_t error) {
    uint64_t gpa = 0;
    struct walk_fault fault;
    int result = guest_walk(c, gva, access, true, &gpa, &fault, NULL, NULL);
    check(result == -EFAULT && fault.error == error && fault.address == gva && !fault.hole
        && !fault.non_canonical, name, "result %d error %#x want %#x hole %d", result, fault.error, error,
        fault.hole);
}

enum { R = ACCESS_READ, WR = ACCESS_WRITE, X = ACCESS_FETCH, USER = ACCESS_USER };

CASE(paging_off) {
    struct walk_context c = context(1, 0, 0, 0);
    expect("off: identity", &c, 0x12345, R, 0x12345);
    expect("off: wraps at 4 GiB", &c, UINT64_C(0x100000010), R, 0x10);
}

CASE(paging_32_bit) {
    clear_ram();
    struct walk_context c = context(CR0_PAGING, 0x1000, CR4_PSE, 0);
    put32(0x1000 + 4 * 1, 0x2000 | P | W | U);
    put32(0x2000 + 4 * 2, 0x7000 | P | W | U);
    expect("32-bit: 4 KiB", &c, 0x402123, R | USER, 0x7123);
    check(get32(0x1004) == (0x2000 | P | W | U | A), "32-bit: PDE accessed", "%#x", get32(0x1004));
    check(get32(0x2008) == (0x7000 | P | W | U | A), "32-bit: PTE accessed only", "%#x", get32(0x2008));
    expect("32-bit: write", &c, 0x402123, WR | USER, 0x7123);
    check(get32(0x2008) == (0x7000 | P | W | U | A | D), "32-bit: PTE dirty", "%#x", get32(0x2008));
    check(get32(0x1004) == (0x2000 | P | W | U | A), "32-bit: PDE never dirty", "%#x", get32(0x1004));
    put32(0x1000 + 4 * 2, 0x00C00000 | P | W | PS);
    expect("32-bit: 4 MiB", &c, 0x800000 + 0x3ABCDE, WR, 0xC00000 + 0x3ABCDE);
    check(get32(0x1008) == (0x00C00000 | P | W | PS | A | D), "32-bit: 4 MiB dirty", "%#x", get32(0x1008));
    put32(0x1000 + 4 * 3, 0x00C00000 | 5 << 13 | P | W | PS);
    expect("32-bit: PSE-36", &c, 0xC00004, R, UINT64_C(0x500C00004));
    put32(0x1000 + 4 * 4, 0x00C00000 | 1 << 21 | P | W | PS);
    expect_fault("32-bit: bit 21 is reserved", &c, 0x1000000, R, 9);
    c.phys_bits = 36;
    put32(0x1000 + 4 * 5, 0x00C00000 | 1 << 17 | P | W | PS);
    expect_fault("32-bit: PSE-36 beyond MAXPHYADDR", &c, 0x1400000, R, 9);
    put32(0x1000 + 4 * 5, 0x00C00000 | 1 << 16 | P | W | PS);
    expect("32-bit: PSE-36 last bit of 36", &c, 0x1400000, R, UINT64_C(0x800C00000));
    c.phys_bits = 39;
    put32(0x1000 + 4 * 5, 0x00C00000 | 1 << 20 | P | W | PS);
    expect_fault("32-bit: PSE-36, MAXPHYADDR 39", &c, 0x1400000, R, 9);
    c.cr4 = 0;
    put32(0x1000 + 4 * 6, 0x3000 | P | W | PS);
    put32(0x3000, 0x9000 | P);
    expect("32-bit: PS ignored without PSE", &c, 0x1800010, R, 0x9010);
    expect_fault("32-bit: absent", &c, 0x401000, R | USER, 4);
    expect("32-bit: address wraps", &c, UINT64_C(0xFFFFFFFF00402123), R, 0x7123);
}

CASE(paging_pae) {
    clear_ram();
    struct walk_context c = context(CR0_PAGING, 0x1020, CR4_PAE, EFER_NXE);
    put64(0x1020 + 8 * 3, 0x2000 | P);
    put64(0x2000 + 8 * 1, 0x3000 | P | W | U);
    put64(0x3000 + 8 * 5, HIGH_BASE | P | W | U);
    expect("PAE: 4 KiB", &c, 0xC0205678, R | USER, HIGH_BASE + 0x678);
    check(get64(0x1038) == (0x2000 | P), "PAE: PDPTE untouched", "%#" PRIx64, get64(0x1038));
    check(get64(0x3028) == (HIGH_BASE | P | W | U | A), "PAE: PTE accessed", "%#" PRIx64, get64(0x3028));
    put64(0x2000 + 8 * 2, 0x600000 | P | W | PS | XD);
    expect("PAE: 2 MiB", &c, 0xC0400000 + 0x1FFFFF, R, 0x600000 + 0x1FFFFF);
    expect_fault("PAE: no execute", &c, 0xC0400000, X, 0x11);
    put64(0x2000 + 8 * 3, 0x600000 | P | W | PS | 1 << 13);
    expect_fault("PAE: 2 MiB reserved bit", &c, 0xC0600000, R, 9);
    put64(0x2000 + 8 * 3, 0x600000 | P | W | PS | 1 << 12);
    expect("PAE: 2 MiB PAT bit", &c, 0xC0600000, R, 0x600000);
    put64(0x2000 + 8 * 3, 0x600000 | P | W | PS | UINT64_C(1) << 58);
    expect_fault("PAE: high bits reserved", &c, 0xC0600000, WR, 11);
    put64(0x1020 + 8 * 2, 0x2000 | P | W);
    expect_fault("PAE: PDPTE bit 1 reserved", &c, 0x80205678, R, 9);
    c.efer = 0;
    expect_fault("PAE: XD reserved without NXE", &c, 0xC0400000, R, 9);
    expect_fault("PAE: absent PDPTE, I/D not reported", &c, 0x40000000, X, 0);
}

CASE(paging_4_levels_and_access_rights) {
    clear_ram();
    struct walk_context c = context(CR0_PAGING, 0x1000, CR4_PAE, EFER_LONG | EFER_NXE);
    const uint64_t gva = UINT64_C(0xFFFF800000000000);
    put64(0x1000 + 8 * 256, 0x2000 | P | W | U);
    put64(0x2000, 0x3000 | P | W | U);
    put64(0x3000, 0x4000 | P | W | U);
    put64(0x4000 + 8 * 1, 0x9000 | P | W | U | UINT64_C(1) << 52);
    put64(0x4000 + 8 * 2, 0xA000 | P | U);
    put64(0x4000 + 8 * 3, 0xB000 | P | W | XD);
    put64(0x3000 + 8 * 1, 0x200000 | P | W | PS);
    put64(0x2000 + 8 * 1, 0x40000000 | P | W | PS);
    expect("long: 4 KiB, ignored bit 52", &c, gva + 0x1234, R | USER, 0x9234);
    expect("long: 2 MiB", &c, gva + 0x212345, WR, 0x212345);
    expect("long: 1 GiB", &c, gva + 0x40000000 + 0x23456789, R, 0x40000000 + 0x23456789);
    struct walk_level levels[WALK_LEVELS];
    int count;
    uint64_t gpa;
    struct walk_fault fault;
    guest_walk(&c, gva + 0x1234, R, true, &gpa, &fault, levels, &count);
    check(count == 4 && levels[0].gpa == 0x1800 && levels[3].gpa == 0x4008
        && levels[3].value == get64(0x4008) && levels[0].value == get64(0x1800), "long: levels reported",
        "count %d", count);
    expect_fault("long: user write to read-only", &c, gva + 0x2000, WR | USER, 7);
    expect_fault("long: supervisor write, WP", &c, gva + 0x2000, WR, 3);
    c.cr0 = CR0_PAGING_NO_WP;
    expect("long: supervisor write, no WP", &c, gva + 0x2000, WR, 0xA000);
    check(get64(0x4010) & D, "long: dirty though read-only", "%#" PRIx64, get64(0x4010));
    expect_fault("long: user write ignores WP", &c, gva + 0x2000, WR | USER, 7);
    c.cr0 = CR0_PAGING;
    expect_fault("long: user on supervisor page", &c, gva + 0x3000, R | USER, 5);
    expect_fault("long: fetch from XD", &c, gva + 0x3000, X, 0x11);
    expect("long: supervisor fetch of a user page", &c, gva + 0x1000, X, 0x9000);
    c.cr4 |= CR4_SMEP;
    expect_fault("long: SMEP", &c, gva + 0x1000, X, 0x11);
    c.efer &= ~EFER_NXE;
    put64(0x4000 + 8 * 3, 0xB000 | P | W);
    expect_fault("long: SMEP reports fetch without NXE", &c, gva + 0x4000, X, 0x10);
    c.efer |= EFER_NXE;
    c.cr4 |= CR4_SMAP;
    expect_fault("long: SMAP", &c, gva + 0x1000, R, 1);
    c.rflags = RFLAGS_AC;
    expect("long: SMAP with AC", &c, gva + 0x1000, R, 0x9000);
    c.cpl = 3;
    expect_fault("long: SMAP, implicit access from CPL 3", &c, gva + 0x1000, WR, 3);
    c.cpl = 0;
    c.rflags = 0;
    expect("long: SMAP spares user accesses", &c, gva + 0x1000, R | USER, 0x9000);
    put64(0x1000 + 8 * 257, 0x2000 | P | W | PS);
    expect_fault("long: PS in PML4E", &c, gva + (UINT64_C(1) << 39), R, 9);
    put64(0x4000 + 8 * 5, UINT64_C(1) << 45 | P);
    expect_fault("long: beyond MAXPHYADDR", &c, gva + 0x5000, R | USER, 13);
    expect_fault("long: absent, write", &c, gva + 0x6000, WR | USER, 6);
    int result = guest_walk(&c, UINT64_C(0x0000800000000000), R, true, &gpa, &fault, NULL, NULL);
    check(result == -EFAULT && fault.non_canonical, "long: non-canonical", "result %d", result);
    put64(0x2000 + 8 * 2, 0x80000000 | P | W);
    result = guest_walk(&c, gva + UINT64_C(0x80000000), R, true, &gpa, &fault, NULL, NULL);
    check(result == -EFAULT && fault.hole && fault.hole_gpa == 0x80000000, "long: table in a hole", "result %d",
        result);
    put64(0x4000 + 8 * 7, UINT64_C(0xFEE00000) | P | W);
    expect("long: page in a hole is translated", &c, gva + 0x7030, R, 0xFEE00030);
    put64(0x4000 + 8 * 8, 0x9000 | P | W);
    writes = 0;
    uint64_t before = get64(0x4040);
    result = guest_walk(&c, gva + 0x8000, WR, false, &gpa, &fault, NULL, NULL);
    check(!result && !writes && get64(0x4040) == before, "long: no A/D unless asked", "writes %d", writes);
}

CASE(paging_5_levels) {
    clear_ram();
    struct walk_context c = context(CR0_PAGING, 0x1000, CR4_PAE | CR4_LA57, EFER_LONG | EFER_NXE);
    const uint64_t gva = UINT64_C(0xFF00000000000000);
    put64(0x1000 + 8 * 256, 0x2000 | P | W);
    put64(0x2000, 0x3000 | P | W);
    put64(0x3000, 0x4000 | P | W);
    put64(0x4000, 0x5000 | P | W);
    put64(0x5000 + 8 * 1, 0x9000 | P | W);
    expect("57-bit: 4 KiB", &c, gva + 0x1234, WR, 0x9234);
    struct walk_fault fault;
    uint64_t gpa;
    int result = guest_walk(&c, UINT64_C(0x0100000000000000), R, true, &gpa, &fault, NULL, NULL);
    check(result == -EFAULT && fault.non_canonical, "57-bit: non-canonical", "result %d", result);
}

// Another CPU changes the entry between its read and the compare-exchange.
CASE(entries_changed_by_another_cpu) {
    clear_ram();
    struct walk_context c = context(CR0_PAGING, 0x1000, CR4_PAE, EFER_LONG | EFER_NXE);
    put64(0x1000, 0x2000 | P | W | A);
    put64(0x2000, 0x3000 | P | W | A);
    put64(0x3000, 0x4000 | P | W | A);
    put64(0x4000, 0x8000 | P | W);
    race_after = 1;
    race_flip = 0x1000; // now it maps 0x9000
    expect("race: the new entry counts", &c, 0x10, R, 0x9010);
    check(get64(0x4000) == (0x9000 | P | W | A), "race: no update lost", "%#" PRIx64, get64(0x4000));
    put64(0x4000, 0x8000 | P | W);
    race_after = 1;
    race_flip = P;
    expect_fault("race: entry taken away", &c, 0x10, WR, 2);
    put64(0x4000, 0x8000 | P | W);
    race_after = 1000000;
    race_flip = 0x1000;
    uint64_t gpa;
    struct walk_fault fault;
    int result = guest_walk(&c, 0x10, R, true, &gpa, &fault, NULL, NULL);
    race_after = -1;
    check(result == -EAGAIN, "race: gives up in the end", "result %d", result);
}

// The second implementation. Nothing shared with walk.c: masks spelled out per mode
// from the manual's figures for MAXPHYADDR 40.
struct outcome {
    bool fault, hole;
    uint32_t error;
    uint64_t gpa;
};

static struct outcome model_fault(const struct walk_context *c, uint32_t access, uint32_t error) {
    if (access & WR) {
        error |= 2;
    }
    if (access & USER) {
        error |= 4;
    }
    bool wide = (c->cr4 & CR4_PAE) != 0;
    if ((access & X) && ((c->cr4 & CR4_SMEP) || (wide && (c->efer & EFER_NXE)))) {
        error |= 16;
    }
    return (struct outcome){.fault = true, .error = error};
}

static struct outcome model_rights(const struct walk_context *c, uint32_t access, bool u, bool w, bool xd,
    uint64_t gpa) {
    bool ok = true;
    if (access & USER) {
        ok = u && !((access & WR) && !w) && !((access & X) && xd);
    } else {
        if ((access & X) && xd) {
            ok = false;
        }
        if ((access & X) && u && (c->cr4 & CR4_SMEP)) {
            ok = false;
        }
        if (!(access & X) && u && (c->cr4 & CR4_SMAP) && (!(c->rflags & RFLAGS_AC) || c->cpl == 3)) {
            ok = false;
        }
        if ((access & WR) && !w && (c->cr0 & 0x10000)) {
            ok = false;
        }
    }
    if (!ok) {
        return model_fault(c, access, 1);
    }
    return (struct outcome){.gpa = gpa};
}

static struct outcome model(const struct walk_context *c, uint64_t gva, uint32_t access) {
    size_t n;
    if (!(c->cr4 & CR4_PAE)) {
        uint64_t at = (c->cr3 & 0xFFFFF000) + (gva >> 22 & 0x3FF) * 4;
        if (!ram(at, &n)) {
            return (struct outcome){.hole = true};
        }
        uint32_t pde = get32(at);
        if (!(pde & 1)) {
            return model_fault(c, access, 0);
        }
        if ((pde & 0x80) && (c->cr4 & CR4_PSE)) {
            if (pde & 0x200000) {
                return model_fault(c, access, 9);
            }
            return model_rights(c, access, pde & 4, pde & 2, false,
                (pde & 0xFFC00000u) + ((uint64_t)(pde & 0x1FE000) << 19) + (gva & 0x3FFFFF));
        }
        at = (pde & 0xFFFFF000) + (gva >> 12 & 0x3FF) * 4;
        if (!ram(at, &n)) {
            return (struct outcome){.hole = true};
        }
        uint32_t pte = get32(at);
        if (!(pte & 1)) {
            return model_fault(c, access, 0);
        }
        return model_rights(c, access, pde & pte & 4, pde & pte & 2, false, (pte & 0xFFFFF000) + (gva & 0xFFF));
    }
    bool u = true, w = true, xd = false;
    uint64_t table = c->cr3 & UINT64_C(0xFFFFFFFFFF000);
    uint64_t reserved = UINT64_C(0x000FFF0000000000);
    if (!(c->efer & EFER_NXE)) {
        reserved |= XD;
    }
    int level = c->cr4 & CR4_LA57 ? 5 : 4;
    if (!(c->efer & EFER_LONG)) {
        reserved |= UINT64_C(0x7FF0000000000000);
        uint64_t at = (c->cr3 & 0xFFFFFFE0) + (gva >> 30 & 3) * 8;
        if (!ram(at, &n)) {
            return (struct outcome){.hole = true};
        }
        uint64_t pdpte = get64(at);
        if (!(pdpte & 1)) {
            return model_fault(c, access, 0);
        }
        if (pdpte & (UINT64_C(0x1E6) | UINT64_C(0xFFFFFF0000000000))) {
            return model_fault(c, access, 9);
        }
        table = pdpte & UINT64_C(0xFFFFFFF000);
        level = 2;
    }
    static const uint64_t large_reserved[6] = {0, 0, 0x1FE000, 0x3FFFE000, 0, 0};
    for (;; level--) {
        uint64_t at = table + (gva >> (3 + 9 * level) & 0x1FF) * 8;
        if (!ram(at, &n)) {
            return (struct outcome){.hole = true};
        }
        uint64_t e = get64(at);
        if (!(e & 1)) {
            return model_fault(c, access, 0);
        }
        bool large = (e & 0x80) && level > 1;
        if ((e & reserved) || (large && (level > 3 || (e & large_reserved[level])))) {
            return model_fault(c, access, 9);
        }
        u &= (e & 4) != 0;
        w &= (e & 2) != 0;
        xd |= (e & XD) != 0;
        table = e & UINT64_C(0xFFFFFFFFFF000);
        if (level == 1 || large) {
            uint64_t size = level == 1 ? 0x1000 : level == 2 ? 0x200000 : 0x40000000;
            return model_rights(c, access, u, w, xd, (table & -size) + (gva & (size - 1)));
        }
    }
}

static uint64_t seed = 0x9E3779B97F4A7C15;
static uint64_t random64(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static bool one_in(unsigned n) {
    return random64() % n == 0;
}

static uint64_t random_entry(bool wide) {
    uint64_t e = random64() % (LOW_SIZE / 4096) * 4096;
    e |= one_in(40) ? 0 : P;
    e |= one_in(4) ? 0 : W;
    e |= one_in(4) ? 0 : U;
    e |= one_in(6) ? PS : 0;
    e |= one_in(3) ? A : 0;
    e |= one_in(6) ? D : 0;
    e |= one_in(6) ? 0x1F000 : 0; // may reach reserved bits of large pages
    if (wide) {
        e |= one_in(8) ? XD : 0;
        e |= one_in(30) ? UINT64_C(1) << (40 + random64() % 23) : 0;
        if (one_in(20)) {
            e = HIGH_BASE | (e & 0x800000000000FFFF);
        }
        if (one_in(4)) {
            e &= ~UINT64_C(0x3FFFE000); // a clean large page
        }
    }
    return one_in(50) ? e | 0x10000000 : e; // a hole
}

CASE(random_tables_agree_with_the_model) {
    unsigned seen[4] = {0};
    unsigned tried = 0;
    for (int round = 0; round < 400; round++) {
        bool wide = !one_in(3);
        for (uint32_t at = 0; at < LOW_SIZE; at += 8) {
            uint64_t e = random_entry(wide);
            put64(at, wide ? e : (e & 0xFFFFFFFF) | random_entry(false) << 32);
        }
        for (uint32_t at = 0; at < HIGH_SIZE; at += 8) {
            put64(HIGH_BASE + at, random_entry(wide));
        }
        for (int walk = 0; walk < 500; walk++) {
            struct walk_context c = context(one_in(3) ? CR0_PAGING_NO_WP : CR0_PAGING,
                random64() % (LOW_SIZE / 4096) * 4096, 0, one_in(2) ? EFER_NXE : 0);
            bool long_mode = wide && !one_in(3);
            c.cr4 |= (wide ? CR4_PAE : 0) | (one_in(2) ? CR4_PSE : 0) | (one_in(3) ? CR4_SMEP : 0)
                | (one_in(3) ? CR4_SMAP : 0) | (long_mode && one_in(4) ? CR4_LA57 : 0);
            c.efer |= long_mode ? EFER_LONG : 0;
            c.rflags = one_in(2) ? RFLAGS_AC : 0;
            c.cpl = one_in(3) ? 3 : 0;
            static const uint32_t kinds[] = {R, WR, X, R | USER, WR | USER, X | USER};
            uint32_t access = kinds[random64() % 6];
            uint64_t gva = random64();
            if (long_mode) {
                int unused = c.cr4 & CR4_LA57 ? 7 : 16;
                gva = (uint64_t)((int64_t)(gva << unused) >> unused);
            } else {
                gva = (uint32_t)gva;
            }
            struct outcome want = model(&c, gva, access);
            struct walk_level levels[WALK_LEVELS];
            int count;
            uint64_t gpa = 0;
            struct walk_fault fault;
            int result = guest_walk(&c, gva, access, one_in(2), &gpa, &fault, levels, &count);
            bool same = want.fault || want.hole ? result == -EFAULT && fault.hole == want.hole
                    && (want.hole || fault.error == want.error)
                : result == 0 && gpa == want.gpa;
            seen[want.hole ? 0 : !want.fault ? 1 : want.error & 8 ? 2 : 3]++;
            tried++;
            if (!same) {
                check(false, "random tables against the model",
                    "walk %u: cr3 %#" PRIx64 " cr4 %#" PRIx64 " efer %#" PRIx64 " gva %#" PRIx64
                    " access %u: result %d gpa %#" PRIx64 " error %#x hole %d; model fault %d hole %d error %#x "
                    "gpa %#" PRIx64, tried, c.cr3, c.cr4, c.efer, gva, access, result, gpa, fault.error, fault.hole,
                    want.fault, want.hole, want.error, want.gpa);
                return;
            }
        }
    }
    check(true, "random tables against the model", "-");
    check(seen[0] > 1000 && seen[1] > 1000 && seen[2] > 1000 && seen[3] > 1000, "random walks reach every outcome",
        "holes %u, translated %u, reserved %u, other faults %u", seen[0], seen[1], seen[2], seen[3]);
}
