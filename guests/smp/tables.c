// The two tables of the CPUs and the interrupt lines, each found by a search as an operating
// system's: the MP table (MultiProcessor Specification 1.4) and ACPI's MADT must say the same.
#include "check.h"
#include "guest.h"
#include "smp.h"

enum {
    SEARCH = 0xE0000, MP_SEARCH = 0xF0000, SEARCH_END = 0x100000, SEARCH_STEP = 16,
    MP_PROCESSOR = 0, MP_BUS = 1, MP_IO_APIC = 2, MP_INTERRUPT = 3, MP_LOCAL_INTERRUPT = 4,
    MP_ENABLED = 1, MP_BOOT = 2, MP_INT = 0, MP_NMI = 1, MP_ROW = 8, MP_PROCESSOR_ROW = 20,
    MADT_LOCAL_APIC = 0, MADT_IO_APIC = 1, MADT_OVERRIDE = 2, MADT_NMI = 4, MADT_ENABLED = 1,
    RSDP_SHORT = 20, ISA_IRQS = 16, CASCADE = 2,
    // Polarity and trigger in both: 0 is the bus's own.
    FLAGS = 0xF, HIGH_EDGE = 0x5, POLARITY = 0x3, TRIGGER = 0xC,
};

struct mp_pointer {
    char signature[4];
    uint32_t table;
    uint8_t sixteens, revision, checksum, features[5];
};
struct mp_table {
    char signature[4];
    uint16_t size;
    uint8_t revision, checksum;
    char names[20];
    uint32_t oem_table;
    uint16_t oem_size, count;
    uint32_t local_apic;
    uint16_t extended_size;
    uint8_t extended_checksum, reserved;
    uint8_t rows[];
};
struct acpi_table {
    char signature[4];
    uint32_t size;
    uint8_t rest[28], body[];
};

// What a table tells, in the same form for both.
struct told {
    bool cpu[256];
    uint32_t local_apic, io_apics, io_apic, io_apic_id, nmi_line;
    struct {
        uint32_t pin, flags;
    } line[ISA_IRQS];
};

