// The privileged instructions that guests use, one inline function each.
#ifndef GUEST_INSN_H
#define GUEST_INSN_H

#include <stdint.h>

static inline void outb(uint16_t port, uint8_t value) {
    __asm__ volatile ("outb %0, %1" : : "a" (value), "Nd" (port));
}

static inline void outw(uint16_t port, uint16_t value) {
    __asm__ volatile ("outw %0, %1" : : "a" (value), "Nd" (port));
}

static inline void outl(uint16_t port, uint32_t value) {
    __asm__ volatile ("outl %0, %1" : : "a" (value), "Nd" (port));
}

static inline uint8_t inb(uint16_t port) {
    uint8_t value;
    __asm__ volatile ("inb %1, %0" : "=a" (value) : "Nd" (port));
    return value;
}

static inline uint16_t inw(uint16_t port) {
    uint16_t value;
    __asm__ volatile ("inw %1, %0" : "=a" (value) : "Nd" (port));
    return value;
}

static inline uint32_t inl(uint16_t port) {
    uint32_t value;
    __asm__ volatile ("inl %1, %0" : "=a" (value) : "Nd" (port));
    return value;
}

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf) {
    struct cpuid r;
    __asm__ volatile ("cpuid" : "=a" (r.eax), "=b" (r.ebx), "=c" (r.ecx), "=d" (r.edx)
        : "a" (leaf), "c" (subleaf));
    return r;
}

static inline uint64_t rdtsc(void) {
    uint32_t low, high;
    __asm__ volatile ("rdtsc" : "=a" (low), "=d" (high) : : "memory");
    return low | (uint64_t)high << 32;
}

static inline void cpu_pause(void) {
    __asm__ volatile ("pause");
}

static inline void cpu_hlt(void) {
    __asm__ volatile ("hlt" : : : "memory");
}

static inline void interrupts_on(void) {
    __asm__ volatile ("sti" : : : "memory");
}

static inline void interrupts_off(void) {
    __asm__ volatile ("cli" : : : "memory");
}

// STI takes effect after the next instruction, so no interrupt falls in between.
static inline void wait_for_interrupt(void) {
    __asm__ volatile ("sti; hlt; cli" : : : "memory");
}

#ifdef __x86_64__

static inline uint64_t rdmsr(uint32_t index) {
    uint32_t low, high;
    __asm__ volatile ("rdmsr" : "=a" (low), "=d" (high) : "c" (index));
    return low | (uint64_t)high << 32;
}

static inline void wrmsr(uint32_t index, uint64_t value) {
    __asm__ volatile ("wrmsr" : : "a" ((uint32_t)value), "d" ((uint32_t)(value >> 32)), "c" (index)
        : "memory");
}

#define GUEST_REGISTER(name, mnemonic) \
    static inline uint64_t read_##name(void) { \
        uint64_t value; \
        __asm__ volatile ("mov %%" mnemonic ", %0" : "=r" (value) : : "memory"); \
        return value; \
    } \
    static inline void write_##name(uint64_t value) { \
        __asm__ volatile ("mov %0, %%" mnemonic : : "r" (value) : "memory"); \
    }
GUEST_REGISTER(cr0, "cr0")
GUEST_REGISTER(cr2, "cr2")
GUEST_REGISTER(cr3, "cr3")
GUEST_REGISTER(cr4, "cr4")
GUEST_REGISTER(cr8, "cr8")
GUEST_REGISTER(dr0, "db0")
GUEST_REGISTER(dr1, "db1")
GUEST_REGISTER(dr2, "db2")
GUEST_REGISTER(dr3, "db3")
GUEST_REGISTER(dr6, "db6")
GUEST_REGISTER(dr7, "db7")
#undef GUEST_REGISTER

static inline void invlpg(const void *address) {
    __asm__ volatile ("invlpg (%0)" : : "r" (address) : "memory");
}

#endif

#endif
