// What CPUID does not tell about the back end, found out by a guest of a few
// instructions at boot.
#ifndef VIPERVISOR_VIRT_VIRT_PROBE_H
#define VIPERVISOR_VIRT_VIRT_PROBE_H

// Corrects virt_caps. A probe that gives no answer leaves its capability off.
void virt_probe(void);

#endif
