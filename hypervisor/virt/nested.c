// Nested page tables: four levels of 512 entries, the same shape in NPT (APM volume 2,
// 15.25) and EPT (SDM 3C 28.3); only the bits differ, and struct nested_format has
// those.
//
// Tables come from the monitor's pool, where physical and virtual addresses agree. An
// entry is written once, whole, so a CPU that walks meanwhile sees the old or the new
// one. Flushing is the caller's: bump the guest's generation after each edit.
#include "virt/nested.h"

#include <stdbool.h>
#include <stddef.h>

#include "cpu/err.h"
#include "cpu/memory.h"

#define TABLE_ENTRIES 512
#define TABLE_BITS 9
#define TOP_LEVEL 4
#define HUGE_LEVEL 3 // 1 GiB
#define LARGE_LEVEL 2 // 2 MiB
#define NESTED_ADDRESS UINT64_C(0x000FFFFFFFFFF000)
#define GPA_END (UINT64_C(1) << 48)
#define HPA_END (UINT64_C(1) << 52)

static uint64_t span(int level) {
    return PAGE_SIZE << TABLE_BITS * (level - 1);
}

static uint64_t *table_at(uint64_t pa) {
    return (uint64_t *)(uintptr_t)(pa & NESTED_ADDRESS);
}

static uint64_t *entry_of(uint64_t *table, uint64_t gpa, int level) {
    return &table[gpa / span(level) % TABLE_ENTRIES];
}

static bool present(const struct nested_format *f, uint64_t entry) {
    return entry & f->present_mask;
}

static bool is_leaf(const struct nested_format *f, uint64_t entry, int level) {
    return level == 1 || (entry & f->leaf_large);
}

static void set_entry(uint64_t *at, uint64_t entry) {
    __atomic_store_n(at, entry, __ATOMIC_RELEASE);
}

static bool aligned(uint64_t address) {
    return !(address & (PAGE_SIZE - 1));
}

static bool valid_range(uint64_t base, uint64_t size, uint64_t end) {
    return aligned(base) && aligned(size) && size && size <= end && base <= end - size;
}

uint64_t nested_create(const struct nested_format *f) {
    (void)f;
    return (uint64_t)(uintptr_t)page_alloc(1);
}

static void free_table(const struct nested_format *f, uint64_t *table, int level) {
    for (int i = 0; i < TABLE_ENTRIES && level > 1; i++) {
        if (present(f, table[i]) && !is_leaf(f, table[i], level)) {
            free_table(f, table_at(table[i]), level - 1);
        }
    }
    page_free(table, 1);
}

void nested_destroy(const struct nested_format *f, uint64_t root) {
    if (root) {
        free_table(f, table_at(root), TOP_LEVEL);
    }
}

uint64_t nested_lookup(const struct nested_format *f, uint64_t root, uint64_t gpa, int *level) {
    uint64_t *table = table_at(root);
    for (int l = TOP_LEVEL; gpa < GPA_END && l >= 1; l--) {
        uint64_t entry = *entry_of(table, gpa, l);
        if (!present(f, entry)) {
            break;
        }
        if (is_leaf(f, entry, l)) {
            *level = l;
            return entry;
        }
        table = table_at(entry);
    }
    *level = 0;
    return 0;
}

// First mapped address in [gpa, end), or `end`. Skips what an absent entry covers.
static uint64_t first_mapped(const struct nested_format *f, uint64_t root, uint64_t gpa, uint64_t end) {
    while (gpa < end) {
        uint64_t *table = table_at(root);
        int level = TOP_LEVEL;
        uint64_t entry = *entry_of(table, gpa, level);
        while (present(f, entry) && !is_leaf(f, entry, level)) {
            table = table_at(entry);
            level--;
            entry = *entry_of(table, gpa, level);
        }
        if (present(f, entry)) {
            return gpa;
        }
        gpa = (gpa & ~(span(level) - 1)) + span(level);
    }
    return end;
}

// Replaces a large leaf by a table of smaller ones that map the same.
static int split(const struct nested_format *f, uint64_t *at, int level) {
    uint64_t *table = page_alloc(1);
    if (!table) {
        return -ENOMEM;
    }
    uint64_t leaf = level - 1 == 1 ? *at & ~f->leaf_large : *at;
    for (uint64_t i = 0; i < TABLE_ENTRIES; i++) {
        table[i] = leaf + i * span(level - 1);
    }
    set_entry(at, (uint64_t)(uintptr_t)table | f->table);
    return 0;
}

