// Events: injection at the next entry (SDM 26.6), windows, what an exit interrupted.
#include "cpu/insn.h"
#include "virt/vmx.h"
#include "virt/x86.h"

#define SHADOW (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS)
enum { NMI_LATCHES = 2 }; // one on its way and one that waits (SDM 3A 6.7.1)

static void primary_control(uint32_t bit, bool on) {
    uint32_t controls = vmx_read32(VMCS_PRIMARY_CONTROLS);
    uint32_t wanted = on ? controls | bit : controls & ~bit;
    if (wanted != controls) {
        vmx_write(VMCS_PRIMARY_CONTROLS, wanted);
    }
}

// The shadow of an instruction that was skipped ended with it. The field is mended only
// where it matters, at an injection: entry refuses one into a shadow (SDM 26.3.1.5).
static uint32_t interruptibility(struct vcpu *v) {
    uint32_t state = vmx_read32(VMCS_GUEST_INTERRUPTIBILITY_STATE);
    return v->skipped ? state & ~SHADOW : state;
}

// An event that is injected would take the place of a single step that is due (SDM 26.6.3).
static bool step_due(struct vcpu *v, uint64_t rflags) {
    return v->skipped && (rflags & RFLAGS_TF) != 0;
}

bool vmx_can_interrupt(struct vcpu *v) {
    uint64_t rflags = vmx_read(VMCS_GUEST_RFLAGS);
    return (rflags & RFLAGS_IF) != 0 && !step_due(v, rflags) && (interruptibility(v) & SHADOW) == 0 &&
        (vmx_read32(VMCS_ENTRY_INTERRUPTION_INFO) & INTERRUPTION_VALID) == 0;
}

// Whether the last exit's IDT-vectoring information means anything: only exits that can
// come out of an event's delivery fill it in (SDM 27.2.4).
static uint32_t vectoring_info(void) {
    switch (vmx_read32(VMCS_EXIT_REASON) & REASON_BASIC_MASK) {
        case REASON_EXCEPTION_OR_NMI:
        case REASON_TASK_SWITCH:
        case REASON_APIC_ACCESS:
        case REASON_EPT_VIOLATION:
        case REASON_EPT_MISCONFIGURATION:
        case REASON_PML_FULL:
        case REASON_SPP: {
            uint32_t info = vmx_read32(VMCS_IDT_VECTORING_INFO);
            return info & INTERRUPTION_VALID ? info : 0;
        }
        default:
            return 0;
    }
}

static uint32_t interruption_type(uint32_t info) {
    return info >> INTERRUPTION_TYPE_SHIFT & INTERRUPTION_TYPE_MASK;
}

static void set_interruptibility(uint32_t state) {
    vmx_write(VMCS_GUEST_INTERRUPTIBILITY_STATE, state);
}

// An NMI waits while one is being handled, unless it is that one, whose delivery the last
// exit interrupted.
static bool nmi_must_wait(struct vcpu *v, uint32_t *state) {
    if ((vmx_read32(VMCS_ENTRY_INTERRUPTION_INFO) & INTERRUPTION_VALID) ||
        step_due(v, vmx_read(VMCS_GUEST_RFLAGS))) {
        return true; // another event goes first
    }
    if (*state & BLOCKING_BY_NMI) {
        uint32_t info = vectoring_info();
        if (info == 0 || interruption_type(info) != INTERRUPTION_NMI) {
            return true;
        }
        *state &= ~BLOCKING_BY_NMI;
    }
    return (*state & SHADOW) != 0;
}

void vmx_inject(struct vcpu *v, uint32_t event, uint32_t error) {
    uint32_t vector = event & INTERRUPTION_VECTOR;
    uint32_t type = interruption_type(event);
    uint32_t old_state = vmx_read32(VMCS_GUEST_INTERRUPTIBILITY_STATE);
    uint32_t state = interruptibility(v);
    uint32_t info = INTERRUPTION_VALID | vector;

    if (type == EVENT_NMI && nmi_must_wait(v, &state)) {
        struct vmx_vcpu *x = vmx_of(v);
        uint8_t limit = state & BLOCKING_BY_NMI ? NMI_LATCHES - 1 : NMI_LATCHES;
        if (x->nmi_waiting < limit) {
            x->nmi_waiting++;
        }
        primary_control(CPU_NMI_WINDOW, true);
        return;
    }
    switch (type) {
        case EVENT_EXTERNAL:
            info |= INTERRUPTION_EXTERNAL << INTERRUPTION_TYPE_SHIFT;
            break;
        case EVENT_NMI:
            info |= INTERRUPTION_NMI << INTERRUPTION_TYPE_SHIFT;
            break;
        case EVENT_SOFTWARE: {
            uint32_t software = vector == EXC_DB ? INTERRUPTION_PRIVILEGED_EXCEPTION
                : vector == EXC_BP || vector == EXC_BP + 1 ? INTERRUPTION_SOFTWARE_EXCEPTION
                : INTERRUPTION_SOFTWARE_INTERRUPT;
            // Of the INT whose delivery is taken up again; RIP still points at it.
            vmx_write(VMCS_ENTRY_INSTRUCTION_LENGTH, vmx_read(VMCS_EXIT_INSTRUCTION_LENGTH));
            info |= software << INTERRUPTION_TYPE_SHIFT;
            break;
        }
        default:
            info |= INTERRUPTION_HARDWARE_EXCEPTION << INTERRUPTION_TYPE_SHIFT;
            // Real mode pushes no error code, and entry refuses one (SDM 26.2.1.3).
            if ((event & EVENT_HAS_ERROR) && (vmx_read(VMCS_GUEST_CR0) & CR0_PE)) {
                info |= INTERRUPTION_HAS_ERROR;
                vmx_write(VMCS_ENTRY_EXCEPTION_ERROR_CODE, error & UINT32_C(0xFFFF));
            }
            break;
    }
    state &= ~SHADOW; // delivery ends it, and with it and TF entry wants a pending step (SDM 26.3.1.5)
    if (state != old_state) {
        set_interruptibility(state);
    }
    // A halted guest is woken: some events may not meet it asleep (SDM 26.3.1.5).
    if (vmx_read32(VMCS_GUEST_ACTIVITY_STATE) != ACTIVITY_ACTIVE) {
        vmx_write(VMCS_GUEST_ACTIVITY_STATE, ACTIVITY_ACTIVE);
    }
    vmx_write(VMCS_ENTRY_INTERRUPTION_INFO, info);
}

