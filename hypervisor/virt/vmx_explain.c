// Why an entry was refused: the manual's rules for control fields and guest state (SDM 26.2
// and 26.3), each with the field that breaks it and its value.
#include "cpu/log.h"
#include "cpu/string.h"
#include "virt/vmx.h"
#include "virt/x86.h"

struct report {
    char *buffer;
    size_t size, used;
    uint32_t broken;
};

static void put(struct report *r, const char *text) {
    if (r->used + 1 < r->size) {
        str_copy(r->buffer + r->used, r->size - r->used, text);
        r->used += strlen(r->buffer + r->used);
    }
}

// Reports `rule` about `field` unless it holds.
static void expect(struct report *r, bool holds, const char *field, uint64_t value, const char *rule) {
    if (holds) {
        return;
    }
    char number[24];
    fmt_snprintf(number, sizeof(number), " = 0x%lx: ", value);
    put(r, r->broken++ ? "; " : "");
    put(r, field);
    put(r, number);
    put(r, rule);
}

static bool canonical(uint64_t address) {
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

static bool within_machine(uint64_t address) {
    return address >> virt_caps.phys_bits == 0;
}

// SDM 30.4, VM-instruction error numbers.
const char *vmx_instruction_error(uint32_t number) {
    static const char *const text[] = {
        [0] = "no current VMCS (VMfailInvalid)",
        [1] = "VMCALL executed in VMX root operation",
        [2] = "VMCLEAR with an invalid physical address",
        [3] = "VMCLEAR with the VMXON pointer",
        [4] = "VMLAUNCH with a VMCS that is not clear",
        [5] = "VMRESUME with a VMCS that is not launched",
        [6] = "VMRESUME after VMXOFF",
        [7] = "VM entry with invalid control fields",
        [8] = "VM entry with invalid host-state fields",
        [9] = "VMPTRLD with an invalid physical address",
        [10] = "VMPTRLD with the VMXON pointer",
        [11] = "VMPTRLD with a wrong VMCS revision",
        [12] = "VMREAD or VMWRITE of an unsupported field",
        [13] = "VMWRITE to a read-only field",
        [15] = "VMXON executed in VMX root operation",
        [16] = "VM entry with an invalid executive-VMCS pointer",
        [17] = "VM entry with an executive VMCS that is not launched",
        [18] = "VM entry with an executive-VMCS pointer that is not the VMXON pointer",
        [19] = "VMCALL with a VMCS that is not clear",
        [20] = "VMCALL with invalid VM-exit control fields",
        [22] = "VMCALL with a wrong MSEG revision",
        [23] = "VMXOFF under dual-monitor treatment",
        [24] = "VMCALL with invalid SMM-monitor features",
        [25] = "VM entry with invalid execution controls in the executive VMCS",
        [26] = "VM entry with events blocked by MOV SS",
        [28] = "invalid operand to INVEPT or INVVPID",
    };
    if (number < sizeof(text) / sizeof(text[0]) && text[number] != NULL) {
        return text[number];
    }
    return "an error number that the manual does not define";
}

// 26.2.1
static void check_controls(struct report *r) {
    const struct vmx_machine *m = &vmx_machine;
    uint64_t pin = vmx_read(VMCS_PIN_BASED_CONTROLS);
    uint64_t primary = vmx_read(VMCS_PRIMARY_CONTROLS);
    uint64_t secondary = vmx_read(VMCS_SECONDARY_CONTROLS);
    uint64_t entry = vmx_read(VMCS_ENTRY_CONTROLS);
    uint64_t exit = vmx_read(VMCS_EXIT_CONTROLS);
    uint64_t eptp = vmx_read(VMCS_EPT_POINTER);
    uint64_t bitmap = vmx_read(VMCS_MSR_BITMAPS);
    uint64_t vpid = vmx_read(VMCS_VPID);
    const uint64_t windows = CPU_INTERRUPT_WINDOW | CPU_NMI_WINDOW;

    expect(r, pin == m->pin, "PIN_BASED_CONTROLS", pin, "not what the capability MSR led to (26.2.1.1)");
    expect(r, (primary & ~windows) == m->primary, "PRIMARY_CONTROLS", primary,
        "not what the capability MSR led to (26.2.1.1)");
    expect(r, secondary == m->secondary, "SECONDARY_CONTROLS", secondary,
        "not what the capability MSR led to (26.2.1.1)");
    expect(r, exit == m->exit, "EXIT_CONTROLS", exit, "not what the capability MSR led to (26.2.1.2)");
    expect(r, (entry & ~(uint64_t)ENTRY_CTL_IA32E) == m->entry, "ENTRY_CONTROLS", entry,
        "not what the capability MSR led to (26.2.1.3)");
    expect(r, (bitmap & 0xFFF) == 0 && within_machine(bitmap), "MSR_BITMAPS", bitmap,
        "must be a page of physical memory (26.2.1.1)");
    expect(r, vpid != 0, "VPID", vpid, "must not be 0 (26.2.1.1)");
    expect(r, (eptp & 0xFFF) == m->eptp_bits && within_machine(eptp), "EPT_POINTER", eptp,
        "memory type, walk length and reserved bits (26.2.1.1)");
    expect(r, !(primary & CPU_NMI_WINDOW) || (pin & PIN_VIRTUAL_NMI), "PRIMARY_CONTROLS", primary,
        "NMI-window exiting needs virtual NMIs (26.2.1.1)");
}

// 26.2.1.3
static void check_injection(struct report *r) {
    uint64_t info = vmx_read(VMCS_ENTRY_INTERRUPTION_INFO);
    if (!(info & INTERRUPTION_VALID)) {
        return;
    }
    uint64_t type = info >> INTERRUPTION_TYPE_SHIFT & INTERRUPTION_TYPE_MASK;
    uint64_t vector = info & INTERRUPTION_VECTOR;
    uint64_t length = vmx_read(VMCS_ENTRY_INSTRUCTION_LENGTH);
    uint64_t error = vmx_read(VMCS_ENTRY_EXCEPTION_ERROR_CODE);
    uint64_t cr0 = vmx_read(VMCS_GUEST_CR0);
    uint64_t rflags = vmx_read(VMCS_GUEST_RFLAGS);
    uint64_t state = vmx_read(VMCS_GUEST_INTERRUPTIBILITY_STATE);
    bool software = type >= INTERRUPTION_SOFTWARE_INTERRUPT && type <= INTERRUPTION_SOFTWARE_EXCEPTION;
    const uint64_t pushes_error = UINT64_C(0x227D00); // #DF #TS #NP #SS #GP #PF #AC #CP
    bool may_push = type == INTERRUPTION_HARDWARE_EXCEPTION && vector < 32 && (pushes_error >> vector & 1);

    expect(r, type != 1 && type != 7, "ENTRY_INTERRUPTION_INFO", info, "the type is reserved (26.2.1.3)");
    expect(r, (info & UINT64_C(0x7FFFF000)) == 0, "ENTRY_INTERRUPTION_INFO", info,
        "bits 12 to 30 must be 0 (26.2.1.3)");
    expect(r, type != INTERRUPTION_NMI || vector == EXC_NMI, "ENTRY_INTERRUPTION_INFO", info,
        "an NMI has vector 2 (26.2.1.3)");
    expect(r, type != INTERRUPTION_HARDWARE_EXCEPTION || vector < 32, "ENTRY_INTERRUPTION_INFO", info,
        "an exception's vector is below 32 (26.2.1.3)");
    if (info & INTERRUPTION_HAS_ERROR) {
        expect(r, may_push && (cr0 & CR0_PE), "ENTRY_INTERRUPTION_INFO", info,
            "this event has no error code (26.2.1.3)");
        expect(r, error >> 16 == 0, "ENTRY_EXCEPTION_ERROR_CODE", error, "bits 16 to 31 must be 0 (26.2.1.3)");
    } else {
        expect(r, !may_push || !(cr0 & CR0_PE), "ENTRY_INTERRUPTION_INFO", info,
            "this exception needs its error code (26.2.1.3)");
    }
    expect(r, !software || (length >= 1 && length <= 15), "ENTRY_INSTRUCTION_LENGTH", length,
        "a software event's instruction has 1 to 15 bytes (26.2.1.3)");
    // 26.3.1.4, 26.3.1.5
    if (type == INTERRUPTION_EXTERNAL) {
        expect(r, (rflags & RFLAGS_IF) != 0, "GUEST_RFLAGS", rflags,
            "IF must be 1 to inject an external interrupt (26.3.1.4)");
        expect(r, !(state & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS)), "GUEST_INTERRUPTIBILITY_STATE", state,
            "no interrupt can be injected into a shadow (26.3.1.5)");
    } else if (type == INTERRUPTION_NMI) {
        expect(r, !(state & (BLOCKING_BY_MOV_SS | BLOCKING_BY_NMI)), "GUEST_INTERRUPTIBILITY_STATE", state,
            "no NMI can be injected while NMIs are blocked (26.3.1.5)");
    }
}

