// What this CPU's VT-x can do: the capability MSRs (SDM appendix A), what is missing by
// name, and the controls of every VMCS.
#include "cpu/insn.h"
#include "cpu/err.h"
#include "cpu/string.h"
#include "virt/vmx.h"
#include "virt/x86.h"

struct vmx_machine vmx_machine;

struct control {
    uint32_t bit;
    const char *name;
};

// Controls without which the back end does not work.
static const struct control pin_required[] = {
    { PIN_EXTERNAL_INTERRUPT, "VT-x external-interrupt exiting" },
    { PIN_NMI, "VT-x NMI exiting" },
    { PIN_VIRTUAL_NMI, "VT-x virtual NMIs" },
    { 0, NULL },
};
static const struct control primary_required[] = {
    { CPU_TSC_OFFSET, "VT-x TSC offsetting" },
    { CPU_HLT, "VT-x HLT exiting" },
    { CPU_CR8_LOAD | CPU_CR8_STORE, "VT-x CR8 exiting" },
    { CPU_MOV_DR, "VT-x MOV-DR exiting" },
    { CPU_UNCONDITIONAL_IO, "VT-x unconditional I/O exiting" },
    { CPU_MSR_BITMAPS, "VT-x MSR bitmaps" },
    { CPU_SECONDARY, "VT-x secondary controls" },
    { 0, NULL },
};
static const struct control secondary_required[] = {
    { CPU2_EPT, "EPT" },
    { CPU2_UNRESTRICTED, "VT-x unrestricted guest" },
    { CPU2_VPID, "VPID" },
    { CPU2_WBINVD, "VT-x WBINVD exiting" },
    { 0, NULL },
};
static const struct control exit_required[] = {
    { EXIT_CTL_SAVE_DEBUG, "VT-x saving of debug controls" },
    { EXIT_CTL_HOST_64, "VT-x 64-bit host" },
    { EXIT_CTL_SAVE_PAT | EXIT_CTL_LOAD_PAT, "VT-x PAT switching" },
    { EXIT_CTL_SAVE_EFER | EXIT_CTL_LOAD_EFER, "VT-x EFER switching" },
    { 0, NULL },
};
static const struct control entry_required[] = {
    { ENTRY_CTL_LOAD_DEBUG, "VT-x loading of debug controls" },
    { ENTRY_CTL_IA32E, "VT-x IA-32e guests" },
    { ENTRY_CTL_LOAD_PAT, "VT-x PAT loading" },
    { ENTRY_CTL_LOAD_EFER, "VT-x EFER loading" },
    { 0, NULL },
};

static void append(char *missing, size_t size, const char *name) {
    size_t length = strlen(missing);
    if (length != 0 && length + 1 < size) {
        str_copy(missing + length, size - length, ",");
        length++;
    }
    str_copy(missing + length, size - length, name);
}

// A capability MSR's low half has the bits that must be 1, its high half those that may be.
// Returns the control word; names what is required and cannot be set.
static uint32_t control_word(uint64_t capability, const struct control *required, uint32_t optional,
    char *missing, size_t size) {
    uint32_t must = (uint32_t)capability;
    uint32_t may = (uint32_t)(capability >> 32);
    uint32_t value = must | (optional & may);
    for (; required->name != NULL; required++) {
        if ((required->bit & may) != required->bit) {
            append(missing, size, required->name);
        }
        value |= required->bit & may;
    }
    return value;
}

bool vmx_present(void) {
    struct cpuid_regs vendor = cpuid(0, 0);
    return vendor.eax >= 1 && (cpuid(1, 0).ecx & CPUID_1_ECX_VMX) != 0;
}

// The size of the compacted XSAVE area of all enabled components, by the rules of SDM 1
// 13.4.3, for comparison with what leaf 0xD claims.
static uint32_t compacted_size(uint64_t components) {
    enum { LEGACY_AND_HEADER = 576, ALIGN = 64, ECX_ALIGNED = 2 };
    uint32_t size = LEGACY_AND_HEADER;
    for (uint32_t i = 2; i < 63; i++) {
        if (!(components >> i & 1)) {
            continue;
        }
        struct cpuid_regs part = cpuid(0xD, i);
        if (part.ecx & ECX_ALIGNED) {
            size = (size + ALIGN - 1) & ~(uint32_t)(ALIGN - 1);
        }
        size += part.eax;
    }
    return size;
}

