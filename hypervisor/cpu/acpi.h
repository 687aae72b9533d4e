// What the monitor needs from ACPI: CPUs, interrupt controllers, how to power off.
#ifndef VIPERVISOR_CPU_ACPI_H
#define VIPERVISOR_CPU_ACPI_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/percpu.h"

struct acpi_info {
    bool found; // a MADT was read
    uint64_t rsdp;
    uint32_t local_apic;
    uint32_t cpu_count; // enabled processors, in MADT order
    uint32_t apic_ids[CPU_MAX];
    uint32_t cpus_dropped; // beyond CPU_MAX
    uint32_t io_apic; // 0: none
    uint32_t io_apic_gsi_base;
    uint32_t isa_gsi[16];
    uint16_t isa_flags[16]; // MPS INTI flags of the override
    uint16_t pm1a_control; // 0: none
    uint16_t s5_type; // SLP_TYP for S5
    bool s5_known;
    uint64_t mcfg; // ECAM base of segment 0, 0: none
};

extern struct acpi_info acpi;

void acpi_init(void);
// The first table with that signature, NULL: none. Its length is checked.
const void *acpi_table(const char *signature, uint32_t *length);

#endif
