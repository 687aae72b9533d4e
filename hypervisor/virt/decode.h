// Guest page walks, instruction lengths and operands.
//
// No length is ever assumed: it comes from the CPU, or from this cache, keyed by
// (linear RIP, CR3 and mode, generation of the nested tables), whose entry keeps
// pointers to the guest page-table entries and code bytes it was decoded from and
// compares their present values on every hit (design 4).
#ifndef VIPERVISOR_VIRT_DECODE_H
#define VIPERVISOR_VIRT_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virt/guest.h"
#include "virt/vcpu.h"

// Why a walk or a fetch failed: a page fault to inject, unless one of the flags
// says otherwise.
struct walk_fault {
    uint32_t error; // #PF error code (SDM 3A 4.7)
    uint64_t address;
    bool hole; // the tables or the code lie at guest-physical `hole_gpa`, where no RAM is
    bool non_canonical; // #GP (or #SS), not #PF
    uint64_t hole_gpa;
};

// What a walk needs to know of the CPU's mode; filled from a vCPU by walk_context.
struct walk_context {
    struct guest *guest;
    uint64_t cr0, cr3, cr4, efer, rflags;
    uint8_t cpl;
    uint8_t phys_bits;
};
void walk_context(struct vcpu *v, struct walk_context *c);

// All paging modes: off, 32-bit, PAE, 4 and 5 levels. access: ACCESS_*, where
// ACCESS_USER makes it a user access whatever c->cpl is. Sets A/D bits when `set_ad`.
// `levels` (optional, WALK_LEVELS entries) receives where each table entry lies and
// its value, root first. Returns 0 and *gpa; -EFAULT and *fault; -EAGAIN when other
// CPUs changed the tables again and again: enter the guest again.
// Protection keys are not looked at: PKRU is live state that no walk may assume.
#define WALK_LEVELS 5
struct walk_level {
    uint64_t gpa, value;
};
int guest_walk(const struct walk_context *c, uint64_t gva, uint32_t access, bool set_ad,
    uint64_t *gpa, struct walk_fault *fault, struct walk_level *levels, int *level_count);
// Bytes of one table entry in this mode: 4 (32-bit paging) or 8.
uint32_t walk_entry_size(const struct walk_context *c);

enum insn_class {
    INSN_OTHER, // length known, nothing to emulate
    INSN_MOV_LOAD, // reg <- memory (MOV, MOVZX, MOVSX)
    INSN_MOV_STORE, // memory <- reg or immediate
    INSN_MOV_CR, INSN_MOV_DR, INSN_LMSW, INSN_CLTS, INSN_SMSW,
    INSN_STRING_IO, // INS, OUTS
    INSN_MODIFY, // any other instruction that reads or writes memory
};

// What an instruction does with its memory operand, for those that are carried out
// here when it lies on a device; OP_NONE for all others.
enum insn_op {
    OP_NONE,
    OP_MOV, // INSN_MOV_LOAD and INSN_MOV_STORE
    OP_MOVBE,
    OP_MOV_SEGMENT, // memory <- selector `other_reg`
    OP_LOAD_SEGMENT, // segment register `other_reg` <- memory; LLDT and LTR too
    OP_TOUCH, // CLFLUSH and the like: nothing to do
    // emulate_alu.c's own, two operands
    OP_ADD, OP_OR, OP_ADC, OP_SBB, OP_AND, OP_SUB, OP_XOR, OP_CMP, OP_TEST, OP_XADD,
    OP_IMUL, OP_BSF, OP_BSR,
    OP_NOT, OP_NEG, OP_INC, OP_DEC,
    OP_ROL, OP_ROR, OP_RCL, OP_RCR, OP_SHL, OP_SHR, OP_SAR,
    OP_BT, OP_BTS, OP_BTR, OP_BTC,
    // of a shape of their own
    OP_SHLD, OP_SHRD, OP_MUL_WIDE, OP_IMUL_WIDE, // RDX:RAX <- RAX * memory
    OP_DIV, OP_IDIV,
    OP_XCHG, OP_CMPXCHG, OP_CMPXCHG_PAIR, // CMPXCHG8B, CMPXCHG16B
    OP_SETCC, OP_CMOVCC,
    OP_PUSH, OP_POP, OP_CALL, OP_RET, OP_LEAVE, OP_ENTER, // on the stack, with no other memory perhaps
    OP_JMP, OP_JMP_FAR,
    OP_MMX, // an MMX register
    OP_VECTOR, // an XMM register, as a whole or its low bytes; loads clear the rest
    OP_VECTOR_LOW, OP_VECTOR_HIGH, // one half of it; loads keep the other
    // strings; everything from here on
    OP_MOVS, OP_STOS, OP_LODS, OP_CMPS, OP_SCAS, OP_INS, OP_OUTS,
    OP_COUNT
};

