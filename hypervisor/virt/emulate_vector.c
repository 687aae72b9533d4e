// The guest's XMM and MMX registers, which stay in the CPU while its vCPU is loaded.
#include "virt/emulate_vector.h"

// Legacy SSE encodings on purpose: they leave bits above 127 alone, as the guest's own
// instruction does.
#define FOR_EACH(do) \
    do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11) do(12) do(13) do(14) do(15)

void vector_read(uint8_t number, uint8_t bytes[16]) {
    switch (number) {
#define READ(n) \
        case n: \
            __asm__ volatile ("movups %%xmm" #n ", (%0)" : : "r" (bytes) : "memory"); \
            break;
        FOR_EACH(READ)
#undef READ
        default:
            break;
    }
}

void vector_write(uint8_t number, const uint8_t bytes[16]) {
    switch (number) {
#define WRITE(n) \
        case n: \
            __asm__ volatile ("movups (%0), %%xmm" #n : : "r" (bytes) : "memory"); \
            break;
        FOR_EACH(WRITE)
#undef WRITE
        default:
            break;
    }
}

#define FOR_EACH_MMX(do) do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7)

uint64_t mmx_read(uint8_t number) {
    uint64_t value = 0;
    switch (number) {
#define READ(n) \
        case n: \
            __asm__ volatile ("movq %%mm" #n ", %0" : "=m" (value)); \
            break;
        FOR_EACH_MMX(READ)
#undef READ
        default:
            break;
    }
    return value;
}

void mmx_write(uint8_t number, uint64_t value) {
    switch (number) {
#define WRITE(n) \
        case n: \
            __asm__ volatile ("movq %0, %%mm" #n : : "m" (value)); \
            break;
        FOR_EACH_MMX(WRITE)
#undef WRITE
        default:
            break;
    }
}

bool x87_exception_waits(void) {
    const uint16_t error_summary = 1 << 7;
    uint16_t status;
    __asm__ volatile ("fnstsw %0" : "=m" (status));
    return (status & error_summary) != 0;
}
