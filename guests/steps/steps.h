// What a scenario needs or expects (scenarios.S).
#ifndef GUEST_STEPS_H
#define GUEST_STEPS_H

#define KERNEL_ONLY 1
#define NEEDS_XSAVE 2
#define NEEDS_VIPERVISOR_AMD 4
#define NEEDS_VIPERVISOR_INTEL 8
#define NEEDS_SS_SHADOW 16
#define NEEDS_INT1 32
#define NEEDS_HLT_STEP 64
#define NEEDS_STI_STEP 128
#define NEEDS_MSR_FAULT 256
#define FIRST_WITHOUT_BS 512
#define FIRST_IS_BD 1024
#define NEEDS_BD_ALONE 2048

#endif
