// The virtual machine control block and the SVM registers, under the names of
// AMD's APM volume 2 (24593, revision 3.42), appendix B and C, chapter 15.
#ifndef VIPERVISOR_VIRT_SVM_VMCB_H
#define VIPERVISOR_VIRT_SVM_VMCB_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

// MSRs and their bits.
enum {
    MSR_EFER = 0xC0000080,
    MSR_VM_CR = 0xC0010114,
    MSR_VM_HSAVE_PA = 0xC0010117,
};
#define EFER_SVME (UINT64_C(1) << 12)
#define EFER_LMSLE (UINT64_C(1) << 13)
#define EFER_FFXSR (UINT64_C(1) << 14)
#define EFER_TCE (UINT64_C(1) << 15)
#define VM_CR_LOCK (UINT64_C(1) << 3)
#define VM_CR_SVMDIS (UINT64_C(1) << 4)

#define CR3_PCID UINT64_C(0xFFF)

// 3.1.3: VME to UMIP, LA57, FSGSBASE, PCIDE, OSXSAVE, SMEP, SMAP, PKE, CET.
#define CR4_DEFINED UINT64_C(0x00F71FFF)

// CPUID 8000_000A EDX.
enum {
    SVM_FEATURE_NP = 1 << 0,
    SVM_FEATURE_NRIP_SAVE = 1 << 3,
    SVM_FEATURE_FLUSH_BY_ASID = 1 << 6,
    SVM_FEATURE_DECODE_ASSISTS = 1 << 7,
};

// Intercept vector 3, VMCB offset 00Ch.
#define INTERCEPT_INTR (UINT32_C(1) << 0)
#define INTERCEPT_NMI (UINT32_C(1) << 1)
#define INTERCEPT_SMI (UINT32_C(1) << 2)
#define INTERCEPT_INIT (UINT32_C(1) << 3)
#define INTERCEPT_VINTR (UINT32_C(1) << 4)
#define INTERCEPT_CR0_SEL_WRITE (UINT32_C(1) << 5)
#define INTERCEPT_RDPMC (UINT32_C(1) << 15)
#define INTERCEPT_CPUID (UINT32_C(1) << 18)
#define INTERCEPT_RSM (UINT32_C(1) << 19)
#define INTERCEPT_IRET (UINT32_C(1) << 20)
#define INTERCEPT_INVD (UINT32_C(1) << 22)
#define INTERCEPT_HLT (UINT32_C(1) << 24)
#define INTERCEPT_INVLPGA (UINT32_C(1) << 26)
#define INTERCEPT_IOIO_PROT (UINT32_C(1) << 27)
#define INTERCEPT_MSR_PROT (UINT32_C(1) << 28)
#define INTERCEPT_FERR_FREEZE (UINT32_C(1) << 30)
#define INTERCEPT_SHUTDOWN (UINT32_C(1) << 31)

// Intercept vector 4, VMCB offset 010h.
#define INTERCEPT_VMRUN (UINT32_C(1) << 0)
#define INTERCEPT_VMMCALL (UINT32_C(1) << 1)
#define INTERCEPT_VMLOAD (UINT32_C(1) << 2)
#define INTERCEPT_VMSAVE (UINT32_C(1) << 3)
#define INTERCEPT_STGI (UINT32_C(1) << 4)
#define INTERCEPT_CLGI (UINT32_C(1) << 5)
#define INTERCEPT_SKINIT (UINT32_C(1) << 6)
#define INTERCEPT_WBINVD (UINT32_C(1) << 9)
#define INTERCEPT_MONITOR (UINT32_C(1) << 10)
#define INTERCEPT_MWAIT (UINT32_C(1) << 11)
#define INTERCEPT_MWAIT_ARMED (UINT32_C(1) << 12)
#define INTERCEPT_XSETBV (UINT32_C(1) << 13)

