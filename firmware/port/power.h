// The end of the machine.
#ifndef VIPERVISOR_PORT_POWER_H
#define VIPERVISOR_PORT_POWER_H

_Noreturn void power_off(void);
_Noreturn void power_reboot(void);

#endif
