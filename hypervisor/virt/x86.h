// Bits of the architectural registers that both back ends name (APM volume 2,
// chapter 3; SDM volume 3A, chapter 2).
#ifndef VIPERVISOR_VIRT_X86_H
#define VIPERVISOR_VIRT_X86_H

#include <stdint.h>

#define CR0_PE (UINT64_C(1) << 0)
#define CR0_MP (UINT64_C(1) << 1)
#define CR0_EM (UINT64_C(1) << 2)
#define CR0_TS (UINT64_C(1) << 3)
#define CR0_ET (UINT64_C(1) << 4)
#define CR0_NE (UINT64_C(1) << 5)
#define CR0_WP (UINT64_C(1) << 16)
#define CR0_NW (UINT64_C(1) << 29)
#define CR0_CD (UINT64_C(1) << 30)
#define CR0_PG (UINT64_C(1) << 31)

#define CR4_PAE (UINT64_C(1) << 5)
#define CR4_OSFXSR (UINT64_C(1) << 9)
#define CR4_OSXMMEXCPT (UINT64_C(1) << 10)
#define CR4_UMIP (UINT64_C(1) << 11)
#define CR4_LA57 (UINT64_C(1) << 12)
#define CR4_FSGSBASE (UINT64_C(1) << 16)
#define CR4_PCIDE (UINT64_C(1) << 17)
#define CR4_OSXSAVE (UINT64_C(1) << 18)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_SMAP (UINT64_C(1) << 21)
#define CR4_PKE (UINT64_C(1) << 22)
#define CR4_CET (UINT64_C(1) << 23)
#define CR4_PKS (UINT64_C(1) << 24)

#define RFLAGS_FIXED (UINT64_C(1) << 1)
#define RFLAGS_TF (UINT64_C(1) << 8)
#define RFLAGS_IF (UINT64_C(1) << 9)
#define RFLAGS_RF (UINT64_C(1) << 16)
#define RFLAGS_VM (UINT64_C(1) << 17)

#define EFER_SCE (UINT64_C(1) << 0)
#define EFER_LME (UINT64_C(1) << 8)
#define EFER_LMA (UINT64_C(1) << 10)
#define EFER_NXE (UINT64_C(1) << 11)

#define DR6_FIXED UINT64_C(0xFFFF0FF0)
#define DR6_TRAPS UINT64_C(0xF) // B0-B3
#define DR6_BS (UINT64_C(1) << 14)
#define DR7_FIXED UINT64_C(0x400)
#define DR7_GD (UINT64_C(1) << 13)
#define DR7_ENABLES UINT64_C(0xFF) // L0 G0 ... L3 G3

#define PAT_RESET UINT64_C(0x0007040600070406)
#define XCR0_X87 UINT64_C(1)

enum { X86_MSR_TSC_AUX = 0xC0000103 };

#endif