// 26.2.2 to 26.2.4
static void check_host(struct report *r) {
    const struct vmx_machine *m = &vmx_machine;
    uint64_t cr0 = vmx_read(VMCS_HOST_CR0);
    uint64_t cr4 = vmx_read(VMCS_HOST_CR4);
    uint64_t cs = vmx_read(VMCS_HOST_CS_SELECTOR);
    uint64_t tr = vmx_read(VMCS_HOST_TR_SELECTOR);
    uint64_t rip = vmx_read(VMCS_HOST_RIP);
    uint64_t gs = vmx_read(VMCS_HOST_GS_BASE);
    expect(r, (cr0 & m->cr0_fixed0) == m->cr0_fixed0 && !(cr0 & ~m->cr0_fixed1), "HOST_CR0", cr0,
        "breaks the fixed bits (26.2.2)");
    expect(r, (cr4 & m->cr4_fixed0) == m->cr4_fixed0 && !(cr4 & ~m->cr4_fixed1), "HOST_CR4", cr4,
        "breaks the fixed bits (26.2.2)");
    expect(r, cs != 0 && !(cs & 7), "HOST_CS_SELECTOR", cs, "must not be null, nor have RPL or TI (26.2.3)");
    expect(r, tr != 0 && !(tr & 7), "HOST_TR_SELECTOR", tr, "must not be null, nor have RPL or TI (26.2.3)");
    expect(r, canonical(rip), "HOST_RIP", rip, "must be canonical (26.2.4)");
    expect(r, canonical(gs), "HOST_GS_BASE", gs, "must be canonical (26.2.3)");
}