// `base` and `index` of a memory operand: enum gpr or one of these.
#define INSN_RIP 16 // the address of the next instruction
#define INSN_NO_REG 255
#define INSN_STACK_ONLY 255 // `memory_at`: the stack is all the memory that it uses

struct insn {
    uint8_t length;
    uint8_t class; // enum insn_class
    uint8_t size; // memory operand in bytes; 0: none
    uint8_t reg; // register operand, enum gpr; CR/DR forms: the general register
    uint8_t reg_size; // bytes of it; 4 zero-extends; 0: no register operand
    uint8_t special; // CR/DR number
    bool high_byte; // AH, CH, DH, BH: reg is RAX, RCX, RDX, RBX
    bool sign_extend, zero_extend; // MOVSX and MOVSXD, MOVZX
    bool read, write; // of memory; CR/DR forms: write means to the CR or DR
    bool has_immediate;
    bool rep; // of a string instruction; F2 as well as F3
    bool repne; // it was F2
    uint8_t op; // enum insn_op
    uint8_t memory_at; // position of the memory operand among the visible ones, or INSN_STACK_ONLY
    uint8_t condition; // SETcc and CMOVcc: the opcode's low four bits
    uint8_t other_reg; // XMM or MMX number, or enum vseg
    uint8_t address_size; // 2, 4, 8
    uint8_t segment; // enum vseg of the memory operand
    uint8_t base, index, scale; // memory operand: segment:[base + index * scale + displacement]
    uint16_t mnemonic; // Zydis', for messages
    uint64_t immediate; // sign-extended to 64 bits
    int64_t displacement;
};

// Code sizes that the decoder knows. Real mode decodes as INSN_LEGACY_16.
enum insn_mode { INSN_LEGACY_16, INSN_LEGACY_32, INSN_COMPAT_16, INSN_COMPAT_32, INSN_LONG_64 };

// decode.c: 0; -EINVAL no instruction; -ERANGE when `size` bytes are too few.
int insn_decode(enum insn_mode mode, const uint8_t *bytes, size_t size, struct insn *insn);
// Offset of the memory operand in its segment, from the vCPU's registers as they are
// before the instruction.
uint64_t insn_offset(struct vcpu *v, const struct insn *insn);

#define INSN_SLOTS 256 // in sets of two; holds a Linux boot (22-70 places per exit kind)
#define INSN_FAST_LEVELS 4
#define INSN_LENGTH_MAX 15

// Counts since the vCPU was made, for tests and hv.cost().
struct insn_stats {
    uint64_t hits, misses;
    uint64_t stale; // misses whose entry did not match memory any more
};

struct insn_entry_at {
    const void *at; // a guest page-table entry, in the read-only view
    uint64_t value;
};

// What the fast path compares, two cache lines.
struct insn_slot {
    uint64_t linear, space; // struct fetch_state
    uint64_t generation; // of the nested tables; INSN_EMPTY: nothing here
    const uint8_t *code; // eight bytes of one page that hold the instruction
    uint64_t bytes, mask; // never equal where the fast path cannot decide
    uint8_t length;
    uint8_t levels;
    // A MOV of four bytes between memory and a register, which most of those to devices
    // are: ACCESS_READ or ACCESS_WRITE, else 0; and the register, or INSN_NO_REG for
    // `immediate`.
    uint8_t move;
    uint8_t reg;
    uint32_t immediate;
    uint8_t unused[8];
    struct insn_entry_at entry[INSN_FAST_LEVELS];
};
_Static_assert(sizeof(struct insn_slot) == 128, "two cache lines, indexed by a shift");
#define INSN_EMPTY UINT64_MAX

