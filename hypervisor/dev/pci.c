#include "dev/pci.h"

#include <stdbool.h>
#include <stddef.h>

// The address register (3.2.2.3.2); bits 30-24 and 1-0 are reserved and read 0.
#define ADDRESS_ENABLE (UINT32_C(1) << 31)
#define ADDRESS_BITS (ADDRESS_ENABLE | UINT32_C(0xFFFFFC))
#define ADDRESS_FUNCTION UINT32_C(0xFFFF00) // bus, device and function
#define ADDRESS_REGISTER UINT32_C(0xFC)

// Configuration header type 0 (6.1). The ids are those of a 440FX host bridge, which
// every PC kernel knows and leaves alone.
enum {
    VENDOR_ID = 0x00,
    DEVICE_ID = 0x02,
    COMMAND = 0x04,
    REVISION_ID = 0x08,
    CLASS = 0x0A, // sub-class, base class
    INTERRUPT_LINE = 0x3C,
    INTEL = 0x8086,
    HOST_440FX = 0x1237,
    REVISION = 2,
    BASE_CLASS_BRIDGE = 6,
    COMMAND_MEMORY_MASTER = 1 << 1 | 1 << 2, // fixed in a host bridge
    COMMAND_WRITABLE = 1 << 6 | 1 << 8,      // parity and system error
    ONES = 0xFF,
};

static void set16(struct pci *p, unsigned at, uint16_t value) {
    p->bridge[at] = (uint8_t)value;
    p->bridge[at + 1] = (uint8_t)(value >> 8);
}

void pci_init(struct pci *p) {
    *p = (struct pci){.address = 0};
    set16(p, VENDOR_ID, INTEL);
    set16(p, DEVICE_ID, HOST_440FX);
    set16(p, COMMAND, COMMAND_MEMORY_MASTER);
    p->bridge[REVISION_ID] = REVISION;
    p->bridge[CLASS + 1] = BASE_CLASS_BRIDGE;
}

void pci_set_address(struct pci *p, uint32_t value) {
    p->address = value & ADDRESS_BITS;
}

// Which byte of the bridge's configuration space a port reaches; -1: of no function.
static int reached(const struct pci *p, uint16_t port) {
    if (!(p->address & ADDRESS_ENABLE) || (p->address & ADDRESS_FUNCTION)) {
        return -1;
    }
    return (int)((p->address & ADDRESS_REGISTER) | (port - PCI_DATA));
}

uint32_t pci_read(const struct pci *p, uint16_t port, uint8_t size) {
    uint32_t value = 0;
    for (unsigned i = 0; i < size; i++) {
        int at = port + i <= PCI_DATA_LAST ? reached(p, (uint16_t)(port + i)) : -1;
        uint32_t byte = at < 0 ? ONES : 0;
        if (at >= 0 && at < PCI_HEADER_SIZE) {
            byte = p->bridge[at];
        }
        value |= byte << 8 * i;
    }
    return value;
}

// Bits that a write changes; all others keep their value.
static uint8_t writable(int at) {
    switch (at) {
        case COMMAND:
            return COMMAND_WRITABLE & ONES;
        case COMMAND + 1:
            return COMMAND_WRITABLE >> 8;
        case INTERRUPT_LINE:
            return ONES;
        default:
            return 0;
    }
}

void pci_write(struct pci *p, uint16_t port, uint8_t size, uint32_t value) {
    for (unsigned i = 0; i < size && port + i <= PCI_DATA_LAST; i++) {
        int at = reached(p, (uint16_t)(port + i));
        if (at >= 0 && at < PCI_HEADER_SIZE) {
            uint8_t mask = writable(at);
            p->bridge[at] = (uint8_t)((p->bridge[at] & ~mask) | (value >> 8 * i & mask));
        }
    }
}