// 26.3.1.1
static void check_registers(struct report *r, bool ia32e) {
    const struct vmx_machine *m = &vmx_machine;
    uint64_t cr0 = vmx_read(VMCS_GUEST_CR0);
    uint64_t cr3 = vmx_read(VMCS_GUEST_CR3);
    uint64_t cr4 = vmx_read(VMCS_GUEST_CR4);
    uint64_t efer = vmx_read(VMCS_GUEST_IA32_EFER);
    uint64_t dr7 = vmx_read(VMCS_GUEST_DR7);
    uint64_t cr0_must = m->cr0_fixed0 & ~(CR0_PE | CR0_PG);

    expect(r, (cr0 & cr0_must) == cr0_must, "GUEST_CR0", cr0, "lacks a bit of IA32_VMX_CR0_FIXED0 (26.3.1.1)");
    expect(r, !(cr0 & ~m->cr0_fixed1), "GUEST_CR0", cr0, "has a bit outside IA32_VMX_CR0_FIXED1 (26.3.1.1)");
    expect(r, !(cr0 & CR0_PG) || (cr0 & CR0_PE), "GUEST_CR0", cr0, "PG needs PE (26.3.1.1)");
    expect(r, (cr4 & m->cr4_fixed0) == m->cr4_fixed0, "GUEST_CR4", cr4,
        "lacks a bit of IA32_VMX_CR4_FIXED0 (26.3.1.1)");
    expect(r, !(cr4 & ~m->cr4_fixed1), "GUEST_CR4", cr4, "has a bit outside IA32_VMX_CR4_FIXED1 (26.3.1.1)");
    expect(r, !ia32e || (cr0 & CR0_PG), "GUEST_CR0", cr0, "IA-32e mode needs PG (26.3.1.1)");
    expect(r, !ia32e || (cr4 & CR4_PAE), "GUEST_CR4", cr4, "IA-32e mode needs PAE (26.3.1.1)");
    expect(r, ia32e || !(cr4 & CR4_PCIDE), "GUEST_CR4", cr4, "PCIDE needs IA-32e mode (26.3.1.1)");
    expect(r, within_machine(cr3), "GUEST_CR3", cr3, "lies beyond the physical addresses (26.3.1.1)");
    expect(r, !(efer & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)), "GUEST_IA32_EFER", efer,
        "has a reserved bit (26.3.1.1)");
    expect(r, ((efer & EFER_LMA) != 0) == ia32e, "GUEST_IA32_EFER", efer,
        "LMA must equal the IA-32e entry control (26.3.1.1)");
    expect(r, !(cr0 & CR0_PG) || ((efer & EFER_LMA) != 0) == ((efer & EFER_LME) != 0), "GUEST_IA32_EFER", efer,
        "LMA must equal LME while paging is on (26.3.1.1)");
    expect(r, dr7 >> 32 == 0, "GUEST_DR7", dr7, "bits 32 to 63 must be 0 (26.3.1.1)");
}

