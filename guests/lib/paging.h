// Single pages of a 64-bit guest's address space.
#ifndef GUEST_PAGING_H
#define GUEST_PAGING_H

#include <stdint.h>

#define PAGE_SIZE 4096ull
#define PAGE_LARGE_SIZE 0x200000ull

// The 4 KiB page-table entry of a linear address below 4 GiB. The 2 MiB page it lay
// in is split on the first call; a few such pages can be.
uint64_t *page_entry(uint64_t linear);

// Writes the entry and drops the old translation.
void page_set(uint64_t linear, uint64_t entry);

// A linear address far from everything that is mapped by single pages only.
#define PAGE_WINDOW 0x80000000ull

#endif