// True when XSAVEC and XSAVES can be trusted. Where leaf 0xD contradicts itself (Bochs 2.7
// gives the standard size for the compacted one) the instructions corrupt AVX state.
static bool compaction_sound(void) {
    if (cpuid(0, 0).eax < 0xD || !(cpuid(1, 0).ecx & CPUID_1_ECX_XSAVE)) {
        return false;
    }
    if (!(cpuid(0xD, 1).eax & (CPUID_D1_EAX_XSAVEC | CPUID_D1_EAX_XSAVES))) {
        return false;
    }
    uint64_t cr4 = read_cr4();
    write_cr4(cr4 | CR4_OSXSAVE);
    uint64_t before = xgetbv(0);
    struct cpuid_regs standard = cpuid(0xD, 0);
    uint64_t all = standard.eax | (uint64_t)standard.edx << 32;
    xsetbv(0, all); // EBX of subleaf 1 speaks of what is enabled now
    uint32_t claimed = cpuid(0xD, 1).ebx;
    xsetbv(0, before);
    write_cr4(cr4);
    return claimed == compacted_size(all);
}

// Guest CR4 bits that the guest may hold in the real register: those whose feature reaches
// no further than the guest. All others are shadowed; the core answers writes to them.
static uint64_t cr4_passthrough(void) {
    enum {
        VME_TO_PSE = 0x1F, PAE = 1 << 5, PGE_TO_OSXMMEXCPT = 0x780, UMIP = 1 << 11,
        FSGSBASE = 1 << 16, OSXSAVE = 1 << 18, SMEP = 1 << 20, SMAP = 1 << 21,
    };
    return VME_TO_PSE | PAE | PGE_TO_OSXMMEXCPT | UMIP | FSGSBASE | OSXSAVE | SMEP | SMAP;
}

static void fixed_bits(void) {
    struct vmx_machine *m = &vmx_machine;
    m->cr0_fixed0 = rdmsr(MSR_IA32_VMX_CR0_FIXED0);
    m->cr0_fixed1 = rdmsr(MSR_IA32_VMX_CR0_FIXED1);
    m->cr4_fixed0 = rdmsr(MSR_IA32_VMX_CR4_FIXED0);
    m->cr4_fixed1 = rdmsr(MSR_IA32_VMX_CR4_FIXED1);
    // Unrestricted guests may clear PE and PG (SDM 26.3.1.1). CD and NW would reach the
    // physical caches: neither entry nor exit switches them (SDM 26.3.2.1, 27.5.1).
    m->cr0_always = m->cr0_fixed0 & ~(CR0_PE | CR0_PG);
    m->cr0_owned = m->cr0_always | CR0_CD | CR0_NW;
    // A machine check with CR4.MCE = 0 shuts the whole machine down.
    m->cr4_always = m->cr4_fixed0 | (read_cr4() & CR4_MCE);
    m->cr4_owned = ~cr4_passthrough() | m->cr4_always;
}

