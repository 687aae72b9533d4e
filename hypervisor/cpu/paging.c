// The monitor's own page tables: W^X for itself, read-only and NX for the rest.
#include <stdbool.h>

#include "boot/bootinfo.h"
#include "cpu/display.h"
#include "cpu/insn.h"
#include "cpu/log.h"
#include "cpu/memory.h"

enum {
    PTE_PRESENT = 1, PTE_WRITE = 2, PTE_WRITE_THROUGH = 8, PTE_UNCACHED = 0x10, PTE_LARGE = 0x80,
    ENTRIES = 512,
    CPUID_PDPE1GB_EDX = 26, // 0x80000001
};
#define PTE_NX (UINT64_C(1) << 63)
#define PTE_ADDRESS UINT64_C(0x000FFFFFFFFFF000)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

#define MAP_RO PTE_NX
#define MAP_RW (PTE_WRITE | PTE_NX)
#define MAP_RX UINT64_C(0)
#define MAP_DEVICE (PTE_WRITE | PTE_NX | PTE_UNCACHED | PTE_WRITE_THROUGH)

extern char __image_start[], __text_end[], __rodata_end[], __image_end[], stack0_guard[];


static uint64_t *root;
static bool pages_1g;

static uint64_t *table_of(uint64_t entry) {
    return (uint64_t *)(uintptr_t)(entry & PTE_ADDRESS);
}

static uint64_t *new_table(void) {
    uint64_t *table = page_alloc(1);
    if (table == NULL) {
        panic("no memory for the monitor's page tables");
    }
    return table;
}

// The table below `entry`, made when absent, split when it is a large page of
// `span` bytes.
static uint64_t *descend(uint64_t *entry, uint64_t span) {
    if ((*entry & PTE_PRESENT) == 0) {
        *entry = (uintptr_t)new_table() | PTE_PRESENT | PTE_WRITE;
    } else if ((*entry & PTE_LARGE) != 0) {
        uint64_t *table = new_table();
        uint64_t small = span / ENTRIES;
        uint64_t bits = *entry & ~PTE_ADDRESS & ~(uint64_t)(small == PAGE_SIZE ? PTE_LARGE : 0);
        for (uint64_t i = 0; i < ENTRIES; i++) {
            table[i] = ((*entry & PTE_ADDRESS) + i * small) | bits;
        }
        *entry = (uintptr_t)table | PTE_PRESENT | PTE_WRITE;
    }
    return table_of(*entry);
}

static unsigned index_of(uint64_t address, int level) {
    return (unsigned)(address >> (12 + 9 * level)) % ENTRIES;
}

// Maps [address, address + size) to [hpa, ...); later calls override earlier ones.
static void map(uint64_t address, uint64_t hpa, uint64_t size, uint64_t flags) {
    uint64_t end = address + size;
    while (address < end) {
        uint64_t *pdpt = descend(&root[index_of(address, 3)], 0);
        uint64_t *e = &pdpt[index_of(address, 2)];
        uint64_t step = PAGE_SIZE;
        if (pages_1g && (address | hpa) % GIB == 0 && end - address >= GIB) {
            step = GIB;
            *e = hpa | flags | PTE_PRESENT | PTE_LARGE;
        } else {
            e = &descend(e, GIB)[index_of(address, 1)];
            if ((address | hpa) % LARGE_PAGE_SIZE == 0 && end - address >= LARGE_PAGE_SIZE) {
                step = LARGE_PAGE_SIZE;
                *e = hpa | flags | PTE_PRESENT | PTE_LARGE;
            } else {
                descend(e, LARGE_PAGE_SIZE)[index_of(address, 0)] = hpa | flags | PTE_PRESENT;
            }
        }
        address += step;
        hpa += step;
    }
}

static void map_self(void *from, const void *to, uint64_t flags) {
    map((uintptr_t)from, (uintptr_t)from, (uintptr_t)to - (uintptr_t)from, flags);
}

static void invalidate(uint64_t address) {
    __asm__ volatile ("invlpg (%0)" : : "r" (address) : "memory");
}

void paging_unmap_page(uint64_t address) {
    uint64_t *pd = descend(&descend(&root[index_of(address, 3)], 0)[index_of(address, 2)], GIB);
    descend(&pd[index_of(address, 1)], LARGE_PAGE_SIZE)[index_of(address, 0)] = 0;
    invalidate(address);
}

uint64_t paging_root(void) {
    return (uintptr_t)root;
}

void paging_init(void) {
    pages_1g = (cpuid(0x80000001, 0).edx >> CPUID_PDPE1GB_EDX & 1) != 0;
    root = new_table();
    // 1. All RAM (and what firmware keeps its tables in): a read-only view, and the
    //    writable alias for what can become a guest's.
    for (uint32_t i = 0; i < bootinfo.range_count; i++) {
        const struct boot_range *r = &bootinfo.ranges[i];
        uint64_t base = r->base & ~(PAGE_SIZE - 1);
        uint64_t end = (r->base + r->size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
        if (base >= GUEST_ALIAS / 2 || end - base > GUEST_ALIAS / 2) {
            continue;
        }
        if (r->type != 1 && end - base > 64 * MIB) {
            continue; // a reserved MMIO window, not memory
        }
        map(base, base, end - base, MAP_RO);
        if (r->type == 1) {
            map(base + GUEST_ALIAS, base, end - base, MAP_RW);
        }
    }
    // 2. Low memory that maps seldom list: BIOS data, ROM, the ACPI tables' anchor.
    map(0x9F000, 0x9F000, 0x100000 - 0x9F000, MAP_RO);
    map(0xB8000, 0xB8000, 0x8000, MAP_DEVICE);
    size_t size;
    uint64_t frame = display_framebuffer(&size);
    if (size != 0) {
        uint64_t first = frame & ~(PAGE_SIZE - 1), end = (frame + size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
        map(first, first, end - first, MAP_DEVICE);
    }
    // 3. The monitor itself, and its regions.
    map_self(__image_start, __text_end, MAP_RX);
    map_self(__text_end, __rodata_end, MAP_RO);
    map_self(__rodata_end, __image_end, MAP_RW);
    char *base = pool_region(&size);
    map_self(base, base + size, MAP_RW);
    base = heap_region(&size);
    map_self(base, base + size, MAP_RW);
    base = disk_region(&size);
    map_self(base, base + size, MAP_RW);
    base = exec_pool(&size);
    map_self(base, base + size, MAP_RX);
    // 4. The page that starts other CPUs.
    uint64_t low = memory_low_page();
    if (low != 0) {
        map(low, low, PAGE_SIZE, MAP_RX);
    }
    // 5. Nothing at address 0, and a guard under the boot stack.
    paging_unmap_page(0);
    paging_unmap_page((uintptr_t)stack0_guard);
    write_cr3((uintptr_t)root);
}

volatile void *mmio_map(uint64_t hpa, size_t size) {
    uint64_t base = hpa & ~(PAGE_SIZE - 1);
    uint64_t end = (hpa + size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
    if (size == 0 || end <= base || end > GUEST_ALIAS) {
        return NULL;
    }
    map(base, base, end - base, MAP_DEVICE);
    for (uint64_t page = base; page < end; page += PAGE_SIZE) {
        invalidate(page);
    }
    return (volatile void *)(uintptr_t)hpa;
}