// Makes `gpa` the edge of a page, by splitting the large page around it if any.
static int split_at(const struct nested_format *f, uint64_t root, uint64_t gpa) {
    uint64_t *table = table_at(root);
    for (int level = TOP_LEVEL; gpa < GPA_END && gpa % span(level); level--) {
        uint64_t *at = entry_of(table, gpa, level);
        if (!present(f, *at)) {
            return 0;
        }
        if (is_leaf(f, *at, level)) {
            int result = split(f, at, level);
            if (result) {
                return result;
            }
        }
        table = table_at(*at);
    }
    return 0;
}

// Clears all leaves of [gpa, end) below `table`, whose first entry maps `base`; the
// edges lie between pages. Frees tables that become empty. True: this one is empty.
static bool clear(const struct nested_format *f, uint64_t *table, int level, uint64_t base, uint64_t gpa,
    uint64_t end) {
    bool empty = true;
    for (uint64_t i = 0; i < TABLE_ENTRIES; i++) {
        uint64_t first = base + i * span(level);
        uint64_t last = first + span(level);
        if (!present(f, table[i])) {
            continue;
        }
        if (last > gpa && first < end) {
            if (is_leaf(f, table[i], level)) {
                set_entry(&table[i], 0);
                continue;
            }
            uint64_t *below = table_at(table[i]);
            if (clear(f, below, level - 1, first, gpa, end)) {
                set_entry(&table[i], 0);
                page_free(below, 1);
                continue;
            }
        }
        empty = false;
    }
    return empty;
}

int nested_unmap(const struct nested_format *f, uint64_t root, uint64_t gpa, uint64_t size) {
    if (!valid_range(gpa, size, GPA_END)) {
        return -EINVAL;
    }
    int result = split_at(f, root, gpa);
    if (!result) {
        result = split_at(f, root, gpa + size);
    }
    if (!result) {
        clear(f, table_at(root), TOP_LEVEL, 0, gpa, gpa + size);
    }
    return result;
}

// One page of the given level, making the tables above it. Nothing is mapped there;
// a table left at that level by its neighbours makes the page too large: -EBUSY.
static int map_page(const struct nested_format *f, uint64_t root, uint64_t gpa, uint64_t leaf, int level) {
    uint64_t *table = table_at(root);
    for (int l = TOP_LEVEL; l > level; l--) {
        uint64_t *at = entry_of(table, gpa, l);
        if (!present(f, *at)) {
            uint64_t *below = page_alloc(1);
            if (!below) {
                return -ENOMEM;
            }
            set_entry(at, (uint64_t)(uintptr_t)below | f->table);
        }
        table = table_at(*at);
    }
    uint64_t *at = entry_of(table, gpa, level);
    if (present(f, *at)) {
        return -EBUSY;
    }
    set_entry(at, leaf | (level > 1 ? f->leaf_large : 0));
    return 0;
}

// The bits of a leaf that maps with `access`; 0: no such leaf.
static uint64_t leaf_bits(const struct nested_format *f, uint32_t access) {
    uint64_t bits;
    switch (access & ~(uint32_t)NESTED_UC) {
    case NESTED_R | NESTED_W | NESTED_X:
    case NESTED_R | NESTED_W:
        bits = f->leaf_rwx;
        break;
    case NESTED_R | NESTED_X:
        bits = f->leaf_rx;
        break;
    case NESTED_R:
        bits = f->leaf_r;
        break;
    default:
        return 0;
    }
    if (access & NESTED_UC) {
        bits = f->memory_type ? (bits & ~f->memory_type) | f->leaf_uncached : 0;
    }
    return bits;
}

int nested_map(const struct nested_format *f, uint64_t root, uint64_t gpa, uint64_t hpa, uint64_t size,
    uint32_t access, bool large_1g) {
    uint64_t bits = leaf_bits(f, access);
    if (!bits || !valid_range(gpa, size, GPA_END) || !valid_range(hpa, size, HPA_END)) {
        return -EINVAL;
    }
    if (first_mapped(f, root, gpa, gpa + size) != gpa + size) {
        return -EEXIST;
    }
    for (uint64_t done = 0; done < size;) {
        int level = large_1g ? HUGE_LEVEL : LARGE_LEVEL;
        uint64_t both = (gpa + done) | (hpa + done);
        while (level > 1 && (both % span(level) || size - done < span(level))) {
            level--;
        }
        int result = map_page(f, root, gpa + done, (hpa + done) | bits, level);
        while (result == -EBUSY && level > 1) {
            level--;
            result = map_page(f, root, gpa + done, (hpa + done) | bits, level);
        }
        if (result) {
            // All or nothing: what is mapped so far ends between two pages, and tables
            // made for the page that failed are empty and go with it.
            clear(f, table_at(root), TOP_LEVEL, 0, gpa, gpa + size);
            return result;
        }
        done += span(level);
    }
    return 0;
}
