// Instructions that an exit leaves to be carried out here.
#ifndef VIPERVISOR_VIRT_EMULATE_H
#define VIPERVISOR_VIRT_EMULATE_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/decode.h"
#include "virt/emulate_memory.h"
#include "virt/exit.h"
#include "virt/vcpu.h"

// Handlers for the dispatcher: true, with e->length 0 when the instruction did not
// complete (it faulted, or a REP goes on at the next entry).
bool emulate_string_io(struct vcpu *v, struct exit_record *e);
bool emulate_cr(struct vcpu *v, struct exit_record *e);
bool emulate_dr(struct vcpu *v, struct exit_record *e);
bool emulate_task_switch(struct vcpu *v, struct exit_record *e);
// A nested fault at an address where the guest has no memory.
bool emulate_mmio(struct vcpu *v, struct exit_record *e);
bool emulate_mmio_any(struct vcpu *v, struct exit_record *e); // without its short ways
// Between emulation_begin and emulation_end: any instruction but strings.
int emulate_insn(struct emulation *m);
// Its parts in other files: OP_PUSH to OP_JMP, OP_JMP_FAR, OP_LOAD_SEGMENT.
int emulate_stack(struct emulation *m);
int emulate_far_jump(struct emulation *m);
int emulate_load_segment(struct emulation *m);
// Whether a near branch may go there: else it is #GP(0).
bool emulate_may_jump(const struct emulation *m, uint64_t target);
// LMSW and SMSW with a memory operand.
bool emulate_msw(struct vcpu *v, struct exit_record *e, const struct insn *insn);
// From emulation_begin to the end of the exit; INS and OUTS take e->io.port.
bool emulate_string(struct emulation *m, struct exit_record *e);
// What the register operand of a load gets from `value` (insn->size bytes of memory).
void emulate_load(struct vcpu *v, const struct insn *insn, uint64_t value);

// exits.c, for the above.
bool exit_inject(struct vcpu *v, struct exit_record *e, uint8_t vector, bool has_error, uint32_t error);
bool exit_inject_fault(struct vcpu *v, struct exit_record *e, const struct walk_fault *f);
// False: a console that must lose nothing is full; nothing was done, try again.
bool exit_port_access(struct vcpu *v, uint16_t port, uint8_t size, bool write, uint32_t *value);
unsigned exit_cpl(struct vcpu *v);

#endif
