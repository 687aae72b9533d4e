// What fpu.c and state.S share.
#ifndef FPU_FPU_H
#define FPU_FPU_H

#include <stdint.h>

struct vectors {
    uint8_t lanes[16][32]; // xmm0 to 15, or ymm0 to 15
};

void load_sse(const struct vectors *v);
void store_sse(struct vectors *v);
void load_avx(const struct vectors *v);
void store_avx(struct vectors *v);

#endif
