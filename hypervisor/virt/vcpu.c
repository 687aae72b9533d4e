// What both back ends share of a vCPU's life.
#include "virt/vcpu.h"

#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/memory.h"
#include "cpu/percpu.h"
#include "cpu/smp.h"
#include "cpu/string.h"
#include "virt/claim.h"
#include "virt/decode.h"
#include "virt/guest.h"
#include "virt/vcpu_state.h"
#include "virt/x86.h"

static size_t pages(size_t bytes) {
    return (bytes + PAGE_SIZE - 1) / PAGE_SIZE;
}

int vcpu_reset(struct vcpu *v) {
    memset(v->gpr, 0, sizeof(v->gpr));
    v->gpr[GPR_RDX] = cpuid(1, 0).eax; // family, model, stepping (SDM 3A 9.1.1)
    v->rip = 0xFFF0;
    v->event = v->event_error = 0;
    v->skipped = v->skipped_late = v->window_open_wanted = false;
    v->xcr0 = XCR0_X87;
    memset(v->dr, 0, sizeof(v->dr));
    v->tsc_aux = 0;
    memset(v->fixed_msrs, 0, sizeof(v->fixed_msrs));
    fpu_reset(v->xsave);
    return virt->vcpu_init(v);
}

struct vcpu *vcpu_create(struct guest *g, uint32_t index, uint32_t cpu) {
    struct vcpu *v = page_alloc(pages(sizeof(*v)));
    if (!v) {
        return NULL;
    }
    v->guest = g;
    v->index = (uint8_t)index;
    v->cpu = cpu;
    lapic_init(&v->lapic, index, tsc_hz, index == 0);
    claims_apply(v);
    v->xsave = page_alloc(pages(fpu_area_size()));
    v->insns = insn_cache_create();
    if (!v->xsave || !v->insns || vcpu_reset(v) != 0) {
        vcpu_destroy(v);
        return NULL;
    }
    return v;
}

void vcpu_destroy(struct vcpu *v) {
    virt->vcpu_free(v);
    if (v->insns) {
        insn_cache_free(v->insns);
    }
    if (v->xsave) {
        page_free(v->xsave, pages(fpu_area_size()));
    }
    page_free(v, pages(sizeof(*v)));
}

int vcpu_load(struct vcpu *v) {
    struct cpu *cpu = this_cpu();
    if (cpu->loaded == v) {
        return 0;
    }
    if (cpu->loaded) {
        return -EBUSY;
    }
    int error = virt->vcpu_load(v);
    if (error) {
        return error;
    }
    virt->set_tsc_offset(v, v->tsc_offset); // a start or a pause may have moved it
    virt->set_exceptions(v, v->exceptions);
    insn_cache_sync(v->insns, v->guest->nested_generation);
    state_load(v, cpu);
    cpu->loaded = v;
    return 0;
}

int vcpu_put(struct vcpu *v) {
    struct cpu *cpu = this_cpu();
    if (cpu->loaded != v) {
        return -EINVAL;
    }
    state_put(v, cpu);
    cpu->loaded = NULL;
    return virt->vcpu_put(v);
}

// Outside 64-bit code RIP is 32 bits wide.
void vcpu_wrap_rip(struct vcpu *v) {
    struct segment cs;
    virt->seg_get(v, SEG_CS, &cs);
    if (!(cs.attributes & SEG_ATTR_L)) {
        v->rip = (uint32_t)v->rip;
    }
}

void vcpu_request(struct vcpu *v, uint32_t bits) {
    uint32_t before = __atomic_fetch_or(&v->requests, bits, __ATOMIC_ACQ_REL);
    // Whoever set them all before has kicked already.
    if ((before & bits) != bits && v->cpu != this_cpu()->index) {
        cpu_kick(&cpus[v->cpu]);
    }
}

// #DE, #TS, #NP, #SS and #GP add up to a double fault (SDM 3A 6.15, table 6-5).
static bool contributory(uint32_t vector) {
    return vector == EXC_DE || (vector >= EXC_TS && vector <= EXC_GP);
}

void vcpu_inject_exception(struct vcpu *v, uint8_t vector, bool has_error, uint32_t error) {
    uint32_t first_error = 0;
    uint32_t first = virt->vectoring(v, &first_error);
    if (first && (first >> EVENT_TYPE_SHIFT & 7) == EVENT_EXCEPTION) {
        uint32_t first_vector = first & 0xFF;
        if (first_vector == EXC_DF) {
            guest_crash(v, &v->exit, "triple fault: exception %u while a double fault was delivered",
                (unsigned)vector);
            return;
        }
        if ((contributory(first_vector) && contributory(vector)) ||
            (first_vector == EXC_PF && (contributory(vector) || vector == EXC_PF))) {
            vector = EXC_DF;
            has_error = true;
            error = 0;
        }
    }
    if (vector < 32 && (EXC_FAULTS >> vector & 1)) {
        // Delivery pushes RF set (SDM 3B 17.3.1.1), an injection what RFLAGS has.
        virt->reg_set(v, REG_RFLAGS, virt->reg_get(v, REG_RFLAGS) | RFLAGS_RF);
    }
    virt->inject(v, EVENT_VALID | EVENT_EXCEPTION << EVENT_TYPE_SHIFT | (has_error ? EVENT_HAS_ERROR : 0) | vector,
        has_error ? error : 0);
}
