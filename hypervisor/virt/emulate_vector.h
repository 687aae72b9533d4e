// Access to the XMM and MMX registers that are live in this CPU.
#ifndef VIPERVISOR_VIRT_EMULATE_VECTOR_H
#define VIPERVISOR_VIRT_EMULATE_VECTOR_H

#include <stdbool.h>
#include <stdint.h>

void vector_read(uint8_t number, uint8_t bytes[16]);
void vector_write(uint8_t number, const uint8_t bytes[16]);
// As the guest's own instruction these change the x87 state, and raise #MF while an
// unmasked x87 exception waits.
uint64_t mmx_read(uint8_t number);
void mmx_write(uint8_t number, uint64_t value);
bool x87_exception_waits(void);

#endif
