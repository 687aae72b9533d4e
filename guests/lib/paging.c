// Splits 2 MiB pages into 4 KiB ones, for guests that play with their own tables.
#include "paging.h"
#include "guest.h"

enum { POOL = 8, ENTRIES = 512 };

extern uint64_t boot_pd[4 * ENTRIES];
static uint64_t pool[POOL][ENTRIES] __attribute__((aligned(4096)));
static unsigned used;

uint64_t *page_entry(uint64_t linear) {
    uint64_t *large = &boot_pd[linear / PAGE_LARGE_SIZE];
    if (*large & PTE_LARGE) {
        if (used == POOL) {
            print("FAIL paging: more than %u large pages split\n", POOL);
            end(STATUS_UNEXPECTED_TRAP);
        }
        uint64_t *table = pool[used++];
        uint64_t base = linear & ~(PAGE_LARGE_SIZE - 1);
        for (unsigned i = 0; i < ENTRIES; i++) {
            table[i] = (base + i * PAGE_SIZE) | PTE_PRESENT_WRITE_USER;
        }
        *large = (uintptr_t)table | PTE_PRESENT_WRITE_USER;
        write_cr3(read_cr3());
    }
    uint64_t *table = (uint64_t *)(*large & ~(PAGE_SIZE - 1));
    return &table[linear / PAGE_SIZE % ENTRIES];
}

void page_set(uint64_t linear, uint64_t entry) {
    *page_entry(linear) = entry;
    invlpg((const void *)linear);
}