void vmx_uninject(struct vcpu *v) {
    (void)v;
    vmx_write(VMCS_ENTRY_INTERRUPTION_INFO, 0);
    // Bochs notes a single step at an exit out of an instruction that did not complete.
    vmx_write(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
}

uint32_t vmx_vectoring(struct vcpu *v, uint32_t *error) {
    (void)v;
    uint32_t info = vectoring_info();
    if (info == 0) {
        return 0;
    }
    uint32_t event = EVENT_VALID | (info & INTERRUPTION_VECTOR);
    switch (interruption_type(info)) {
        case INTERRUPTION_EXTERNAL:
            event |= EVENT_EXTERNAL << EVENT_TYPE_SHIFT;
            break;
        case INTERRUPTION_NMI:
            event |= EVENT_NMI << EVENT_TYPE_SHIFT;
            break;
        case INTERRUPTION_HARDWARE_EXCEPTION:
            event |= EVENT_EXCEPTION << EVENT_TYPE_SHIFT;
            break;
        default:
            event |= EVENT_SOFTWARE << EVENT_TYPE_SHIFT;
            break;
    }
    if (info & INTERRUPTION_HAS_ERROR) {
        event |= EVENT_HAS_ERROR;
        *error = vmx_read32(VMCS_IDT_VECTORING_ERROR_CODE);
    } else {
        *error = 0;
    }
    return event;
}

void vmx_window(struct vcpu *v, bool on) {
    (void)v;
    primary_control(CPU_INTERRUPT_WINDOW, on);
}

void vmx_nmi_window_opened(struct vcpu *v) {
    struct vmx_vcpu *x = vmx_of(v);
    if (x->nmi_waiting <= 1) {
        primary_control(CPU_NMI_WINDOW, false);
    }
    if (x->nmi_waiting != 0) {
        x->nmi_waiting--;
        vmx_inject(v, EVENT_VALID | EVENT_NMI << EVENT_TYPE_SHIFT | EXC_NMI, 0);
    }
}

// An instruction breakpoint is a fault: the RFLAGS that its handler returns with must have
// RF set, or it strikes again. Not every CPU leaves it so in the VMCS (SDM 27.3.3).
static void resume_past_breakpoint(uint64_t causes, uint64_t dr7) {
    for (unsigned i = 0; i < 4; i++) {
        if ((causes >> i & 1) && (dr7 >> DR7_TYPE_SHIFT(i) & DR7_TYPE_MASK) == 0) {
            vmx_write(VMCS_GUEST_RFLAGS, vmx_read(VMCS_GUEST_RFLAGS) | RFLAGS_RF);
        }
    }
}

// Gives the guest the exception that this exit took from it.
void vmx_reflect(uint32_t info) {
    uint32_t vector = info & INTERRUPTION_VECTOR;
    if (vector == EXC_DB) {
        // The exit left DR6 and DR7 as they were (SDM 27.1): do what delivery does.
        uint64_t causes = vmx_read(VMCS_EXIT_QUALIFICATION) & QUAL_DEBUG_DR6;
        if (interruption_type(info) == INTERRUPTION_PRIVILEGED_EXCEPTION) {
            causes &= ~DR6_BS; // INT1 is not a step, whatever Bochs says of it
        }
        write_dr6((read_dr6() & ~DR6_TRAPS) | causes); // the other bits are software's to clear
        uint64_t dr7 = vmx_read(VMCS_GUEST_DR7);
        vmx_write(VMCS_GUEST_DR7, dr7 & ~DR7_GD);
        resume_past_breakpoint(causes, dr7);
        set_interruptibility(vmx_read32(VMCS_GUEST_INTERRUPTIBILITY_STATE) & ~SHADOW); // as in vmx_inject
    }
    vmx_write(VMCS_ENTRY_INSTRUCTION_LENGTH, vmx_read(VMCS_EXIT_INSTRUCTION_LENGTH)); // INT1's
    if (info & INTERRUPTION_HAS_ERROR) {
        vmx_write(VMCS_ENTRY_EXCEPTION_ERROR_CODE, vmx_read(VMCS_EXIT_INTERRUPTION_ERROR_CODE));
    }
    uint32_t kept = INTERRUPTION_VECTOR | INTERRUPTION_TYPE_MASK << INTERRUPTION_TYPE_SHIFT |
        INTERRUPTION_HAS_ERROR | INTERRUPTION_VALID;
    vmx_write(VMCS_ENTRY_INTERRUPTION_INFO, info & kept);
}