struct segment_view {
    const char *name;
    uint64_t selector, base, limit, rights;
};

static void read_segment(uint32_t index, struct segment_view *s) {
    static const char *const names[SEG_COUNT] = { "ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR" };
    uint32_t offset = index * VMCS_SEGMENT_STRIDE;
    s->name = names[index];
    s->selector = vmx_read(VMCS_GUEST_ES_SELECTOR + offset);
    s->base = vmx_read(VMCS_GUEST_ES_BASE + offset);
    s->limit = vmx_read(VMCS_GUEST_ES_LIMIT + offset);
    s->rights = vmx_read(VMCS_GUEST_ES_ACCESS_RIGHTS + offset);
}

static void expect_segment(struct report *r, bool holds, const struct segment_view *s, const char *part,
    uint64_t value, const char *rule) {
    char field[40];
    fmt_snprintf(field, sizeof(field), "GUEST_%s_%s", s->name, part);
    expect(r, holds, field, value, rule);
}

static void check_segment(struct report *r, uint32_t index, const struct segment_view *s, bool ia32e, bool vm86) {
    uint64_t ar = s->rights;
    uint64_t type = ar & AR_TYPE;
    if (vm86) { // virtual-8086 mode fixes everything
        expect_segment(r, s->base == s->selector << 4, s, "BASE", s->base,
            "must be the selector times 16 in virtual-8086 mode (26.3.1.2)");
        expect_segment(r, s->limit == 0xFFFF, s, "LIMIT", s->limit, "must be 0xffff in virtual-8086 mode (26.3.1.2)");
        expect_segment(r, ar == 0xF3, s, "ACCESS_RIGHTS", ar, "must be 0xf3 in virtual-8086 mode (26.3.1.2)");
        return;
    }
    if (ar & SEG_ATTR_UNUSABLE) {
        expect_segment(r, index != SEG_CS, s, "ACCESS_RIGHTS", ar, "must be usable (26.3.1.2)");
        return;
    }
    expect_segment(r, (ar & AR_S) != 0, s, "ACCESS_RIGHTS", ar, "S must be 1 (26.3.1.2)");
    expect_segment(r, (ar & AR_P) != 0, s, "ACCESS_RIGHTS", ar, "P must be 1 (26.3.1.2)");
    expect_segment(r, !(ar & AR_RESERVED), s, "ACCESS_RIGHTS", ar, "has a reserved bit (26.3.1.2)");
    expect_segment(r, (s->limit & 0xFFF) == 0xFFF || !(ar & SEG_ATTR_G), s, "ACCESS_RIGHTS", ar,
        "G needs a limit that ends in 0xfff (26.3.1.2)");
    expect_segment(r, s->limit >> 20 == 0 || (ar & SEG_ATTR_G), s, "ACCESS_RIGHTS", ar,
        "a limit above 0xfffff needs G (26.3.1.2)");
    if (index == SEG_CS) {
        expect_segment(r, (type & AR_TYPE_ACCESSED) && ((type & AR_TYPE_CODE) || type == 3), s, "ACCESS_RIGHTS", ar,
            "must be accessed code, or type 3 for an unrestricted guest (26.3.1.2)");
        expect_segment(r, !ia32e || !(ar & SEG_ATTR_L) || !(ar & SEG_ATTR_DB), s, "ACCESS_RIGHTS", ar,
            "L and D exclude each other (26.3.1.2)");
    } else if (index == SEG_SS) {
        expect_segment(r, type == 3 || type == 7, s, "ACCESS_RIGHTS", ar, "must be type 3 or 7 (26.3.1.2)");
    } else {
        expect_segment(r, (type & AR_TYPE_ACCESSED) != 0, s, "ACCESS_RIGHTS", ar, "must be accessed (26.3.1.2)");
        expect_segment(r, !(type & AR_TYPE_CODE) || (type & AR_TYPE_WRITABLE), s, "ACCESS_RIGHTS", ar,
            "code must be readable (26.3.1.2)");
    }
    if (index == SEG_FS || index == SEG_GS) {
        expect_segment(r, canonical(s->base), s, "BASE", s->base, "must be canonical (26.3.1.2)");
    } else {
        expect_segment(r, s->base >> 32 == 0, s, "BASE", s->base, "bits 32 to 63 must be 0 (26.3.1.2)");
    }
}

