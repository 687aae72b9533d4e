#ifndef MMIO_FORMS_STRINGS_H
#define MMIO_FORMS_STRINGS_H

// MOVS, STOS, LODS, CMPS and SCAS with either operand, or both, on the device.
void check_strings(void);

#endif
