// FPU and SIMD state, XCR0, debug registers and the MSRs that stay in the CPU
// across exits. The core itself uses general registers only, so a guest's FPU state
// is live from vcpu_load to vcpu_put; the monitor's own (Python uses SSE on the
// control CPU) waits in a page of the CPU meanwhile.
#include "virt/vcpu_state.h"

#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/memory.h"
#include "cpu/percpu.h"
#include "cpu/string.h"
#include "virt/x86.h"

#define CPUID_1_ECX_XSAVE (UINT32_C(1) << 26)
#define CPUID_7_ECX_RDPID (UINT32_C(1) << 22)
#define CPUID_80000001_EDX_RDTSCP (UINT32_C(1) << 27)
enum { CPUID_XSTATE = 0xD };

// The legacy region of an XSAVE area, which is also FXSAVE's (APM volume 1, 11.4).
#define FXSAVE_SIZE 512
#define FXSAVE_FCW 0
#define FXSAVE_MXCSR 24
#define FCW_RESET UINT16_C(0x0040)
#define MXCSR_RESET UINT32_C(0x1F80)
#define XSAVE_XSTATE_BV 512

static uint64_t xcr0_max; // 0: no XSAVE
static size_t area_size = FXSAVE_SIZE;
static bool has_tsc_aux;
static void *host_area[CPU_MAX];

extern const char __image_start[], __text_end[]; // link.ld

void fpu_probe(void) {
    if (cpuid(1, 0).ecx & CPUID_1_ECX_XSAVE) {
        struct cpuid_regs x = cpuid(CPUID_XSTATE, 0);
        xcr0_max = x.eax | (uint64_t)x.edx << 32;
        area_size = x.ecx; // for all that XCR0 can enable
    }
    has_tsc_aux = cpuid(UINT32_C(0x80000001), 0).edx & CPUID_80000001_EDX_RDTSCP;
    if (cpuid(0, 0).eax >= 7) {
        has_tsc_aux = has_tsc_aux || (cpuid(7, 0).ecx & CPUID_7_ECX_RDPID);
    }
}

size_t fpu_area_size(void) {
    return area_size;
}

uint64_t fpu_xcr0_max(void) {
    return xcr0_max;
}

int fpu_cpu_enable(struct cpu *cpu) {
    write_cr0((read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT | (xcr0_max ? CR4_OSXSAVE : 0));
    if (xcr0_max) {
        xsetbv(0, xcr0_max);
    }
    if (!host_area[cpu->index]) {
        host_area[cpu->index] = page_alloc((area_size + PAGE_SIZE - 1) / PAGE_SIZE);
    }
    return host_area[cpu->index] ? 0 : -ENOMEM;
}

void fpu_reset(void *area) {
    uint8_t *a = area;
    memset(a, 0, area_size);
    memcpy(a + FXSAVE_FCW, &(uint16_t){FCW_RESET}, sizeof(uint16_t));
    memcpy(a + FXSAVE_MXCSR, &(uint32_t){MXCSR_RESET}, sizeof(uint32_t));
    if (xcr0_max) {
        // Else XRSTOR would take the x87 state from its initial values (FCW 037Fh).
        memcpy(a + XSAVE_XSTATE_BV, &(uint64_t){XCR0_X87}, sizeof(uint64_t));
    }
}

// XCR0 is at its maximum for both.
static void fpu_save(void *area) {
    if (xcr0_max) {
        __asm__ volatile ("xsave64 (%0)" : : "r" (area), "a" (UINT32_MAX), "d" (UINT32_MAX) : "memory");
    } else {
        __asm__ volatile ("fxsave64 (%0)" : : "r" (area) : "memory");
    }
}

static void fpu_restore(const void *area) {
    if (xcr0_max) {
        __asm__ volatile ("xrstor64 (%0)" : : "r" (area), "a" (UINT32_MAX), "d" (UINT32_MAX) : "memory");
    } else {
        __asm__ volatile ("fxrstor64 (%0)" : : "r" (area) : "memory");
    }
}

void state_load(struct vcpu *v, struct cpu *cpu) {
    // 1. What the world switch does not move.
    for (uint32_t i = 0; i < virt->carried_count; i++) {
        wrmsr(virt->carried_msrs[i], v->fixed_msrs[i]);
    }
    if (has_tsc_aux) {
        wrmsr(X86_MSR_TSC_AUX, v->tsc_aux);
    }
    // 2. The monitor's FPU state out, the guest's in.
    fpu_save(host_area[cpu->index]);
    fpu_restore(v->xsave);
    // 3. Last: from here on XSAVE would miss what the guest has not enabled.
    if (xcr0_max) {
        xsetbv(0, v->xcr0);
    }
}

void state_put(struct vcpu *v, struct cpu *cpu) {
    // XSETBV does not exit everywhere, so the CPU alone knows the guest's XCR0.
    if (xcr0_max) {
        v->xcr0 = xgetbv(0);
        xsetbv(0, xcr0_max);
    }
    fpu_save(v->xsave);
    fpu_restore(host_area[cpu->index]);
    if (has_tsc_aux) {
        v->tsc_aux = rdmsr(X86_MSR_TSC_AUX);
    }
    for (uint32_t i = 0; i < virt->carried_count; i++) {
        v->fixed_msrs[i] = rdmsr(virt->carried_msrs[i]);
    }
}

void vcpu_debug_arm(const struct vcpu *v, uint64_t dr7) {
    uint64_t enabled = dr7;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t address = v->dr[i];
        if (address >= (uintptr_t)__image_start && address < (uintptr_t)__text_end) {
            enabled &= ~(UINT64_C(3) << (2 * i)); // L and G
        }
    }
    write_dr0(v->dr[0]);
    write_dr1(v->dr[1]);
    write_dr2(v->dr[2]);
    write_dr3(v->dr[3]);
    write_dr7(enabled & ~DR7_GD);
}

void vcpu_debug_disarm(void) {
    write_dr7(DR7_FIXED);
}
