#ifndef VIPERVISOR_STDLIB_H
#define VIPERVISOR_STDLIB_H
#include <stddef.h>
_Noreturn void abort(void);
// Declared for headers that mention them; there is no C heap, so a use fails to link.
void *malloc(size_t size);
void *realloc(void *p, size_t size);
void free(void *p);
static inline int abs(int x) {
    return x < 0 ? -x : x;
}
#endif
