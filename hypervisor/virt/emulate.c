#include "virt/emulate.h"

#include "cpu/err.h"
#include "cpu/insn.h"
#include "virt/guest.h"
#include "virt/x86.h"

enum {
    RFLAGS_DF_BIT = 10,
    STRING_BURST = 1024, // elements an exit: a guest that asks for millions lets others in between
    LMSW_MASK = 0xF, // PE MP EM TS
    CR8_MAX = 15,
};

#define DR7_GENERAL_DETECT (UINT64_C(1) << 13)
#define CR4_DE (UINT64_C(1) << 3)
#define DR6_BD (UINT64_C(1) << 13)

// ---- Registers ----

static void write_gpr(struct vcpu *v, uint8_t reg, uint8_t size, bool high_byte, uint64_t value) {
    uint64_t *r = &v->gpr[reg];
    switch (size) {
        case 1:
            *r = high_byte ? (*r & ~UINT64_C(0xFF00)) | (value & 0xFF) << 8 : (*r & ~UINT64_C(0xFF)) | (value & 0xFF);
            break;
        case 2:
            *r = (*r & ~UINT64_C(0xFFFF)) | (value & 0xFFFF);
            break;
        case 4:
            *r = (uint32_t)value;
            break;
        default:
            *r = value;
            break;
    }
}

void emulate_load(struct vcpu *v, const struct insn *insn, uint64_t value) {
    unsigned bits = insn->size >= 8 ? 64 : insn->size * 8u;
    if (bits < 64) {
        value &= (UINT64_C(1) << bits) - 1;
        if (insn->sign_extend && (value >> (bits - 1) & 1) != 0) {
            value |= ~UINT64_C(0) << bits;
        }
    }
    write_gpr(v, insn->reg, insn->reg_size, insn->high_byte, value);
}

static uint64_t mask_of(uint8_t size) {
    return size >= 8 ? ~UINT64_C(0) : (UINT64_C(1) << (size * 8)) - 1;
}

static void set_masked(uint64_t *reg, uint64_t value, uint64_t mask) {
    // A 32-bit address register clears its upper half, as any 32-bit write does.
    *reg = mask == UINT32_MAX ? (uint32_t)value : (*reg & ~mask) | (value & mask);
}

// ---- INS and OUTS ----

static int copy_linear(struct vcpu *v, uint64_t linear, void *buffer, uint8_t size, bool to_guest,
    struct walk_fault *fault) {
    struct walk_context c;
    walk_context(v, &c);
    uint8_t *bytes = buffer;
    for (uint8_t done = 0; done < size;) {
        uint64_t gpa;
        int error = guest_walk(&c, linear + done, to_guest ? ACCESS_WRITE : ACCESS_READ, true, &gpa, fault, NULL,
            NULL);
        if (error != 0) {
            return error;
        }
        uint64_t in_page = 0x1000 - ((linear + done) & 0xFFF);
        uint8_t part = in_page < (uint64_t)(size - done) ? (uint8_t)in_page : (uint8_t)(size - done);
        error = to_guest ? guest_write(v->guest, gpa, bytes + done, part)
            : guest_read(v->guest, gpa, bytes + done, part);
        if (error != 0) { // a device range or a hole: reads ones, drops writes
            v->guest->unclaimed_memory++;
            for (uint8_t i = 0; !to_guest && i < part; i++) {
                bytes[done + i] = 0xFF;
            }
        }
        done = (uint8_t)(done + part);
    }
    return 0;
}

// #PF, #GP, or another try at the next entry.
static bool failed(struct vcpu *v, struct exit_record *e, int error, const struct walk_fault *fault) {
    if (error == -EAGAIN) {
        e->length = 0;
        return true;
    }
    return exit_inject_fault(v, e, fault);
}

