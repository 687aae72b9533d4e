// What the monitor runs on, from what each emulator shows of itself.
#include "emulator.h"

#include <stdbool.h>
#include <stdint.h>

#include "cpu/acpi.h"
#include "cpu/insn.h"
#include "cpu/string.h"

enum {
    CPUID_FEATURES = 1,
    CPUID_FEATURES_HYPERVISOR = 1u << 31, // ECX
    CPUID_HYPERVISOR = 0x40000000,
    ACPI_OEM_ID = 10, // ACPI 6.4, 5.2.6: OEMID of a table header, 6 bytes
};

static bool signature_is(const struct cpuid_regs *r, const char *name) {
    return memcmp(&r->ebx, name, 4) == 0 && memcmp(&r->ecx, name + 4, 4) == 0
           && memcmp(&r->edx, name + 8, 4) == 0;
}

// The firmware of both emulators signs its ACPI tables with "BOCHS "; only QEMU
// shows the hypervisor bit.
static bool tables_by_bochs(void) {
    uint32_t length;
    const char *facp = acpi_table("FACP", &length);
    return facp != NULL && memcmp(facp + ACPI_OEM_ID, "BOCHS ", 6) == 0;
}

enum emulator emulator(void) {
    if (cpuid(CPUID_FEATURES, 0).ecx & CPUID_FEATURES_HYPERVISOR) {
        struct cpuid_regs r = cpuid(CPUID_HYPERVISOR, 0);
        if (signature_is(&r, "TCGTCGTCGTCG")) {
            return EMULATOR_QEMU;
        }
        if (signature_is(&r, "KVMKVMKVM\0\0\0")) {
            return EMULATOR_KVM;
        }
        return EMULATOR_NONE;
    }
    return tables_by_bochs() ? EMULATOR_BOCHS : EMULATOR_NONE;
}

const char *emulator_name(void) {
    static const char *const names[] = { "", "qemu", "bochs", "kvm" };
    return names[emulator()];
}
