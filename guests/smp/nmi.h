// NMIs from one CPU to another: when they come, and how many.
#ifndef GUEST_SMP_NMI_H
#define GUEST_SMP_NMI_H

#include <stdbool.h>
#include <stdint.h>

#include "traps.h"

void nmi_came(const struct trap_frame *frame); // on any CPU
// On the other CPU, until the boot CPU has seen enough.
void nmi_shadow(void);
void nmi_pairs(void);
void nmi_begin(void); // on the boot CPU, before
// There meanwhile; false: the other one did not answer.
bool nmi_shadow_from(uint32_t id);
bool nmi_pairs_with(void);
void nmi_report(void);

#endif