static void check_system_segments(struct report *r, const struct segment_view *ldtr, const struct segment_view *tr,
    bool ia32e) {
    uint64_t type = tr->rights & AR_TYPE;
    expect_segment(r, !(tr->rights & SEG_ATTR_UNUSABLE), tr, "ACCESS_RIGHTS", tr->rights, "must be usable (26.3.1.2)");
    expect_segment(r, type == 11 || (type == 3 && !ia32e), tr, "ACCESS_RIGHTS", tr->rights,
        "must be a busy TSS, 64-bit in IA-32e mode (26.3.1.2)");
    expect_segment(r, !(tr->rights & AR_S) && (tr->rights & AR_P), tr, "ACCESS_RIGHTS", tr->rights,
        "must be a present system segment (26.3.1.2)");
    expect_segment(r, !(tr->selector & 4), tr, "SELECTOR", tr->selector, "TI must be 0 (26.3.1.2)");
    expect_segment(r, canonical(tr->base), tr, "BASE", tr->base, "must be canonical (26.3.1.2)");
    if (!(ldtr->rights & SEG_ATTR_UNUSABLE)) {
        expect_segment(r, (ldtr->rights & AR_TYPE) == 2 && !(ldtr->rights & AR_S) && (ldtr->rights & AR_P), ldtr,
            "ACCESS_RIGHTS", ldtr->rights, "must be a present LDT (26.3.1.2)");
        expect_segment(r, canonical(ldtr->base), ldtr, "BASE", ldtr->base, "must be canonical (26.3.1.2)");
    }
}