// Offset 060h, the virtual interrupt control word.
#define V_TPR_MASK UINT64_C(0xFF)
#define V_IRQ (UINT64_C(1) << 8)
#define V_INTR_PRIO_MAX (UINT64_C(0xF) << 16)
#define V_IGN_TPR (UINT64_C(1) << 20)
#define V_INTR_MASKING (UINT64_C(1) << 24)

// Offset 05Ch.
enum { TLB_CONTROL_NONE = 0, TLB_CONTROL_FLUSH_ALL = 1, TLB_CONTROL_FLUSH_ASID = 3 };

// Offset 068h, 090h.
#define INTERRUPT_SHADOW UINT64_C(1)
#define NP_ENABLE UINT64_C(1)

// EVENTINJ and EXITINTINFO share one format (15.20): vector, type at bit 8, EV at
// bit 11, V at bit 31, the error code above. The neutral event of vcpu.h was laid
// out the same way, so that injecting is one store.
#define EVENTINJ_V (UINT64_C(1) << 31)
#define EVENTINJ_EV (UINT64_C(1) << 11)
#define EVENTINJ_VECTOR_MASK UINT64_C(0xFF)
#define EVENTINJ_TYPE_SHIFT 8
#define EVENTINJ_TYPE_MASK UINT64_C(7)
#define EVENTINJ_ERROR_SHIFT 32

// Appendix C, SVM intercept exit codes.
enum {
    VMEXIT_CR0_READ = 0x00, // to 0Fh
    VMEXIT_CR0_WRITE = 0x10,
    VMEXIT_DR0_READ = 0x20,
    VMEXIT_DR0_WRITE = 0x30,
    VMEXIT_EXCP0 = 0x40, // to 5Fh
    VMEXIT_INTR = 0x60,
    VMEXIT_NMI = 0x61,
    VMEXIT_SMI = 0x62,
    VMEXIT_INIT = 0x63,
    VMEXIT_VINTR = 0x64,
    VMEXIT_CR0_SEL_WRITE = 0x65,
    VMEXIT_RDPMC = 0x6F,
    VMEXIT_CPUID = 0x72,
    VMEXIT_RSM = 0x73,
    VMEXIT_IRET = 0x74,
    VMEXIT_INVD = 0x76,
    VMEXIT_PAUSE = 0x77,
    VMEXIT_HLT = 0x78,
    VMEXIT_INVLPGA = 0x7A,
    VMEXIT_IOIO = 0x7B,
    VMEXIT_MSR = 0x7C,
    VMEXIT_FERR_FREEZE = 0x7E,
    VMEXIT_SHUTDOWN = 0x7F,
    VMEXIT_VMRUN = 0x80,
    VMEXIT_VMMCALL = 0x81,
    VMEXIT_VMLOAD = 0x82,
    VMEXIT_VMSAVE = 0x83,
    VMEXIT_STGI = 0x84,
    VMEXIT_CLGI = 0x85,
    VMEXIT_SKINIT = 0x86,
    VMEXIT_WBINVD = 0x89,
    VMEXIT_MONITOR = 0x8A,
    VMEXIT_MWAIT = 0x8B,
    VMEXIT_MWAIT_CONDITIONAL = 0x8C,
    VMEXIT_XSETBV = 0x8D,
    VMEXIT_NPF = 0x400,
};
#define VMEXIT_INVALID UINT32_C(0xFFFFFFFF) // -1; QEMU stores its low half only

// EXITINFO1 of VMEXIT_IOIO (15.10.2).
#define IOIO_TYPE_IN (UINT64_C(1) << 0)
#define IOIO_STR (UINT64_C(1) << 2)
#define IOIO_REP (UINT64_C(1) << 3)
#define IOIO_SIZE_SHIFT 4 // SZ8, SZ16, SZ32: the bits are the size in bytes
#define IOIO_SIZE_MASK UINT64_C(7)
#define IOIO_PORT_SHIFT 16

