// Guest page walks, instruction lengths and operands.
//
// No length is ever assumed: it comes from the CPU, or from this cache, keyed by
// (linear RIP, CR3, mode, generation of the nested tables), whose entry keeps
// pointers to the guest page-table entries and code bytes it was decoded from and
// compares their present values on every hit (design 4).
#ifndef VIPERVISOR_VIRT_DECODE_H
#define VIPERVISOR_VIRT_DECODE_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/vcpu.h"

struct guest;

// A guest page fault to inject when a walk fails.
struct walk_fault {
    uint32_t error; // #PF error code (SDM 3A 4.7)
    uint64_t address;
    bool hole; // the tables or the page lie where no guest RAM is
};

// What a walk needs to know of the CPU's mode; filled from a vCPU by walk_context.
struct walk_context {
    struct guest *guest;
    uint64_t cr0, cr3, cr4, efer, rflags;
    uint8_t cpl;
    uint8_t phys_bits;
};
void walk_context(struct vcpu *v, struct walk_context *c);

// All paging modes: off, 32-bit, PAE, 4 and 5 levels. access: ACCESS_*. Sets A/D
// bits when `set_ad`. `levels` (optional, 5 entries) receives where each entry
// lies and its value. Returns 0 and *gpa, or -EFAULT and *fault.
struct walk_level { uint64_t gpa, value; };
int guest_walk(const struct walk_context *c, uint64_t gva, uint32_t access, bool set_ad,
    uint64_t *gpa, struct walk_fault *fault, struct walk_level *levels, int *level_count);

enum insn_class {
    INSN_OTHER, // length known, nothing to emulate
    INSN_MOV_LOAD, // reg <- memory (MOV, MOVZX, MOVSX)
    INSN_MOV_STORE, // memory <- reg or immediate
    INSN_MOV_CR, INSN_MOV_DR, INSN_LMSW, INSN_CLTS, INSN_SMSW,
    INSN_STRING_IO, // INS, OUTS
    INSN_MODIFY, // read-modify-write, compare and the rest (issue 2)
};

struct insn {
    uint8_t length;
    uint8_t class; // enum insn_class
    uint8_t size; // memory operand in bytes
    uint8_t reg; // register operand, enum gpr; CR/DR forms: the general register
    uint8_t reg_size; // bytes written in the register (4 zero-extends)
    uint8_t special; // CR/DR number
    bool high_byte; // AH, CH, DH, BH
    bool sign_extend, zero_extend, write, has_immediate;
    bool rep;
    uint8_t address_size; // 2, 4, 8
    uint8_t segment; // enum vseg of the memory operand
    uint16_t mnemonic; // Zydis', for messages
    uint64_t immediate;
};

struct insn_cache *insn_cache_create(void); // NULL: no memory
void insn_cache_free(struct insn_cache *cache);

// The instruction at the vCPU's CS:RIP. 0; -EFAULT when it cannot be fetched
// (*fault says why); -EINVAL when the bytes are no instruction.
int vcpu_insn(struct vcpu *v, const struct insn **insn, struct walk_fault *fault);
// Bytes at CS:RIP for messages: count copied, up to 15.
int vcpu_insn_bytes(struct vcpu *v, uint8_t *bytes);

// Hits and misses since boot, for tests and hv.cost().
struct insn_stats { uint64_t hits, misses, stale; };
extern struct insn_stats insn_stats[];

#endif
