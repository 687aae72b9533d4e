// Reading ACPI tables (ACPI 6.5, chapter 5). Firmware is not trusted: every address
// is mapped read-only before use and every length is checked.
#include "cpu/acpi.h"

#include <stddef.h>

#include "boot/bootinfo.h"
#include "cpu/memory.h"
#include "cpu/string.h"
#include "cpu/trap.h"

struct __attribute__((packed)) rsdp {
    char signature[8];
    uint8_t checksum;
    char oem[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length;
    uint64_t xsdt;
};

struct __attribute__((packed)) sdt {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem[6], oem_table[8];
    uint32_t oem_revision, creator, creator_revision;
};

struct __attribute__((packed)) madt_entry {
    uint8_t type, length;
    union {
        struct __attribute__((packed)) { uint8_t processor, apic_id; uint32_t flags; } local_apic;
        struct __attribute__((packed)) { uint8_t id, reserved; uint32_t address, gsi_base; } io_apic;
        struct __attribute__((packed)) { uint8_t bus, source; uint32_t gsi; uint16_t flags; } isa_override;
        struct __attribute__((packed)) { uint16_t reserved; uint32_t x2apic_id, flags, processor; } x2apic;
    };
};

enum {
    MADT_LOCAL_APIC = 0, MADT_IO_APIC = 1, MADT_ISA_OVERRIDE = 2, MADT_X2APIC = 9,
    MADT_ENABLED = 1,
    MADT_HEADER = 44,
    FADT_DSDT = 40, FADT_PM1A_CONTROL = 64,
    EBDA_POINTER = 0x40E,
    RSDP_V1_LENGTH = 20,
    TABLE_MAX = 4 << 20, // a longer table is a broken one
};

struct acpi_info acpi;
static bool use_xsdt;
static uint64_t table_list;
static uint32_t table_list_length;

static bool checksum_ok(const void *data, uint32_t length) {
    const uint8_t *bytes = data;
    uint8_t sum = 0;
    for (uint32_t i = 0; i < length; i++) {
        sum = (uint8_t)(sum + bytes[i]);
    }
    return sum == 0;
}

// Firmware tables may lie outside what the memory map lists: such pages are mapped
// on demand (uncached, which is harmless for a few reads).
static bool readable(uint64_t address, uint64_t size) {
    uint64_t value;
    for (uint64_t page = address & ~(PAGE_SIZE - 1); page < address + size; page += PAGE_SIZE) {
        if (!probe_read(page == (address & ~(PAGE_SIZE - 1)) ? address : page, 1, &value)
            && mmio_map(page, PAGE_SIZE) == NULL) {
            return false;
        }
    }
    return true;
}

static const struct sdt *map_table(uint64_t address) {
    if (address == 0 || !readable(address, sizeof(struct sdt))) {
        return NULL;
    }
    const struct sdt *t = (const void *)(uintptr_t)address;
    if (t->length < sizeof(struct sdt) || t->length > TABLE_MAX || !readable(address, t->length)) {
        return NULL;
    }
    return t;
}

static uint64_t scan_rsdp(uint64_t from, uint64_t to) {
    for (uint64_t a = from; a + RSDP_V1_LENGTH <= to; a += 16) {
        if (memcmp((const void *)(uintptr_t)a, "RSD PTR ", 8) == 0
            && checksum_ok((const void *)(uintptr_t)a, RSDP_V1_LENGTH)) {
            return a;
        }
    }
    return 0;
}

static uint64_t find_rsdp(void) {
    if (bootinfo.rsdp != 0 && readable(bootinfo.rsdp, sizeof(struct rsdp))) {
        return bootinfo.rsdp;
    }
    return scan_rsdp(0xE0000, 0x100000) != 0 ? scan_rsdp(0xE0000, 0x100000) : scan_rsdp(0x9F000, 0xA0000);
}

const void *acpi_table(const char *signature, uint32_t *length) {
    uint32_t entry = use_xsdt ? 8 : 4;
    for (uint32_t offset = sizeof(struct sdt); offset + entry <= table_list_length; offset += entry) {
        uint64_t address = 0;
        memcpy(&address, (const void *)(uintptr_t)(table_list + offset), entry);
        const struct sdt *t = map_table(address);
        if (t != NULL && memcmp(t->signature, signature, 4) == 0) {
            *length = t->length;
            return t;
        }
    }
    return NULL;
}

static void add_cpu(uint32_t apic_id, uint32_t flags) {
    if ((flags & MADT_ENABLED) == 0) {
        return;
    }
    if (acpi.cpu_count == CPU_MAX) {
        acpi.cpus_dropped++;
        return;
    }
    acpi.apic_ids[acpi.cpu_count++] = apic_id;
}

static void read_madt(void) {
    uint32_t length;
    const uint8_t *madt = acpi_table("APIC", &length);
    if (madt == NULL || length < MADT_HEADER) {
        return;
    }
    acpi.found = true;
    memcpy(&acpi.local_apic, madt + 36, 4);
    for (uint32_t offset = MADT_HEADER; offset + 2 <= length;) {
        const struct madt_entry *e = (const void *)(madt + offset);
        if (e->length < 2 || offset + e->length > length) {
            return;
        }
        if (e->type == MADT_LOCAL_APIC && e->length >= 8) {
            add_cpu(e->local_apic.apic_id, e->local_apic.flags);
        } else if (e->type == MADT_X2APIC && e->length >= 16) {
            add_cpu(e->x2apic.x2apic_id, e->x2apic.flags);
        } else if (e->type == MADT_IO_APIC && e->length >= 12 && acpi.io_apic == 0) {
            acpi.io_apic = e->io_apic.address;
            acpi.io_apic_gsi_base = e->io_apic.gsi_base;
        } else if (e->type == MADT_ISA_OVERRIDE && e->length >= 10 && e->isa_override.source < 16) {
            acpi.isa_gsi[e->isa_override.source] = e->isa_override.gsi;
            acpi.isa_flags[e->isa_override.source] = e->isa_override.flags;
        }
        offset += e->length;
    }
}

// The DSDT is AML, which nobody here interprets: the _S5_ package is found by its
// name and its first integer read (name, PackageOp, length, count, value).
static void read_s5(const struct sdt *dsdt) {
    const uint8_t *a = (const uint8_t *)dsdt;
    for (uint32_t i = sizeof(struct sdt); i + 12 < dsdt->length; i++) {
        if (memcmp(a + i, "_S5_", 4) != 0 || a[i + 4] != 0x12) {
            continue;
        }
        const uint8_t *p = a + i + 5;
        p += (*p >> 6) + 2; // package length, element count
        acpi.s5_type = *p == 0x0A ? p[1] : *p; // BytePrefix, or ZeroOp/OneOp
        acpi.s5_known = true;
        return;
    }
}

static void read_fadt(void) {
    uint32_t length;
    const uint8_t *fadt = acpi_table("FACP", &length);
    if (fadt == NULL || length < FADT_PM1A_CONTROL + 4) {
        return;
    }
    uint32_t dsdt, pm1a;
    memcpy(&dsdt, fadt + FADT_DSDT, 4);
    memcpy(&pm1a, fadt + FADT_PM1A_CONTROL, 4);
    acpi.pm1a_control = (uint16_t)pm1a;
    const struct sdt *t = map_table(dsdt);
    if (t != NULL) {
        read_s5(t);
    }
}

void acpi_init(void) {
    for (uint32_t i = 0; i < 16; i++) {
        acpi.isa_gsi[i] = i;
    }
    acpi.rsdp = find_rsdp();
    if (acpi.rsdp == 0) {
        return;
    }
    const struct rsdp *r = (const void *)(uintptr_t)acpi.rsdp;
    use_xsdt = r->revision >= 2 && r->xsdt != 0;
    table_list = use_xsdt ? r->xsdt : r->rsdt;
    const struct sdt *list = map_table(table_list);
    if (list == NULL) {
        return;
    }
    table_list_length = list->length;
    read_madt();
    read_fadt();
    const uint8_t *mcfg = acpi_table("MCFG", &(uint32_t) { 0 });
    if (mcfg != NULL) {
        memcpy(&acpi.mcfg, mcfg + 44, 8);
    }
}