static void check_segments(struct report *r, bool ia32e) {
    struct segment_view s[SEG_COUNT];
    bool vm86 = (vmx_read(VMCS_GUEST_RFLAGS) & RFLAGS_VM) != 0;
    bool protected_mode = (vmx_read(VMCS_GUEST_CR0) & CR0_PE) != 0;
    for (uint32_t i = 0; i < SEG_COUNT; i++) {
        read_segment(i, &s[i]);
    }
    for (uint32_t i = SEG_ES; i <= SEG_GS; i++) {
        check_segment(r, i, &s[i], ia32e, vm86);
    }
    check_system_segments(r, &s[SEG_LDTR], &s[SEG_TR], ia32e);

    // Privilege: SS.DPL is the CPL.
    uint64_t ss_dpl = s[SEG_SS].rights >> AR_DPL_SHIFT & AR_DPL_MASK;
    uint64_t cs_dpl = s[SEG_CS].rights >> AR_DPL_SHIFT & AR_DPL_MASK;
    uint64_t cs_type = s[SEG_CS].rights & AR_TYPE;
    if (!vm86 && protected_mode && !(s[SEG_SS].rights & SEG_ATTR_UNUSABLE)) {
        if (cs_type == 9 || cs_type == 11) {
            expect_segment(r, cs_dpl == ss_dpl, &s[SEG_CS], "ACCESS_RIGHTS", s[SEG_CS].rights,
                "DPL must equal that of SS (26.3.1.2)");
        } else if (cs_type == 13 || cs_type == 15) {
            expect_segment(r, cs_dpl <= ss_dpl, &s[SEG_CS], "ACCESS_RIGHTS", s[SEG_CS].rights,
                "DPL of conforming code must not exceed that of SS (26.3.1.2)");
        }
    }
    expect_segment(r, protected_mode || ss_dpl == 0, &s[SEG_SS], "ACCESS_RIGHTS", s[SEG_SS].rights,
        "DPL must be 0 in real mode (26.3.1.2)");
}

