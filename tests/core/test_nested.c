// sources: hypervisor/virt/nested.c
// Nested tables in both formats: each call against a flat map of 4 KiB pages, and no
// table lost.
#include <stdlib.h>

#include "check.h"
#include "cpu/err.h"
#include "cpu/memory.h"
#include "pages.h"
#include "virt/nested.h"

#define NX (UINT64_C(1) << 63)
// P W U A; leaves D too. NX is the absence of execution.
static const struct nested_format npt = {
    .table = 0x27, .leaf_rwx = 0x67, .leaf_rx = 0x65, .leaf_r = 0x65 | NX, .leaf_large = 0x80,
    .leaf_uncached = 0x18, .memory_type = 0x18, .present_mask = 1, .writable = 2, .accessed = 0x20, .dirty = 0x40,
};
// R W X, write-back (6) and IPAT.
static const struct nested_format ept = {
    .table = 7, .leaf_rwx = 0x77, .leaf_rx = 0x75, .leaf_r = 0x71, .leaf_large = 0x80, .leaf_uncached = 0x40,
    .memory_type = 0x78, .present_mask = 7, .writable = 2, .executable = 4,
};
enum { RWX = NESTED_R | NESTED_W | NESTED_X };
#define MIB UINT64_C(0x100000)
#define GIB UINT64_C(0x40000000)
#define ADDRESS UINT64_C(0x000FFFFFFFFFF000)

// Where gpa leads by a leaf's own address, and what page size.
static uint64_t translate(const struct nested_format *f, uint64_t root, uint64_t gpa, int *level) {
    uint64_t e = nested_lookup(f, root, gpa, level);
    if (!e) {
        return 0;
    }
    uint64_t size = *level == 1 ? PAGE_SIZE : *level == 2 ? LARGE_PAGE_SIZE : HUGE_PAGE_SIZE;
    return (e & ADDRESS & -size) + (gpa & (size - 1));
}

static void expect(const struct nested_format *f, uint64_t root, const char *name, uint64_t gpa, uint64_t hpa,
    int level) {
    int got_level;
    uint64_t got = translate(f, root, gpa, &got_level);
    check(got == hpa && got_level == level, name, "%s: %#" PRIx64 " at level %d, want %#" PRIx64 " at %d",
        f == &npt ? "npt" : "ept", got, got_level, hpa, level);
}