struct insn_detail;
struct insn_cache {
    // Aligned so that one bit of a slot's address tells the two of a set apart.
    struct insn_slot slots[INSN_SLOTS] __attribute__((aligned(2 * sizeof(struct insn_slot))));
    struct insn_stats stats;
    uint64_t zero; // fast-path entries of absent levels point here
    struct insn_detail *details; // one a slot
    uint64_t generation; // of the nested tables, that no slot is older than
    uint32_t last; // the slot filled last
    uint8_t turn[INSN_SLOTS / 2]; // of a set: which slot was chosen last
};

struct insn_cache *insn_cache_create(void); // NULL: no memory
void insn_cache_free(struct insn_cache *cache);
// Empties the slots that are older than `generation` of the nested tables: vcpu_load
// does, so that no exit has to compare it.
void insn_cache_sync(struct insn_cache *cache, uint64_t generation);

// The instruction at the vCPU's CS:RIP, valid until the next call. 0; -EFAULT when it
// cannot be fetched (*fault says why); -EINVAL when the bytes are no instruction;
// -EAGAIN as guest_walk.
int vcpu_insn(struct vcpu *v, const struct insn **insn, struct walk_fault *fault);
// Bytes at CS:RIP for messages: count copied, up to 15.
int vcpu_insn_bytes(struct vcpu *v, uint8_t *bytes);
struct insn_stats vcpu_insn_stats(const struct vcpu *v);

// Guest code at any alignment.
typedef uint64_t insn_window __attribute__((aligned(1), may_alias));
typedef uint64_t insn_entry __attribute__((may_alias));

static inline uint32_t insn_slot_index(uint64_t linear) {
    // Multiplicative hashing; the top eight bits number the slot. The factor was found
    // by search: 64 places at a stride of 1 to 20 or a power of two fit without
    // replacement (the golden ratio's does badly at strides of 8 and 16).
    return ((uint32_t)linear * UINT32_C(0x0E7EFC2F)) >> 24;
}
_Static_assert(INSN_SLOTS == 1 << (32 - 24), "the hash yields a slot number");

static inline bool insn_entry_moved(const struct insn_entry_at *e) {
    return *(const volatile insn_entry *)e->at != e->value;
}

// The slot of `f` if all that it was made from still reads the same; NULL: unknown.
// Only while no slot is older than the nested tables: see insn_slot_fast, insn_cache_sync.
static inline const struct insn_slot *insn_slot_current(const struct insn_cache *cache, struct fetch_state f) {
    const struct insn_slot *s = &cache->slots[insn_slot_index(f.linear)];
    if (__builtin_expect(s->linear != f.linear || s->space != f.space, 0)) {
        s = (const struct insn_slot *)((uintptr_t)s ^ sizeof(*s));
        if (s->linear != f.linear || s->space != f.space) {
            return NULL;
        }
    }
    const struct insn_entry_at *e = s->entry;
    if (insn_entry_moved(&e[0]) || insn_entry_moved(&e[1]) || insn_entry_moved(&e[2])) {
        return NULL;
    }
    if (s->levels > 3 && insn_entry_moved(&e[3])) {
        return NULL;
    }
    return (s->bytes ^ *(const volatile insn_window *)s->code) & s->mask ? NULL : s;
}

static inline const struct insn_slot *insn_slot_fast(const struct vcpu *v, struct fetch_state f) {
    const struct insn_slot *s = insn_slot_current(v->insns, f);
    return s && s->generation == v->guest->nested_generation ? s : NULL;
}

// The length alone, for exits that need no operands: 0 means ask vcpu_insn, which
// deals with all that is rare (long and page-crossing instructions, 32-bit paging,
// another CR3 with the same mapping, a miss).
static inline uint32_t vcpu_insn_length_fast(struct vcpu *v) {
    const struct insn_slot *s = insn_slot_fast(v, virt->fetch_state(v));
    if (__builtin_expect(!s, 0)) {
        return 0;
    }
    v->insns->stats.hits++;
    return s->length;
}

#endif