int vmx_probe(struct virt_caps *caps, char *missing, size_t size) {
    struct vmx_machine *m = &vmx_machine;
    size_t before = strlen(missing);

    uint64_t feature_control = rdmsr(MSR_IA32_FEATURE_CONTROL);
    if ((feature_control & FEATURE_CONTROL_LOCK) && !(feature_control & FEATURE_CONTROL_VMX_OUTSIDE_SMX)) {
        append(missing, size, "VT-x (switched off and locked by the firmware)");
    }
    uint64_t basic = rdmsr(MSR_IA32_VMX_BASIC);
    m->revision = (uint32_t)(basic & VMX_BASIC_REVISION);
    if (!(basic & VMX_BASIC_TRUE_CONTROLS)) {
        // Without them CR3 accesses always exit; such CPUs have no EPT either.
        append(missing, size, "VT-x TRUE control MSRs");
        append(missing, size, "EPT");
        append(missing, size, "VT-x unrestricted guest");
        return -ENODEV;
    }
    m->pin = control_word(rdmsr(MSR_IA32_VMX_TRUE_PINBASED_CTLS), pin_required,
        PIN_PREEMPTION_TIMER, missing, size);
    // Bochs keeps interrupts masked in a guest that is entered with IF = 0; there the
    // preemption timer has to end its entries (virt_probe.c finds out).
    caps->entry_limited = (m->pin & PIN_PREEMPTION_TIMER) != 0;
    m->primary = control_word(rdmsr(MSR_IA32_VMX_TRUE_PROCBASED_CTLS), primary_required,
        CPU_MWAIT | CPU_MONITOR | CPU_RDPMC, missing, size);
    m->exit = control_word(rdmsr(MSR_IA32_VMX_TRUE_EXIT_CTLS), exit_required, 0, missing, size);
    m->entry = control_word(rdmsr(MSR_IA32_VMX_TRUE_ENTRY_CTLS), entry_required, 0, missing, size);
    m->entry &= ~ENTRY_CTL_IA32E; // follows EFER.LMA

    // The secondary controls' MSR, and the EPT one behind it, exist only with their bits:
    // reading one that is absent is a #GP (SDM A.3.3, A.10).
    uint64_t secondary_capability = 0;
    if (m->primary & CPU_SECONDARY) {
        secondary_capability = rdmsr(MSR_IA32_VMX_PROCBASED_CTLS2);
    }
    uint32_t optional = CPU2_RDTSCP; // and no INVPCID: without PCID it is #UD
    bool compaction = compaction_sound();
    if (compaction) {
        optional |= CPU2_XSAVES;
    }
    m->secondary = control_word(secondary_capability, secondary_required, optional, missing, size);
    m->ept_vpid = (m->secondary & (CPU2_EPT | CPU2_VPID)) ? rdmsr(MSR_IA32_VMX_EPT_VPID_CAP) : 0;
    if (m->secondary & CPU2_EPT) {
        static const struct { uint64_t bits; const char *name; } ept_required[] = {
            { EPT_CAP_WALK_4, "EPT 4-level tables" },
            { EPT_CAP_WB, "EPT write-back tables" },
            { EPT_CAP_2M, "EPT 2 MiB pages" },
            { EPT_CAP_INVEPT | EPT_CAP_INVEPT_SINGLE, "INVEPT" },
            { VPID_CAP_INVVPID | VPID_CAP_INVVPID_SINGLE, "INVVPID" },
        };
        for (size_t i = 0; i < sizeof(ept_required) / sizeof(ept_required[0]); i++) {
            if ((m->ept_vpid & ept_required[i].bits) != ept_required[i].bits) {
                append(missing, size, ept_required[i].name);
            }
        }
    }
    if ((m->secondary & CPU2_UNRESTRICTED) && !(rdmsr(MSR_IA32_VMX_MISC) & VMX_MISC_STORES_LMA)) {
        append(missing, size, "VT-x storing of EFER.LMA at exits");
    }
    fixed_bits();
    bool nested_ad = (m->ept_vpid & EPT_CAP_ACCESSED_DIRTY) != 0;
    m->eptp_bits = EPTP_WB | EPTP_WALK_4 | (nested_ad ? EPTP_ACCESSED_DIRTY : 0);

    caps->nrip = true;
    caps->decode_assists = true;
    caps->xsetbv_exits = true;
    caps->shadow_loaded = true;
    caps->flush_by_asid = true;
    caps->large_1g = (m->ept_vpid & EPT_CAP_1G) != 0;
    caps->nested_ad = nested_ad;
    caps->unrestricted = (m->secondary & CPU2_UNRESTRICTED) != 0;
    caps->phys_bits = cpuid(0x80000000, 0).eax >= 0x80000008 ? (uint8_t)cpuid(0x80000008, 0).eax : 36;
    caps->asids = 1 << 16;
    caps->cpuid_hide_7_ebx = CPUID_7_EBX_INVPCID;
    caps->cpuid_hide_80000001_edx = (m->secondary & CPU2_RDTSCP) ? 0 : CPUID_80000001_EDX_RDTSCP;
    caps->cpuid_hide_d1_eax = 0;
    if (!compaction) {
        caps->cpuid_hide_d1_eax = CPUID_D1_EAX_XSAVEC | CPUID_D1_EAX_XGETBV1 | CPUID_D1_EAX_XSAVES;
    } else if (!(m->secondary & CPU2_XSAVES)) {
        caps->cpuid_hide_d1_eax = CPUID_D1_EAX_XSAVES;
    }
    return strlen(missing) == before ? 0 : -ENODEV;
}