static void test_format(const struct nested_format *f) {
    int level;
    pages_out = 0;
    uint64_t root = nested_create(f);
    check(root && pages_out == 1, "create: one empty table", "%d pages", pages_out);
    expect(f, root, "empty: nothing mapped", 0x1000, 0, 0);

    check(nested_map(f, root, 0, 0x80000000, 640 << 10, RWX, true) == 0, "map: 640 KiB", "-");
    expect(f, root, "map: 4 KiB pages", 0x9F123, 0x8009F123, 1);
    expect(f, root, "map: ends where told", 0xA0000, 0, 0);
    check(nested_map(f, root, 0xC0000, 0x800C0000, 256 * MIB - 0xC0000, RWX, true) == 0, "map: the rest", "-");
    expect(f, root, "map: 4 KiB up to the first 2 MiB edge", 0x1FFFFF, 0x801FFFFF, 1);
    expect(f, root, "map: 2 MiB from there", 0x200000, 0x80200000, 2);
    check((nested_lookup(f, root, 0x200000, &level) & ~ADDRESS) == (f->leaf_rwx | f->leaf_large),
        "map: bits of a large leaf", "%#" PRIx64, nested_lookup(f, root, 0x200000, &level));
    check((nested_lookup(f, root, 0x1000, &level) & ~ADDRESS) == f->leaf_rwx, "map: bits of a small leaf", "%#" PRIx64,
        nested_lookup(f, root, 0x1000, &level));
    check(nested_map(f, root, 4 * GIB, 8 * GIB, 2 * GIB + 2 * MIB + 0x1000, RWX, true) == 0, "map: big", "-");
    expect(f, root, "map: 1 GiB", 5 * GIB + 5, 9 * GIB + 5, 3);
    expect(f, root, "map: 2 MiB after it", 6 * GIB + 5, 10 * GIB + 5, 2);
    expect(f, root, "map: 4 KiB after it", 6 * GIB + 2 * MIB + 5, 10 * GIB + 2 * MIB + 5, 1);
    check(nested_map(f, root, 16 * GIB, 32 * GIB, GIB, RWX, false) == 0, "map: 1 GiB without such pages", "-");
    expect(f, root, "map: by 2 MiB", 16 * GIB + 3 * MIB, 32 * GIB + 3 * MIB, 2);
    check(nested_map(f, root, 20 * GIB, 32 * GIB + 0x1000, 4 * MIB, RWX, true) == 0, "map: addresses out of step", "-");
    expect(f, root, "map: only 4 KiB fit", 20 * GIB + 2 * MIB, 32 * GIB + 2 * MIB + 0x1000, 1);

    int before = pages_out;
    check(nested_map(f, root, 4 * GIB - 0x1000, GIB, 0x2000, RWX, true) == -EEXIST, "map: -EEXIST at the end", "-");
    expect(f, root, "map: -EEXIST maps nothing", 4 * GIB - 0x1000, 0, 0);
    check(nested_map(f, root, 5 * GIB + 0x5000, GIB, 0x1000, RWX, true) == -EEXIST, "map: -EEXIST within 1 GiB", "-");
    check(nested_map(f, root, 0, GIB, 64 * GIB, RWX, true) == -EEXIST, "map: -EEXIST within the range", "-");
    check(pages_out == before, "map: -EEXIST makes no table", "%d pages more", pages_out - before);
    check(nested_map(f, root, 0x800, GIB, 0x1000, RWX, true) == -EINVAL
        && nested_map(f, root, GIB, 0x800, 0x1000, RWX, true) == -EINVAL
        && nested_map(f, root, GIB, GIB, 0, RWX, true) == -EINVAL
        && nested_map(f, root, UINT64_C(1) << 48, GIB, 0x1000, RWX, true) == -EINVAL
        && nested_map(f, root, GIB, GIB, UINT64_MAX & ADDRESS, RWX, true) == -EINVAL
        && nested_map(f, root, GIB, GIB, 0x1000, NESTED_W, true) == -EINVAL, "map: bad arguments", "-");

    check(nested_map(f, root, 2 * GIB, GIB, 0x1000, NESTED_R, true) == 0
        && nested_map(f, root, 2 * GIB + 0x1000, GIB, 0x1000, NESTED_R | NESTED_X, true) == 0
        && nested_map(f, root, 2 * GIB + 0x2000, GIB, 0x1000, NESTED_R | NESTED_W | NESTED_UC, true) == 0,
        "map: other accesses", "-");
    check((nested_lookup(f, root, 2 * GIB, &level) & ~ADDRESS) == f->leaf_r, "map: read-only", "-");
    check((nested_lookup(f, root, 2 * GIB + 0x1000, &level) & ~ADDRESS) == f->leaf_rx, "map: read and execute", "-");
    check((nested_lookup(f, root, 2 * GIB + 0x2000, &level) & f->memory_type) == f->leaf_uncached, "map: uncached",
        "%#" PRIx64, nested_lookup(f, root, 2 * GIB + 0x2000, &level));

    check(nested_unmap(f, root, 5 * GIB + 0x201000, 0x1000) == 0, "unmap: one page of a 1 GiB leaf", "-");
    expect(f, root, "unmap: gone", 5 * GIB + 0x201FFF, 0, 0);
    expect(f, root, "unmap: neighbour below stays", 5 * GIB + 0x200FFF, 9 * GIB + 0x200FFF, 1);
    expect(f, root, "unmap: neighbour above stays", 5 * GIB + 0x202000, 9 * GIB + 0x202000, 1);
    expect(f, root, "unmap: the 2 MiB page below stays whole", 5 * GIB + 5, 9 * GIB + 5, 2);
    check((nested_lookup(f, root, 5 * GIB + 0x202000, &level) & ~ADDRESS) == f->leaf_rwx
        && (nested_lookup(f, root, 5 * GIB, &level) & ~ADDRESS) == (f->leaf_rwx | f->leaf_large),
        "unmap: a split keeps the leaves' bits", "-");
    expect(f, root, "unmap: the GiB beside stays whole", 4 * GIB + 5, 8 * GIB + 5, 3);
    check(nested_map(f, root, 5 * GIB + 0x201000, 0x7000, 0x1000, RWX, true) == 0, "map: into the gap", "-");
    expect(f, root, "map: into the gap, there", 5 * GIB + 0x201008, 0x7008, 1);
    check(nested_unmap(f, root, 4 * GIB, 2 * GIB + 4 * MIB) == 0, "unmap: all of it and more", "-");
    expect(f, root, "unmap: all gone", 5 * GIB, 0, 0);
    check(nested_map(f, root, 4 * GIB, 8 * GIB, 2 * GIB, RWX, true) == 0, "map: again, tables were given back", "-");
    expect(f, root, "map: again by 1 GiB", 5 * GIB + 5, 9 * GIB + 5, 3);
    check(nested_unmap(f, root, 30 * GIB, GIB) == 0, "unmap: nothing there", "-");
    check(nested_unmap(f, root, 30 * GIB, 1) == -EINVAL, "unmap: bad arguments", "-");

    // Every possible failure of an allocation leaves what was there.
    for (int limit = 0; limit < 8; limit++) {
        before = pages_out;
        pages_left = limit;
        int result = nested_map(f, root, 100 * GIB - 0x1000, 3 * GIB - 0x1000, 4 * MIB, RWX, true);
        pages_left = -1;
        if (!result) {
            check(limit > 3, "no memory: it needs several tables", "only %d", limit);
            nested_unmap(f, root, 100 * GIB - 0x1000, 4 * MIB);
            check(pages_out == before, "no memory: all given back in the end", "%d lost", pages_out - before);
            break;
        }
        uint64_t at = nested_lookup(f, root, 100 * GIB - 0x1000, &level)
            | nested_lookup(f, root, 100 * GIB, &level);
        check(result == -ENOMEM && !at && pages_out == before, "no memory: nothing mapped, nothing lost",
            "after %d: result %d, %d pages lost", limit, result, pages_out - before);
    }
    pages_left = 0;
    check(nested_unmap(f, root, 4 * GIB + 0x1000, 0x1000) == -ENOMEM, "no memory: a split fails", "-");
    pages_left = -1;
    expect(f, root, "no memory: the page stays", 4 * GIB + 0x1000, 8 * GIB + 0x1000, 3);

    nested_destroy(f, root);
    check(pages_out == 0, "destroy: every table given back", "%d lost", pages_out);
}

