// Who owns which physical memory: the monitor's pool, Python's regions, and the
// extents that guests are made of. All calls are the control CPU's (or a starting
// CPU's while the control CPU waits for it): no lock.
#include "cpu/memory.h"

#include "boot/bootinfo.h"
#include "cpu/log.h"
#include "cpu/string.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define LOW_TOP (UINT64_C(1) << 20)
#define LOW_RAM_FIRST UINT64_C(0x8000) // below, firmware and loaders keep things (E820 copies, boot stacks)
#define LOW_RAM_TOP UINT64_C(0xA0000) // the legacy video memory
#define POOL_SIZE (6 * MIB)
#define HEAP_SIZE (16 * MIB)
#define HEAP_SMALL (4 * MIB)
#define DISK_SIZE (2 * MIB)
#define EXEC_SIZE (1 * MIB)
#define SMALL_MACHINE (96 * MIB)
#define POOL_PAGES (POOL_SIZE / PAGE_SIZE)
#define RANGE_MAX 64
#define RANGE_RAM 1

struct range {
    uint64_t base, size;
};

struct region {
    uint64_t base, size;
};

extern char __image_start[], __image_end[];

static struct range free_ranges[RANGE_MAX];
static unsigned free_count;
static uint64_t total_ram;
static struct region pool, heap, disk, exec;
static uint64_t pool_used[POOL_PAGES / 64];
static size_t pool_free;

static uint64_t align_up(uint64_t value, uint64_t alignment) {
    return (value + alignment - 1) & ~(alignment - 1);
}

static void zero(void *at, uint64_t size) {
    uint64_t words = size / 8;
    __asm__ volatile ("rep stosq" : "+D" (at), "+c" (words) : "a" (UINT64_C(0)) : "memory");
}

// ---- The list of free ranges ----

static void range_remove_at(unsigned i) {
    free_count--;
    memmove(&free_ranges[i], &free_ranges[i + 1], (free_count - i) * sizeof(free_ranges[0]));
}

static void range_add(uint64_t base, uint64_t size) {
    unsigned i = 0;
    while (i < free_count && free_ranges[i].base < base) {
        i++;
    }
    if (i > 0 && free_ranges[i - 1].base + free_ranges[i - 1].size == base) {
        free_ranges[i - 1].size += size;
        if (i < free_count && free_ranges[i - 1].base + free_ranges[i - 1].size == free_ranges[i].base) {
            free_ranges[i - 1].size += free_ranges[i].size;
            range_remove_at(i);
        }
        return;
    }
    if (i < free_count && base + size == free_ranges[i].base) {
        free_ranges[i].base = base;
        free_ranges[i].size += size;
        return;
    }
    if (free_count == RANGE_MAX) {
        log_printf("vipervisor: %lu bytes of memory at %lx are lost: too many ranges\n", size, base);
        return;
    }
    memmove(&free_ranges[i + 1], &free_ranges[i], (free_count - i) * sizeof(free_ranges[0]));
    free_ranges[i] = (struct range) { base, size };
    free_count++;
}

static void range_take(uint64_t base, uint64_t size) {
    uint64_t end = base + size;
    for (unsigned i = 0; i < free_count;) {
        struct range r = free_ranges[i];
        uint64_t r_end = r.base + r.size;
        if (r_end <= base || r.base >= end) {
            i++;
            continue;
        }
        range_remove_at(i);
        if (r.base < base) {
            range_add(r.base, base - r.base);
        }
        if (r_end > end) {
            range_add(end, r_end - end);
        }
        i = 0;
    }
}

// First fit below `top`, from the lowest range on.
static uint64_t range_find(uint64_t size, uint64_t alignment, uint64_t top) {
    for (unsigned i = 0; i < free_count; i++) {
        uint64_t base = align_up(free_ranges[i].base, alignment);
        uint64_t end = free_ranges[i].base + free_ranges[i].size;
        if (base + size <= end && base + size <= top && base != 0) {
            return base;
        }
    }
    return 0;
}

