// What the monitor runs on, where that can be told.
#ifndef VIPERVISOR_PORT_EMULATOR_H
#define VIPERVISOR_PORT_EMULATOR_H

enum emulator { EMULATOR_NONE, EMULATOR_QEMU, EMULATOR_BOCHS, EMULATOR_KVM };

enum emulator emulator(void);
const char *emulator_name(void); // "qemu", "bochs", "kvm", ""

#endif