static uint32_t get32(const uint8_t *from) {
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

static bool sums_to_zero(const void *from, uint32_t size) {
    uint8_t sum = 0;
    for (uint32_t i = 0; i < size; i++) {
        sum = (uint8_t)(sum + ((const uint8_t *)from)[i]);
    }
    return sum == 0;
}

static const void *search(uint32_t from, const char *signature, uint32_t size) {
    for (uint32_t at = from; at < SEARCH_END; at += SEARCH_STEP) {
        const void *found = (const void *)(uintptr_t)at;
        if (memcmp(found, signature, strlen(signature)) == 0 && sums_to_zero(found, size)) {
            return found;
        }
    }
    return NULL;
}

static uint32_t resolved(uint32_t flags) {
    uint32_t polarity = flags & POLARITY, trigger = flags & TRIGGER;
    return (polarity ? polarity : HIGH_EDGE & POLARITY) | (trigger ? trigger : HIGH_EDGE & TRIGGER);
}

static bool read_mp(struct told *told, uint32_t *boot) {
    const struct mp_pointer *pointer = search(MP_SEARCH, "_MP_", sizeof *pointer);
    if (pointer == NULL) {
        return false;
    }
    const struct mp_table *table = (const struct mp_table *)(uintptr_t)pointer->table;
    if (memcmp(table->signature, "PCMP", 4) != 0 || !sums_to_zero(table, table->size)) {
        return false;
    }
    told->local_apic = table->local_apic;
    uint32_t isa = 0x100;
    const uint8_t *row = table->rows;
    for (uint32_t i = 0; i < table->count; i++) {
        if (row[0] == MP_PROCESSOR && (row[3] & MP_ENABLED)) {
            told->cpu[row[1]] = true;
            *boot = row[3] & MP_BOOT ? row[1] : *boot;
        } else if (row[0] == MP_BUS && memcmp(row + 2, "ISA   ", 6) == 0) {
            isa = row[1];
        } else if (row[0] == MP_IO_APIC) {
            told->io_apics++;
            told->io_apic_id = row[1];
            told->io_apic = get32(row + 4);
        } else if (row[0] == MP_INTERRUPT && row[1] == MP_INT && row[4] == isa && row[5] < ISA_IRQS) {
            told->line[row[5]].pin = row[7];
            told->line[row[5]].flags = resolved(row[2] & FLAGS);
        } else if (row[0] == MP_LOCAL_INTERRUPT && row[1] == MP_NMI) {
            told->nmi_line = row[7];
        }
        row += row[0] == MP_PROCESSOR ? MP_PROCESSOR_ROW : MP_ROW;
    }
    return row == (const uint8_t *)table + table->size;
}

static const struct acpi_table *find_madt(void) {
    const uint8_t *rsdp = search(SEARCH, "RSD PTR ", RSDP_SHORT);
    if (rsdp == NULL) {
        return NULL;
    }
    const struct acpi_table *rsdt = (const struct acpi_table *)(uintptr_t)get32(rsdp + 16);
    for (uint32_t at = 0; at + sizeof *rsdt < rsdt->size; at += 4) {
        const struct acpi_table *table = (const struct acpi_table *)(uintptr_t)get32(rsdt->body + at);
        if (memcmp(table->signature, "APIC", 4) == 0 && sums_to_zero(table, table->size)) {
            return table;
        }
    }
    return NULL;
}

static bool read_madt(struct told *told) {
    const struct acpi_table *table = find_madt();
    if (table == NULL) {
        return false;
    }
    told->local_apic = get32(table->body);
    for (uint32_t irq = 0; irq < ISA_IRQS; irq++) {
        told->line[irq].pin = irq;
        told->line[irq].flags = HIGH_EDGE;
    }
    const uint8_t *end = (const uint8_t *)table + table->size, *row = table->body + 8;
    for (; row < end; row += row[1]) {
        if (row[0] == MADT_LOCAL_APIC && (row[4] & MADT_ENABLED)) {
            told->cpu[row[3]] = true;
        } else if (row[0] == MADT_IO_APIC) {
            told->io_apics++;
            told->io_apic_id = row[2];
            told->io_apic = get32(row + 4);
        } else if (row[0] == MADT_OVERRIDE && row[3] < ISA_IRQS) {
            told->line[row[3]].pin = get32(row + 4);
            told->line[row[3]].flags = resolved(row[8] & FLAGS);
        } else if (row[0] == MADT_NMI) {
            told->nmi_line = row[5];
        }
        if (row[1] == 0) {
            return false;
        }
    }
    return row == end;
}

void check_tables(uint32_t expected) {
    static struct told mp, madt;
    uint32_t boot = 0x100, count = 0, unlike = 0, lines = 0;
    bool has_mp = read_mp(&mp, &boot), has_madt = read_madt(&madt);
    if (!under_vipervisor()) {
        skip("the MP table and the MADT", "the firmware below may leave cores out of its MP table");
        return;
    }
    if (!expect("an MP table and an MADT are found", has_mp && has_madt, "%u %u", has_mp, has_madt)) {
        return;
    }
    for (uint32_t id = 0; id < 256; id++) {
        count += mp.cpu[id];
        unlike += mp.cpu[id] != madt.cpu[id];
    }
    expect("both name the CPUs", count == expected && unlike == 0, "%u, %u unlike", count, unlike);
    expect("the MP table names the boot CPU", boot == apic_id(), "%x", boot);
    expect("both place the local APIC", mp.local_apic == madt.local_apic, "%x %x", mp.local_apic, madt.local_apic);
    expect("both place one I/O APIC", mp.io_apics == 1 && madt.io_apics == 1 && mp.io_apic == madt.io_apic
        && mp.io_apic_id == madt.io_apic_id, "%x at %x, %x at %x", mp.io_apic_id, mp.io_apic, madt.io_apic_id,
        madt.io_apic);
    for (uint32_t irq = 0; irq < ISA_IRQS; irq++) {
        lines += irq != CASCADE
            && (mp.line[irq].pin != madt.line[irq].pin || mp.line[irq].flags != madt.line[irq].flags);
    }
    expect("both lead the ISA lines alike", lines == 0, "%u unlike", lines);
    expect("both have NMIs at LINT1", mp.nmi_line == 1 && madt.nmi_line == 1, "%u %u", mp.nmi_line, madt.nmi_line);
}
