// A page allocator for tests: the host's, counted, and made to fail where a test wants it.
#ifndef VIPERVISOR_TESTS_PAGES_H
#define VIPERVISOR_TESTS_PAGES_H

#include <stdlib.h>
#include <string.h>

#include "cpu/memory.h"

static int pages_out; // allocated and not yet freed
static int pages_left = -1; // allocations until one fails; -1: no limit

void *page_alloc(size_t pages) {
    if (pages_left == 0) {
        return NULL;
    }
    pages_left -= pages_left > 0;
    void *p = aligned_alloc(PAGE_SIZE, pages * PAGE_SIZE);
    memset(p, 0, pages * PAGE_SIZE);
    pages_out += (int)pages;
    return p;
}

void page_free(void *address, size_t pages) {
    pages_out -= (int)pages;
    free(address);
}

#endif
