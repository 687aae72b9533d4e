// The privileged instructions the core uses, one inline function each.
#ifndef VIPERVISOR_CPU_INSN_H
#define VIPERVISOR_CPU_INSN_H

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

static inline uint64_t rdmsr(uint32_t index) {
    uint32_t low, high;
    __asm__ volatile ("rdmsr" : "=a" (low), "=d" (high) : "c" (index));
    return low | (uint64_t)high << 32;
}

static inline void wrmsr(uint32_t index, uint64_t value) {
    __asm__ volatile ("wrmsr" : : "a" ((uint32_t)value), "d" ((uint32_t)(value >> 32)), "c" (index)
        : "memory");
}

static inline uint64_t rdtsc(void) {
    uint32_t low, high;
    __asm__ volatile ("rdtsc" : "=a" (low), "=d" (high) : : "memory");
    return low | (uint64_t)high << 32;
}

struct cpuid_regs {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid_regs cpuid(uint32_t leaf, uint32_t subleaf) {
    struct cpuid_regs r;
    __asm__ volatile ("cpuid" : "=a" (r.eax), "=b" (r.ebx), "=c" (r.ecx), "=d" (r.edx)
        : "a" (leaf), "c" (subleaf));
    return r;
}

#define DEFINE_READ_REG(name, mnemonic) \
    static inline uint64_t name(void) { \
        uint64_t value; \
        __asm__ volatile ("mov %%" mnemonic ", %0" : "=r" (value) : : "memory"); \
        return value; \
    }
#define DEFINE_WRITE_REG(name, mnemonic) \
    static inline void name(uint64_t value) { \
        __asm__ volatile ("mov %0, %%" mnemonic : : "r" (value) : "memory"); \
    }
DEFINE_READ_REG(read_cr0, "cr0")
DEFINE_READ_REG(read_cr2, "cr2")
DEFINE_READ_REG(read_cr3, "cr3")
DEFINE_READ_REG(read_cr4, "cr4")
DEFINE_READ_REG(read_dr0, "db0")
DEFINE_READ_REG(read_dr1, "db1")
DEFINE_READ_REG(read_dr2, "db2")
DEFINE_READ_REG(read_dr3, "db3")
DEFINE_READ_REG(read_dr6, "db6")
DEFINE_READ_REG(read_dr7, "db7")
DEFINE_WRITE_REG(write_cr0, "cr0")
DEFINE_WRITE_REG(write_cr2, "cr2")
DEFINE_WRITE_REG(write_cr3, "cr3")
DEFINE_WRITE_REG(write_cr4, "cr4")
DEFINE_WRITE_REG(write_dr0, "db0")
DEFINE_WRITE_REG(write_dr1, "db1")
DEFINE_WRITE_REG(write_dr2, "db2")
DEFINE_WRITE_REG(write_dr3, "db3")
DEFINE_WRITE_REG(write_dr6, "db6")
DEFINE_WRITE_REG(write_dr7, "db7")
#undef DEFINE_READ_REG
#undef DEFINE_WRITE_REG

static inline uint64_t xgetbv(uint32_t index) {
    uint32_t low, high;
    __asm__ volatile ("xgetbv" : "=a" (low), "=d" (high) : "c" (index));
    return low | (uint64_t)high << 32;
}

static inline void xsetbv(uint32_t index, uint64_t value) {
    __asm__ volatile ("xsetbv" : : "a" ((uint32_t)value), "d" ((uint32_t)(value >> 32)), "c" (index));
}

static inline void irq_enable(void) {
    __asm__ volatile ("sti" : : : "memory");
}

static inline void irq_disable(void) {
    __asm__ volatile ("cli" : : : "memory");
}

// Interrupts off; returns RFLAGS as they were, for irq_restore().
static inline uint64_t irq_save(void) {
    uint64_t flags;
    __asm__ volatile ("pushfq; popq %0; cli" : "=r" (flags) : : "memory");
    return flags;
}

static inline void irq_restore(uint64_t flags) {
    __asm__ volatile ("pushq %0; popfq" : : "r" (flags) : "memory", "cc");
}

static inline void cpu_pause(void) {
    __asm__ volatile ("pause" : : : "memory");
}

// Sleeps until an interrupt. STI's shadow covers the HLT, so an interrupt that
// comes between the two ends the sleep. Call with interrupts disabled; returns
// with them disabled.
//
// TPR is 0 all along; writing it makes the APIC look again at what is pending. QEMU with a
// thread for each CPU needs that: its #VMEXIT takes V_IRQ out of the CPU's interrupt flags
// without a lock, and the flag of an interrupt that comes at the same moment may be lost.
static inline void cpu_sleep(void) {
    __asm__ volatile ("mov %0, %%cr8; sti; hlt; cli" : : "r" (UINT64_C(0)) : "memory");
}

#define barrier() __asm__ volatile ("" : : : "memory")

#endif