static struct region carve(uint64_t size, const char *what) {
    uint64_t base = range_find(size, LARGE_PAGE_SIZE, 4 * GIB);
    if (base == 0) {
        panic("the machine has too little memory: no %lu KiB below 4 GiB for the %s; "
            "start it with at least 64 MiB", size / 1024, what);
    }
    range_take(base, size);
    return (struct region) { base, size };
}

void memory_init(void) {
    for (uint32_t i = 0; i < bootinfo.range_count; i++) {
        const struct boot_range *r = &bootinfo.ranges[i];
        if (r->type != RANGE_RAM) {
            continue;
        }
        uint64_t base = align_up(r->base, PAGE_SIZE);
        uint64_t end = (r->base + r->size) & ~(PAGE_SIZE - 1);
        if (end <= base) {
            continue;
        }
        total_ram += end - base;
        range_add(base, end - base);
    }
    // A firmware map may overlap itself: what is not RAM wins.
    for (uint32_t i = 0; i < bootinfo.range_count; i++) {
        const struct boot_range *r = &bootinfo.ranges[i];
        if (r->type != RANGE_RAM) {
            uint64_t base = r->base & ~(PAGE_SIZE - 1);
            range_take(base, align_up(r->base + r->size, PAGE_SIZE) - base);
        }
    }
    range_take(0, LOW_TOP);
    uint64_t image = (uintptr_t)__image_start & ~(LARGE_PAGE_SIZE - 1);
    range_take(image, align_up((uintptr_t)__image_end, PAGE_SIZE) - image);
    for (uint32_t i = 0; i < bootinfo.module_count; i++) {
        uint64_t base = bootinfo.modules[i].base & ~(PAGE_SIZE - 1);
        range_take(base, align_up(bootinfo.modules[i].base + bootinfo.modules[i].size, PAGE_SIZE) - base);
    }
    pool = carve(POOL_SIZE, "monitor");
    heap = carve(total_ram < SMALL_MACHINE ? HEAP_SMALL : HEAP_SIZE, "Python heap");
    disk = carve(DISK_SIZE, "RAM disk");
    exec = carve(EXEC_SIZE, "native code");
    pool_free = POOL_PAGES;
}

uint64_t memory_place(uint64_t size) {
    size = align_up(size, PAGE_SIZE);
    uint64_t base = range_find(size, PAGE_SIZE, 4 * GIB);
    if (base != 0) {
        range_take(base, size);
    }
    return base;
}

// The boot module that overlaps this page, or NULL. GRUB places small ones below 1 MiB.
static const struct boot_module *module_at(uint64_t page) {
    for (uint32_t i = 0; i < bootinfo.module_count; i++) {
        const struct boot_module *m = &bootinfo.modules[i];
        if (m->base < page + PAGE_SIZE && m->base + m->size > page) {
            return m;
        }
    }
    return NULL;
}

uint64_t memory_low_page(void) {
    for (uint32_t i = 0; i < bootinfo.range_count; i++) {
        const struct boot_range *r = &bootinfo.ranges[i];
        if (r->type != RANGE_RAM || r->base >= LOW_RAM_TOP) {
            continue;
        }
        uint64_t page = align_up(r->base, PAGE_SIZE);
        page = page < LOW_RAM_FIRST ? LOW_RAM_FIRST : page;
        uint64_t end = r->base + r->size < LOW_RAM_TOP ? r->base + r->size : LOW_RAM_TOP;
        for (; page + PAGE_SIZE <= end; page += PAGE_SIZE) {
            if (module_at(page) == NULL) {
                return page;
            }
        }
    }
    return 0;
}

// ---- The monitor's pool ----

static bool pool_is_used(size_t page) {
    return (pool_used[page / 64] >> (page % 64) & 1) != 0;
}