bool emulate_string_io(struct vcpu *v, struct exit_record *e) {
    const struct insn *insn;
    struct walk_fault fault;
    int error = vcpu_insn(v, &insn, &fault);
    if (error == -EINVAL || (error == 0 && insn->class != INSN_STRING_IO)) {
        guest_crash(v, e, "its string I/O instruction could not be decoded");
        return true;
    }
    if (error != 0) {
        return failed(v, e, error, &fault);
    }
    uint64_t mask = mask_of(insn->address_size);
    uint64_t *address = &v->gpr[e->io.in ? GPR_RDI : GPR_RSI];
    bool backwards = (virt->reg_get(v, REG_RFLAGS) >> RFLAGS_DF_BIT & 1) != 0;
    uint64_t step = backwards ? 0 - (uint64_t)e->io.size : e->io.size;
    struct segment s;
    virt->seg_get(v, e->io.in ? SEG_ES : (enum vseg)insn->segment, &s);
    struct segment cs;
    virt->seg_get(v, SEG_CS, &cs);
    bool flat = (cs.attributes & SEG_ATTR_L) != 0
        && (e->io.in || (insn->segment != SEG_FS && insn->segment != SEG_GS));
    uint64_t count = insn->rep ? v->gpr[GPR_RCX] & mask : 1;
    uint64_t burst = count < STRING_BURST ? count : STRING_BURST;
    for (uint64_t i = 0; i < burst; i++) {
        uint64_t linear = (*address & mask) + (flat ? 0 : s.base);
        if ((cs.attributes & SEG_ATTR_L) == 0) {
            linear = (uint32_t)linear;
        }
        uint32_t value = 0;
        if (e->io.in) {
            // The page is looked at before the port is read: a fault must not lose data.
            struct walk_context c;
            uint64_t gpa;
            walk_context(v, &c);
            error = guest_walk(&c, linear, ACCESS_WRITE, true, &gpa, &fault, NULL, NULL);
            if (error == 0) {
                exit_port_access(v, e->io.port, e->io.size, false, &value);
                error = copy_linear(v, linear, &value, e->io.size, true, &fault);
            }
        } else {
            error = copy_linear(v, linear, &value, e->io.size, false, &fault);
            if (error == 0) {
                exit_port_access(v, e->io.port, e->io.size, true, &value);
            }
        }
        if (error != 0) {
            return failed(v, e, error, &fault);
        }
        set_masked(address, *address + step, mask);
        if (insn->rep) {
            set_masked(&v->gpr[GPR_RCX], v->gpr[GPR_RCX] - 1, mask);
        }
    }
    e->length = burst == count ? insn->length : 0; // else the REP goes on
    return true;
}

// ---- Control and debug registers ----

static bool decode_operands(struct vcpu *v, struct exit_record *e, const struct insn **insn) {
    struct walk_fault fault;
    int error = vcpu_insn(v, insn, &fault);
    if (error == -EINVAL) {
        guest_crash(v, e, "its control or debug register access could not be decoded");
        return false;
    }
    if (error != 0) {
        failed(v, e, error, &fault);
        return false;
    }
    return true;
}

static const enum vreg cr_regs[5] = { REG_CR0, REG_COUNT, REG_CR2, REG_CR3, REG_CR4 };

static bool cr_write(struct vcpu *v, struct exit_record *e, uint8_t number, uint64_t value) {
    if (number == 8) {
        if (value > CR8_MAX) {
            return exit_inject(v, e, EXC_GP, true, 0);
        }
        v->tpr = (uint8_t)value;
        return true;
    }
    if (number > 4 || cr_regs[number] == REG_COUNT) {
        return exit_inject(v, e, EXC_UD, false, 0);
    }
    // The back end knows which bits may be set and what follows from a change.
    if (virt->reg_set(v, cr_regs[number], value) != 0) {
        return exit_inject(v, e, EXC_GP, true, 0);
    }
    return true;
}