// 26.3.1.3 to 26.3.1.6
static void check_rest(struct report *r, bool ia32e) {
    uint64_t rflags = vmx_read(VMCS_GUEST_RFLAGS);
    uint64_t rip = vmx_read(VMCS_GUEST_RIP);
    uint64_t cr0 = vmx_read(VMCS_GUEST_CR0);
    uint64_t cs_rights = vmx_read(VMCS_GUEST_ES_ACCESS_RIGHTS + SEG_CS * VMCS_SEGMENT_STRIDE);
    uint64_t activity = vmx_read(VMCS_GUEST_ACTIVITY_STATE);
    uint64_t state = vmx_read(VMCS_GUEST_INTERRUPTIBILITY_STATE);
    uint64_t link = vmx_read(VMCS_LINK_POINTER);
    uint64_t gdt_limit = vmx_read(VMCS_GUEST_GDTR_LIMIT);
    uint64_t idt_limit = vmx_read(VMCS_GUEST_IDTR_LIMIT);
    uint64_t ss_dpl =
        vmx_read(VMCS_GUEST_ES_ACCESS_RIGHTS + SEG_SS * VMCS_SEGMENT_STRIDE) >> AR_DPL_SHIFT & AR_DPL_MASK;
    const uint64_t shadow = BLOCKING_BY_STI | BLOCKING_BY_MOV_SS;

    expect(r, gdt_limit >> 16 == 0, "GUEST_GDTR_LIMIT", gdt_limit, "bits 16 to 31 must be 0 (26.3.1.3)");
    expect(r, idt_limit >> 16 == 0, "GUEST_IDTR_LIMIT", idt_limit, "bits 16 to 31 must be 0 (26.3.1.3)");
    if (ia32e && (cs_rights & SEG_ATTR_L)) {
        expect(r, canonical(rip), "GUEST_RIP", rip, "must be canonical (26.3.1.4)");
    } else {
        expect(r, rip >> 32 == 0, "GUEST_RIP", rip, "bits 32 to 63 must be 0 outside 64-bit code (26.3.1.4)");
    }
    expect(r, !(rflags & RFLAGS_RESERVED) && (rflags & RFLAGS_FIXED), "GUEST_RFLAGS", rflags,
        "reserved bits must be 0, bit 1 must be 1 (26.3.1.4)");
    expect(r, !(rflags & RFLAGS_VM) || (!ia32e && (cr0 & CR0_PE)), "GUEST_RFLAGS", rflags,
        "VM needs protected mode without IA-32e (26.3.1.4)");
    expect(r, activity <= ACTIVITY_WAIT_SIPI, "GUEST_ACTIVITY_STATE", activity, "unknown (26.3.1.5)");
    expect(r, activity != ACTIVITY_HLT || ss_dpl == 0, "GUEST_ACTIVITY_STATE", activity,
        "halted needs privilege level 0 (26.3.1.5)");
    expect(r, !(state & shadow) || activity == ACTIVITY_ACTIVE, "GUEST_INTERRUPTIBILITY_STATE", state,
        "a shadow needs an active guest (26.3.1.5)");
    expect(r, (state & shadow) != shadow, "GUEST_INTERRUPTIBILITY_STATE", state,
        "STI and MOV SS cannot both block (26.3.1.5)");
    expect(r, !(state & BLOCKING_BY_STI) || (rflags & RFLAGS_IF), "GUEST_INTERRUPTIBILITY_STATE", state,
        "blocking by STI needs IF = 1 (26.3.1.5)");
    expect(r, state >> 4 == 0 && !(state & BLOCKING_BY_SMI), "GUEST_INTERRUPTIBILITY_STATE", state,
        "reserved bits must be 0, no SMI can block (26.3.1.5)");
    expect(r, link == VMCS_NO_LINK, "VMCS_LINK_POINTER", link, "must be all ones (26.3.1.5)");

    if (vmx_pae_active()) {
        const uint64_t reserved = UINT64_C(0x1E6);
        for (uint32_t i = 0; i < 4; i++) {
            uint64_t pdpte = vmx_read(VMCS_GUEST_PDPTE0 + i * VMCS_SEGMENT_STRIDE);
            char field[16];
            fmt_snprintf(field, sizeof(field), "GUEST_PDPTE%u", i);
            expect(r, !(pdpte & 1) || (!(pdpte & reserved) && within_machine(pdpte)), field, pdpte,
                "has reserved bits (26.3.1.6)");
        }
    }
}

static void describe_failure(struct report *r, const struct vmx_vcpu *x) {
    char text[160];
    switch (x->failure) {
        case VMX_FAILURE_INSTRUCTION:
            fmt_snprintf(text, sizeof(text), "VM-instruction error %u, %s: ", x->failure_code,
                vmx_instruction_error(x->failure_code));
            break;
        case VMX_FAILURE_ENTRY:
            fmt_snprintf(text, sizeof(text), "reason %u (%s), qualification %lu: ", x->failure_code,
                x->failure_code == REASON_ENTRY_GUEST_STATE ? "invalid guest state"
                : x->failure_code == REASON_ENTRY_MSR_LOADING ? "loading an MSR"
                : x->failure_code == REASON_ENTRY_MACHINE_CHECK ? "machine check" : "unknown",
                x->failure_qualification);
            break;
        default:
            return;
    }
    put(r, text);
}

void vmx_explain(struct vcpu *v, char *buffer, size_t size) {
    struct report r = { .buffer = buffer, .size = size };
    if (size == 0) {
        return;
    }
    buffer[0] = 0;
    bool ia32e = (vmx_read(VMCS_ENTRY_CONTROLS) & ENTRY_CTL_IA32E) != 0;
    describe_failure(&r, vmx_of(v));
    check_controls(&r);
    check_injection(&r);
    check_host(&r);
    check_registers(&r, ia32e);
    check_segments(&r, ia32e);
    check_rest(&r, ia32e);
    if (r.broken == 0) {
        put(&r, "no rule of SDM 26.2 and 26.3 is found broken");
    }
}