static void pool_mark(size_t first, size_t pages, bool used) {
    for (size_t page = first; page < first + pages; page++) {
        uint64_t bit = UINT64_C(1) << (page % 64);
        pool_used[page / 64] = used ? pool_used[page / 64] | bit : pool_used[page / 64] & ~bit;
    }
    pool_free = used ? pool_free - pages : pool_free + pages;
}

void *page_alloc(size_t pages) {
    size_t run = 0;
    for (size_t page = 0; page < POOL_PAGES; page++) {
        run = pool_is_used(page) ? 0 : run + 1;
        if (run == pages) {
            size_t first = page + 1 - pages;
            pool_mark(first, pages, true);
            void *memory = (void *)(uintptr_t)(pool.base + first * PAGE_SIZE);
            zero(memory, pages * PAGE_SIZE);
            return memory;
        }
    }
    return NULL;
}

void page_free(void *address, size_t pages) {
    uint64_t offset = (uintptr_t)address - pool.base;
    size_t first = offset / PAGE_SIZE;
    if (offset % PAGE_SIZE != 0 || first + pages > POOL_PAGES) {
        panic("page_free of %p, which is not of the pool", address);
    }
    for (size_t page = first; page < first + pages; page++) {
        if (!pool_is_used(page)) {
            panic("page_free of %p, which is free already", address);
        }
    }
    pool_mark(first, pages, false);
}

size_t page_free_count(void) {
    return pool_free;
}

void *stack_alloc(size_t pages) {
    char *memory = page_alloc(pages + 1);
    if (memory == NULL) {
        return NULL;
    }
    paging_unmap_page((uintptr_t)memory);
    return memory + (pages + 1) * PAGE_SIZE;
}

// ---- Extents for guests ----

uint64_t extent_alloc(uint64_t size) {
    if (size == 0 || size % LARGE_PAGE_SIZE != 0) {
        return 0;
    }
    // 1 GiB pages are worth an aligned place when there is one.
    uint64_t base = size >= GIB ? range_find(size, GIB, UINT64_MAX) : 0;
    if (base == 0) {
        base = range_find(size, LARGE_PAGE_SIZE, UINT64_MAX);
    }
    if (base != 0) {
        range_take(base, size);
        zero(guest_alias(base), size);
    }
    return base;
}

void extent_free(uint64_t base, uint64_t size) {
    range_add(base, size);
}

uint64_t extent_free_bytes(void) {
    uint64_t bytes = 0;
    for (unsigned i = 0; i < free_count; i++) {
        uint64_t base = align_up(free_ranges[i].base, LARGE_PAGE_SIZE);
        uint64_t end = (free_ranges[i].base + free_ranges[i].size) & ~(LARGE_PAGE_SIZE - 1);
        bytes += end > base ? end - base : 0;
    }
    return bytes;
}

uint64_t extent_free_largest(void) {
    uint64_t largest = 0;
    for (unsigned i = 0; i < free_count; i++) {
        uint64_t base = align_up(free_ranges[i].base, LARGE_PAGE_SIZE);
        uint64_t end = (free_ranges[i].base + free_ranges[i].size) & ~(LARGE_PAGE_SIZE - 1);
        if (end > base && end - base > largest) {
            largest = end - base;
        }
    }
    return largest;
}

// ---- Regions ----

static void *region_get(const struct region *r, size_t *size) {
    *size = r->size;
    return (void *)(uintptr_t)r->base;
}

void *heap_region(size_t *size) {
    return region_get(&heap, size);
}

void *disk_region(size_t *size) {
    return region_get(&disk, size);
}

void *exec_pool(size_t *size) {
    return region_get(&exec, size);
}

void *pool_region(size_t *size) {
    return region_get(&pool, size);
}

uint64_t memory_total(void) {
    return total_ram;
}

uint64_t memory_monitor(void) {
    return pool.size + exec.size + (uint64_t)(__image_end - __image_start);
}
