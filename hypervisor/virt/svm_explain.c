// Why a VMRUN is refused: the consistency checks of APM volume 2, 15.5.1, 15.20 and
// 15.25.4, against this VMCB. The CPU itself says no more than VMEXIT_INVALID.
#include "virt/svm.h"

#include "cpu/log.h"
#include "cpu/memory.h"
#include "cpu/string.h"
#include "virt/x86.h"

// Bits 63:20 of EFER and those between that no CPU defines.
#define EFER_DEFINED UINT64_C(0x0034FD01)
#define IOPM_SIZE UINT64_C(0x3000)
#define MSRPM_SIZE UINT64_C(0x2000)

struct rule {
    bool broken;
    const char *field;
    uint64_t value;
    const char *text; // with the section of the manual
};

static bool event_illegal(const struct vmcb *b) {
    uint64_t event = b->eventinj;
    uint64_t type = event >> EVENTINJ_TYPE_SHIFT & EVENTINJ_TYPE_MASK;
    uint64_t vector = event & EVENTINJ_VECTOR_MASK;
    if (!(event & EVENTINJ_V)) {
        return false;
    }
    if (type == EVENT_EXCEPTION) {
        return vector == EXC_NMI || vector > 31;
    }
    return type != EVENT_EXTERNAL && type != EVENT_NMI && type != EVENT_SOFTWARE;
}

// Whether a rule is broken; then *buffer names it.
static bool name_broken(struct vcpu *v, char *buffer, size_t size) {
    const struct vmcb *b = svm_vmcb(v);
    uint64_t limit = UINT64_C(1) << virt_caps.phys_bits;
    bool paged_long = (b->efer & EFER_LME) && (b->cr0 & CR0_PG);
    const struct rule rules[] = {
        {!(b->efer & EFER_SVME), "EFER", b->efer, "SVME must be set (15.5.1)"},
        {b->efer & ~EFER_DEFINED, "EFER", b->efer, "reserved bits must be 0 (15.5.1)"},
        {(b->cr0 & CR0_NW) && !(b->cr0 & CR0_CD), "CR0", b->cr0, "NW needs CD (15.5.1)"},
        {b->cr0 >> 32, "CR0", b->cr0, "bits 63:32 must be 0 (15.5.1)"},
        {(b->cr0 & CR0_PG) && !(b->cr0 & CR0_PE), "CR0", b->cr0, "PG needs PE (15.5.1)"},
        {(b->efer & EFER_LMA) && (b->cr3 & ~(limit - 1)), "CR3", b->cr3,
            "bits above the physical address size must be 0 (15.5.1)"},
        {b->cr4 & ~CR4_DEFINED, "CR4", b->cr4, "reserved bits must be 0 (15.5.1)"},
        {b->dr6 >> 32, "DR6", b->dr6, "bits 63:32 must be 0 (15.5.1)"},
        {b->dr7 >> 32, "DR7", b->dr7, "bits 63:32 must be 0 (15.5.1)"},
        {paged_long && !(b->cr4 & CR4_PAE), "CR4", b->cr4, "long mode with paging needs PAE (15.5.1)"},
        {paged_long && !(b->cr0 & CR0_PE), "CR0", b->cr0, "long mode with paging needs PE (15.5.1)"},
        {paged_long && (b->cr4 & CR4_PAE) && (b->cs.attributes & VMCB_ATTR_L) && (b->cs.attributes & VMCB_ATTR_DB),
            "CS attributes", b->cs.attributes, "L and D must not both be set in long mode (15.5.1)"},
        {!(b->intercept_vector4 & INTERCEPT_VMRUN), "intercept vector 4", b->intercept_vector4,
            "VMRUN must be intercepted (15.5.1)"},
        {b->iopm_base_pa > limit - IOPM_SIZE, "IOPM_BASE_PA", b->iopm_base_pa,
            "the map must end within physical memory (15.5.1)"},
        {b->msrpm_base_pa > limit - MSRPM_SIZE, "MSRPM_BASE_PA", b->msrpm_base_pa,
            "the map must end within physical memory (15.5.1)"},
        {event_illegal(b), "EVENTINJ", b->eventinj, "no event of this type and vector exists (15.20)"},
        {!b->guest_asid, "guest ASID", b->guest_asid, "0 is the host's (15.5.1)"},
        {b->guest_asid >= virt_caps.asids, "guest ASID", b->guest_asid,
            "must be below the number that CPUID 8000_000A gives (15.16)"},
        {b->tlb_control == TLB_CONTROL_FLUSH_ASID && !virt_caps.flush_by_asid, "TLB_CONTROL",
            b->tlb_control, "flush by ASID is not there on this CPU (15.16.2)"},
        {!(b->np_enable & NP_ENABLE), "NP_ENABLE", b->np_enable, "this back end needs nested paging"},
        {(b->n_cr3 & (PAGE_SIZE - 1)) || b->n_cr3 >= limit, "N_CR3", b->n_cr3,
            "must be the physical address of a page (15.25.4)"},
        {!svm_pat_valid(b->g_pat), "G_PAT", b->g_pat, "a reserved memory type (15.25.4)"},
    };

    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (rules[i].broken) {
            fmt_snprintf(buffer, size, "%s is 0x%lx: %s", rules[i].field, (unsigned long)rules[i].value,
                rules[i].text);
            return true;
        }
    }
    return false;
}

void svm_check(struct vcpu *v) {
    struct svm_control *c = svm_control(v);
    c->checked_rip = v->rip;
    c->checked_rsp = v->gpr[GPR_RSP];
    c->checked_rax = v->gpr[GPR_RAX];
    c->broken[0] = 0;
    (void)name_broken(v, c->broken, sizeof(c->broken));
}

void svm_explain(struct vcpu *v, char *buffer, size_t size) {
    struct svm_control *c = svm_control(v);
    if (c->broken[0]) {
        (void)str_copy(buffer, size, c->broken);
    } else if (!name_broken(v, buffer, size)) {
        fmt_snprintf(buffer, size, "the VMCB breaks none of the rules of APM volume 2, 15.5.1 that are known here");
    }
}