bool emulate_cr(struct vcpu *v, struct exit_record *e) {
    uint8_t number = e->cr.number, op = e->cr.op, gpr = e->cr.gpr;
    uint16_t lmsw = e->cr.lmsw_source;
    if (exit_cpl(v) != 0) {
        return exit_inject(v, e, EXC_GP, true, 0);
    }
    if (!e->cr.decoded) {
        const struct insn *insn;
        if (!decode_operands(v, e, &insn)) {
            return true;
        }
        number = insn->special;
        gpr = insn->reg;
        op = insn->class == INSN_CLTS ? CR_CLTS : insn->class == INSN_LMSW ? CR_LMSW
            : insn->write ? CR_WRITE : CR_READ;
        if (insn->class == INSN_LMSW) {
            if (insn->size != 0) {
                guest_crash(v, e, "LMSW from memory is not carried out here");
                return true;
            }
            lmsw = (uint16_t)v->gpr[gpr];
        }
        e->length = insn->length;
    }
    uint64_t cr0 = virt->reg_get(v, REG_CR0);
    switch (op) {
        case CR_CLTS:
            return cr_write(v, e, 0, cr0 & ~CR0_TS);
        case CR_LMSW: // sets but never clears PE (SDM 2A, LMSW)
            return cr_write(v, e, 0, (cr0 & ~(uint64_t)(LMSW_MASK & ~CR0_PE)) | (lmsw & LMSW_MASK));
        case CR_WRITE: {
            struct segment cs;
            virt->seg_get(v, SEG_CS, &cs);
            uint64_t value = v->gpr[gpr];
            return cr_write(v, e, number, (cs.attributes & SEG_ATTR_L) != 0 ? value : (uint32_t)value);
        }
        default:
            v->gpr[gpr] = number == 8 ? v->tpr : number < 5 && cr_regs[number] != REG_COUNT
                ? virt->reg_get(v, cr_regs[number]) : 0;
            return true;
    }
}

bool emulate_dr(struct vcpu *v, struct exit_record *e) {
    uint8_t number = e->dr.number, gpr = e->dr.gpr;
    bool write = e->dr.write;
    uint64_t dr7 = virt->reg_get(v, REG_DR7);
    if (exit_cpl(v) != 0) {
        return exit_inject(v, e, EXC_GP, true, 0);
    }
    if (!e->dr.decoded) {
        const struct insn *insn;
        if (!decode_operands(v, e, &insn)) {
            return true;
        }
        number = insn->special;
        gpr = insn->reg;
        write = insn->write;
        e->length = insn->length;
    }
    if (number == 4 || number == 5) { // aliases of 6 and 7 unless CR4.DE (SDM 3B 17.2.2)
        if ((virt->reg_get(v, REG_CR4) & CR4_DE) != 0) {
            return exit_inject(v, e, EXC_UD, false, 0);
        }
        number = (uint8_t)(number + 2);
    }
    if ((dr7 & DR7_GENERAL_DETECT) != 0) {
        virt->reg_set(v, REG_DR7, dr7 & ~DR7_GENERAL_DETECT);
        virt->reg_set(v, REG_DR6, virt->reg_get(v, REG_DR6) | DR6_BD);
        return exit_inject(v, e, EXC_DB, false, 0);
    }
    if (!write) {
        v->gpr[gpr] = number < 4 ? v->dr[number] : virt->reg_get(v, number == 6 ? REG_DR6 : REG_DR7);
        return true;
    }
    uint64_t value = v->gpr[gpr];
    if (number >= 6 && value >> 32 != 0) {
        return exit_inject(v, e, EXC_GP, true, 0);
    }
    if (number < 4) {
        v->dr[number] = value;
    } else {
        virt->reg_set(v, number == 6 ? REG_DR6 : REG_DR7,
            number == 6 ? (value & ~UINT64_C(0x1000)) | DR6_FIXED : (value & ~UINT64_C(0xD000)) | DR7_FIXED);
    }
    return true;
}
