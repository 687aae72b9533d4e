// Memory operands of an instruction that is carried out here: segmentation, paging
// and what lies behind, RAM or a device, also both where an operand crosses a page.
//
// An operand is translated first, with the access that it is for, and read or written
// after all operands of the instruction have been: a fault changes nothing.
#ifndef VIPERVISOR_VIRT_EMULATE_MEMORY_H
#define VIPERVISOR_VIRT_EMULATE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/decode.h"
#include "virt/exit.h"
#include "virt/vcpu.h"

// One instruction on its way. Functions return 0; -EFAULT when the guest is due the
// exception in `vector` (and `fault`, for a page fault); -EAGAIN as guest_walk;
// -EINVAL when this form is not known here.
struct emulation {
    struct vcpu *v;
    const struct insn *insn;
    struct walk_context walk; // RFLAGS as before the instruction
    uint64_t rflags; // and as after it
    bool long_code; // 64-bit code: segments are flat, but FS and GS
    uint8_t vector;
    uint32_t error; // with it, where it has one and is no page fault
    struct walk_fault fault;
    // The two pages walked last, for the elements of a string: as in a TLB, they hold
    // until the instruction ends.
    struct {
        uint64_t linear, gpa;
        uint32_t access; // 0: empty
    } recent[2];
    uint8_t recent_next;
};
void emulation_begin(struct emulation *m, struct vcpu *v, const struct insn *insn);
// Commits RFLAGS or hands the fault to the guest, and sets e->length: 0 where the
// instruction did not complete. False: -EINVAL, for the caller to explain.
bool emulation_end(struct emulation *m, struct exit_record *e, int result);
// An exception as a result: with error code 0, or that of a selector.
int emulation_fault(struct emulation *m, uint8_t vector);
int emulation_selector_fault(struct emulation *m, uint8_t vector, uint16_t selector);

struct operand {
    uint64_t gpa[2];
    uint8_t size, first; // bytes in all and in the first page
};
// access: ACCESS_READ, ACCESS_WRITE or both; the privilege is the vCPU's.
int operand_at(struct emulation *m, enum vseg segment, uint64_t offset, uint8_t size, uint32_t access,
    struct operand *o);
// The CPU's own access to a descriptor table, whatever the privilege: 8-byte-aligned parts.
int operand_of_table(struct emulation *m, uint64_t linear, uint8_t size, uint32_t access, struct operand *o);
// The instruction's own memory operand.
int operand_of_insn(struct emulation *m, uint32_t access, struct operand *o);
void operand_read(const struct emulation *m, const struct operand *o, void *to);
void operand_write(const struct emulation *m, const struct operand *o, const void *from);

// General registers by their parts.
uint64_t size_mask(uint8_t size);
uint64_t gpr_read(const struct vcpu *v, uint8_t reg, uint8_t size, bool high_byte);
void gpr_write(struct vcpu *v, uint8_t reg, uint8_t size, bool high_byte, uint64_t value);
// An address or count register of a string instruction, or the stack pointer.
void gpr_write_address(struct vcpu *v, uint8_t reg, uint8_t address_size, uint64_t value);

#endif