static uint64_t seed = 0x2545F4914F6CDD1D;
static uint64_t random64(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

// Random maps and unmaps over 2,048 units of space against a flat array.
static void test_random(const struct nested_format *f, const char *name, uint64_t unit) {
    enum { UNITS = 2048 };
    static uint64_t flat[UNITS];
    memset(flat, 0, sizeof(flat));
    pages_out = 0;
    uint64_t root = nested_create(f);
    const uint64_t base = 3 * GIB;
    for (int n = 0; n < 2000; n++) {
        uint64_t first = random64() % UNITS;
        uint64_t count = random64() % (n % 3 ? 64 : 1200) + 1;
        count = first + count > UNITS ? UNITS - first : count;
        bool in_step = random64() % 2;
        int result, want = 0;
        if (random64() % 2) {
            uint64_t hpa = in_step ? 64 * GIB + first * unit : 16 * GIB + random64() % UNITS * unit;
            for (uint64_t i = 0; i < count; i++) {
                want = flat[first + i] ? -EEXIST : want;
            }
            result = nested_map(f, root, base + first * unit, hpa, count * unit, RWX, random64() % 2);
            for (uint64_t i = 0; i < count && !want; i++) {
                flat[first + i] = hpa + i * unit;
            }
        } else {
            result = nested_unmap(f, root, base + first * unit, count * unit);
            memset(&flat[first], 0, count * sizeof(*flat));
        }
        for (uint64_t i = 0; i < UNITS && result == want; i++) {
            int level;
            uint64_t offset = random64() % unit;
            uint64_t got = translate(f, root, base + i * unit + offset, &level);
            if (got != (flat[i] ? flat[i] + offset : 0)) {
                result = 1000;
            }
        }
        if (result != want) {
            check(false, name, "step %d: result %d, want %d (1000: a wrong translation)", n, result, want);
            return;
        }
    }
    nested_unmap(f, root, base, UNITS * unit);
    check(pages_out == 1, name, "%d tables stay after all is unmapped", pages_out);
    nested_destroy(f, root);
}

CASE(npt_calls_one_by_one) {
    test_format(&npt);
}

CASE(ept_calls_one_by_one) {
    test_format(&ept);
}

CASE(random_edits_by_4_kib) {
    test_random(&npt, "npt", 0x1000);
}

CASE(random_edits_by_2_mib) {
    test_random(&ept, "ept", 0x200000);
}
