// Who is below this guest: the CPU's and the hypervisor's own names.
#include "guest.h"

enum {
    CPUID_HYPERVISOR_BIT = 1u << 31, // leaf 1, ECX
    LEAF_HYPERVISOR = 0x40000000,
    LEAF_EXTENDED = 0x80000000,
    LEAF_BRAND = 0x80000002,
};

static void put32(char *to, uint32_t value) {
    memcpy(to, &value, sizeof(value));
}

void cpu_names(struct cpu_names *out) {
    memset(out, 0, sizeof(*out));
    struct cpuid r = cpuid(0, 0);
    put32(out->vendor, r.ebx);
    put32(out->vendor + 4, r.edx);
    put32(out->vendor + 8, r.ecx);
    if (cpuid(LEAF_EXTENDED, 0).eax >= LEAF_BRAND + 2) {
        for (uint32_t i = 0; i < 3; i++) {
            r = cpuid(LEAF_BRAND + i, 0);
            char *to = out->brand + 16 * i;
            put32(to, r.eax);
            put32(to + 4, r.ebx);
            put32(to + 8, r.ecx);
            put32(to + 12, r.edx);
        }
    }
    if (cpuid(1, 0).ecx & CPUID_HYPERVISOR_BIT) {
        r = cpuid(LEAF_HYPERVISOR, 0);
        put32(out->hypervisor, r.ebx);
        put32(out->hypervisor + 4, r.ecx);
        put32(out->hypervisor + 8, r.edx);
    }
}

bool under_vipervisor(void) {
    struct cpu_names names;
    cpu_names(&names);
    return strcmp(names.hypervisor, "ViperVisorHV") == 0;
}

bool cpu_is_amd(void) {
    struct cpu_names names;
    cpu_names(&names);
    return strcmp(names.vendor, "AuthenticAMD") == 0;
}

bool cpu_is_tcg(void) {
    struct cpu_names names;
    cpu_names(&names);
    return memcmp(names.brand, "QEMU TCG", strlen("QEMU TCG")) == 0;
}
