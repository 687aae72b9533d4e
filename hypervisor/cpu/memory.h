// Physical memory of the machine and how the monitor sees it.
//
// The monitor is identity-mapped: a host-physical address below DIRECT_TOP is
// its own pointer. RAM that the monitor does not own is read-only and no-execute
// there; guest RAM is written only through the alias (guest_alias()).
#ifndef VIPERVISOR_CPU_MEMORY_H
#define VIPERVISOR_CPU_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE UINT64_C(0x1000)
#define LARGE_PAGE_SIZE UINT64_C(0x200000)
#define HUGE_PAGE_SIZE UINT64_C(0x40000000)
#define GUEST_ALIAS UINT64_C(0x400000000000) // PML4 entry 128

// Zeroed, page-aligned memory of the monitor's pool; NULL when it is used up.
void *page_alloc(size_t pages);
void page_free(void *address, size_t pages);
size_t page_free_count(void);

// A stack of `pages` with an unmapped guard page below; the top, NULL when there
// is no memory.
void *stack_alloc(size_t pages);

// RAM for guests: size is a multiple of 2 MiB, the result 2 MiB-aligned and
// zeroed. Returns 0 (never a valid extent) when no hole is large enough.
uint64_t extent_alloc(uint64_t size);
void extent_free(uint64_t base, uint64_t size);
uint64_t extent_free_bytes(void); // in all
uint64_t extent_free_largest(void); // in one piece

// The writable view of guest RAM at host-physical `hpa`.
static inline void *guest_alias(uint64_t hpa) {
    return (void *)(uintptr_t)(hpa + GUEST_ALIAS);
}

// The read-only view of any RAM.
static inline const void *direct_view(uint64_t hpa) {
    return (const void *)(uintptr_t)hpa;
}

// Regions set aside at boot for Python: its heap (NX), the RAM disk (NX), and the
// pool for native code, which is executable at `exec_pool()` and written through
// guest_alias() only.
void *heap_region(size_t *size);
void *disk_region(size_t *size);
void *exec_pool(size_t *size);
void *pool_region(size_t *size); // behind page_alloc

uint64_t memory_total(void); // RAM bytes of the machine
uint64_t memory_monitor(void); // image, pool and tables; heap and RAM disk apart

// Boot order: ranges and regions first, then (after modules are in place) the
// monitor's own page tables.
void memory_init(void);
uint64_t memory_place(uint64_t size); // page-aligned RAM below 4 GiB for a module; 0: none
void paging_init(void);
uint64_t paging_root(void); // CR3 of every CPU
void paging_unmap_page(uint64_t address); // a guard page
uint64_t memory_low_page(void); // a page below 640 KiB for starting CPUs; 0: none

// Uncached, writable view of device memory; NULL when the range cannot be mapped.
volatile void *mmio_map(uint64_t hpa, size_t size);

#endif
