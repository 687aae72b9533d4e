// Nested page tables (NPT and EPT), written once over struct nested_format.
#ifndef VIPERVISOR_VIRT_NESTED_H
#define VIPERVISOR_VIRT_NESTED_H

#include <stdint.h>

#include "virt/vcpu.h"

// R, R|X and R|W|X have leaves of their own; R|W gets the latter.
enum { NESTED_R = 1, NESTED_W = 2, NESTED_X = 4, NESTED_UC = 8 };

uint64_t nested_create(const struct nested_format *f); // root, host-physical; 0: no memory
void nested_destroy(const struct nested_format *f, uint64_t root);
// 4 KiB-aligned; uses the largest pages that fit. -EINVAL, -ENOMEM, -EEXIST.
int nested_map(const struct nested_format *f, uint64_t root, uint64_t gpa, uint64_t hpa,
    uint64_t size, uint32_t access, bool large_1g);
int nested_unmap(const struct nested_format *f, uint64_t root, uint64_t gpa, uint64_t size);
// Leaf entry that maps gpa, 0 when none; *level: 1 4 KiB, 2 2 MiB, 3 1 GiB.
uint64_t nested_lookup(const struct nested_format *f, uint64_t root, uint64_t gpa, int *level);

#endif
