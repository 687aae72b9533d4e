// Says who it is, what memory it was given and who is below, then ends with the
// status that its command line asks for (`status=3`).
#include "guest.h"

enum { LEAF_HYPERVISOR = 0x40000000 };

int guest_main(void) {
    struct cpu_names names;
    cpu_names(&names);
    print("hello from a %u-bit guest\n", (unsigned)sizeof(void *) * 8);
    print("cmdline: %s\n", boot_cmdline());
    print("cpu: %s %s\n", names.vendor, names.brand);
    if (names.hypervisor[0]) {
        uint32_t last = cpuid(LEAF_HYPERVISOR, 0).eax;
        print("hypervisor: %s, leaves to %x\n", names.hypervisor, last);
        for (uint32_t leaf = LEAF_HYPERVISOR; leaf <= last && leaf < LEAF_HYPERVISOR + 16; leaf++) {
            struct cpuid r = cpuid(leaf, 0);
            print("  %08x: %08x %08x %08x %08x\n", leaf, r.eax, r.ebx, r.ecx, r.edx);
        }
    } else {
        print("hypervisor: none\n");
    }
    struct memory_range map[32];
    unsigned count = memory_map(map, 32);
    uint64_t ram = 0;
    for (unsigned i = 0; i < count && i < 32; i++) {
        print("memory: %012llx +%012llx type %u\n", (unsigned long long)map[i].base,
            (unsigned long long)map[i].size, map[i].type);
        ram += map[i].type == 1 ? map[i].size : 0;
    }
    print("ram: %u KiB\n", (unsigned)(ram >> 10));
    return (int)option_number("status", 0);
}