// EXITINFO1 of VMEXIT_NPF (15.25.6): a page-fault error code and two bits more.
#define NPF_WRITE (UINT64_C(1) << 1)
#define NPF_USER (UINT64_C(1) << 2)
#define NPF_RESERVED (UINT64_C(1) << 3)
#define NPF_FETCH (UINT64_C(1) << 4)
#define NPF_TABLE_WALK (UINT64_C(1) << 33)

// EXITINFO1 of MOV CR and MOV DR exits with decode assists (15.33.1).
#define CR_EXIT_MOV (UINT64_C(1) << 63)
#define CR_EXIT_GPR_MASK UINT64_C(0xF)

struct vmcb_segment {
    uint16_t selector, attributes; // 12 bits: descriptor bits 40-47 and 52-55
    uint32_t limit;
    uint64_t base;
};

#define VMCB_ATTR_L (1 << 9)
#define VMCB_ATTR_DB (1 << 10)

struct vmcb {
    // Control area, table B-1.
    uint16_t intercept_cr_read, intercept_cr_write;
    uint16_t intercept_dr_read, intercept_dr_write;
    uint32_t intercept_exceptions;
    uint32_t intercept_vector3, intercept_vector4, intercept_vector5;
    uint8_t reserved_018[0x3C - 0x18];
    uint16_t pause_filter_threshold, pause_filter_count;
    uint64_t iopm_base_pa, msrpm_base_pa;
    uint64_t tsc_offset;
    uint32_t guest_asid;
    uint8_t tlb_control, reserved_05d[3];
    uint64_t v_intr;
    uint64_t interrupt_shadow;
    uint64_t exitcode, exitinfo1, exitinfo2, exitintinfo;
    uint64_t np_enable;
    uint8_t reserved_098[0xA8 - 0x98];
    uint64_t eventinj;
    uint64_t n_cr3;
    uint64_t lbr_virtualization_enable;
    uint64_t clean_bits;
    uint64_t nrip;
    uint8_t fetched_count, fetched[15];
    uint8_t reserved_0e0[0x400 - 0xE0];
    // State save area, table B-2.
    struct vmcb_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
    uint8_t reserved_4a0[0xCB - 0xA0], cpl, reserved_4cc[4];
    uint64_t efer;
    uint8_t reserved_4d8[0x148 - 0xD8];
    uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
    uint8_t reserved_580[0x1D8 - 0x180];
    uint64_t rsp;
    uint64_t s_cet, ssp, isst_addr;
    uint64_t rax;
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t cr2;
    uint8_t reserved_648[0x268 - 0x248];
    uint64_t g_pat;
    uint64_t dbgctl, br_from, br_to, lastexcpfrom, lastexcpto;
    uint8_t reserved_698[0x1000 - 0x698];
};

#define VMCB_AT(field, offset) static_assert(offsetof(struct vmcb, field) == (offset), #field)
VMCB_AT(intercept_vector3, 0x00C);
VMCB_AT(pause_filter_count, 0x03E);
VMCB_AT(iopm_base_pa, 0x040);
VMCB_AT(tsc_offset, 0x050);
VMCB_AT(tlb_control, 0x05C);
VMCB_AT(v_intr, 0x060);
VMCB_AT(interrupt_shadow, 0x068);
VMCB_AT(exitcode, 0x070);
VMCB_AT(exitintinfo, 0x088);
VMCB_AT(np_enable, 0x090);
VMCB_AT(eventinj, 0x0A8);
VMCB_AT(n_cr3, 0x0B0);
VMCB_AT(nrip, 0x0C8);
VMCB_AT(es, 0x400);
VMCB_AT(tr, 0x490);
VMCB_AT(cpl, 0x4CB);
VMCB_AT(efer, 0x4D0);
VMCB_AT(cr4, 0x548);
VMCB_AT(rip, 0x578);
VMCB_AT(rsp, 0x5D8);
VMCB_AT(rax, 0x5F8);
VMCB_AT(cr2, 0x640);
VMCB_AT(g_pat, 0x668);
VMCB_AT(lastexcpto, 0x690);
static_assert(sizeof(struct vmcb) == 0x1000, "one page");
#undef VMCB_AT

#endif
