// Access to the XMM registers that are live in this CPU.
#ifndef VIPERVISOR_VIRT_EMULATE_VECTOR_H
#define VIPERVISOR_VIRT_EMULATE_VECTOR_H

#include <stdint.h>

void vector_read(uint8_t number, uint8_t bytes[16]);
void vector_write(uint8_t number, const uint8_t bytes[16]);

#endif
