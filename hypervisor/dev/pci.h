// PCI configuration by mechanism 1 (PCI Local Bus Specification 3.0, 3.2.2.3.2): an
// address register at 0xCF8, the addressed register at 0xCFC. Bus 0 holds a host
// bridge, so that kernels find the mechanism and do not search further for it; every
// other function is absent and reads ones.
#ifndef VIPERVISOR_DEV_PCI_H
#define VIPERVISOR_DEV_PCI_H

#include <stdint.h>

enum { PCI_ADDRESS = 0xCF8, PCI_DATA = 0xCFC, PCI_DATA_LAST = 0xCFF };

#define PCI_HEADER_SIZE 64

struct pci {
    uint32_t address; // the last doubleword written to 0xCF8
    uint8_t bridge[PCI_HEADER_SIZE];
};

void pci_init(struct pci *p);
void pci_set_address(struct pci *p, uint32_t value);
// 1, 2 or 4 bytes at a port from 0xCFC to 0xCFF; what goes beyond reads ones.
uint32_t pci_read(const struct pci *p, uint16_t port, uint8_t size);
void pci_write(struct pci *p, uint16_t port, uint8_t size, uint32_t value);

#endif
