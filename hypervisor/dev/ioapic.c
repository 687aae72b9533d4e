// I/O APIC: redirection entries, edges and levels, remote IRR.
#include "dev/ioapic.h"

enum {
    REG_ID = 0,
    REG_VERSION = 1,
    REG_ARBITRATION = 2,
    REG_REDIRECTION = 0x10,
    REG_REDIRECTION_LAST = REG_REDIRECTION + 2 * IOAPIC_PINS - 1,
    ID_SHIFT = 24,
    ID_MASK = 0xF,
    VERSION_VALUE = 0x20 | (IOAPIC_PINS - 1) << 16,
    MODE_SHIFT = 8,
    MODE_MASK = 7,
};
#define ENTRY_LOGICAL (UINT64_C(1) << 11)
#define ENTRY_ACTIVE_LOW (UINT64_C(1) << 13)
#define ENTRY_REMOTE_IRR (UINT64_C(1) << 14)
#define ENTRY_LEVEL (UINT64_C(1) << 15)
#define ENTRY_MASKED (UINT64_C(1) << 16)
#define ENTRY_DESTINATION_SHIFT 56
// Delivery status (bit 12) and remote IRR are read-only.
#define ENTRY_WRITABLE (UINT64_C(0xFF00000000000000) | UINT64_C(0x1AFFF))

void ioapic_init(struct ioapic *io, uint32_t id) {
    *io = (struct ioapic){.version = IOAPIC_STATE_VERSION, .id = id};
    for (uint32_t pin = 0; pin < IOAPIC_PINS; pin++) {
        io->entry[pin] = ENTRY_MASKED;
    }
}

static bool asserted(const struct ioapic *io, uint32_t pin) {
    return (io->lines >> pin & 1) != ((io->entry[pin] & ENTRY_ACTIVE_LOW) != 0);
}

static bool is_level(uint64_t entry) {
    uint32_t mode = entry >> MODE_SHIFT & MODE_MASK;
    return (entry & ENTRY_LEVEL) && mode <= APIC_LOWEST; // the others are edges always
}

// A level that stands and is not being served.
static void consider_level(struct ioapic *io, uint32_t pin) {
    uint64_t entry = io->entry[pin];
    if (is_level(entry) && !(entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR)) && asserted(io, pin)) {
        io->due |= UINT32_C(1) << pin;
    }
}

void ioapic_line(struct ioapic *io, uint32_t pin, bool high) {
    bool before = asserted(io, pin);
    io->lines = (io->lines & ~(UINT32_C(1) << pin)) | (uint32_t)high << pin;
    if (is_level(io->entry[pin])) {
        consider_level(io, pin);
    } else if (!before && asserted(io, pin) && !(io->entry[pin] & ENTRY_MASKED)) {
        io->due |= UINT32_C(1) << pin; // an edge on a masked pin is lost (3.2.4)
    }
}

uint32_t ioapic_read(const struct ioapic *io, uint32_t offset) {
    if (offset == IOAPIC_SELECT) {
        return io->select;
    }
    if (offset != IOAPIC_WINDOW) {
        return 0;
    }
    switch (io->select) {
        case REG_ID:
        case REG_ARBITRATION:
            return io->id << ID_SHIFT;
        case REG_VERSION:
            return VERSION_VALUE;
        case REG_REDIRECTION ... REG_REDIRECTION_LAST: {
            uint64_t entry = io->entry[(io->select - REG_REDIRECTION) / 2];
            return (uint32_t)(entry >> (io->select & 1 ? 32 : 0));
        }
        default:
            return 0;
    }
}

static void write_entry(struct ioapic *io, uint32_t pin, bool upper, uint32_t value) {
    uint64_t old = io->entry[pin];
    uint64_t entry = upper ? (old & UINT32_MAX) | (uint64_t)value << 32
        : (old & ~(uint64_t)UINT32_MAX) | value;
    entry = (entry & ENTRY_WRITABLE) | (old & ENTRY_REMOTE_IRR);
    if (!is_level(entry)) {
        entry &= ~ENTRY_REMOTE_IRR;
    }
    io->entry[pin] = entry;
    if (entry & ENTRY_MASKED) {
        io->due &= ~(UINT32_C(1) << pin);
    }
    consider_level(io, pin);
}

void ioapic_write(struct ioapic *io, uint32_t offset, uint32_t value) {
    if (offset == IOAPIC_SELECT) {
        io->select = value & 0xFF;
    } else if (offset == IOAPIC_EOI) {
        ioapic_eoi(io, (uint8_t)value);
    } else if (offset == IOAPIC_WINDOW) {
        if (io->select == REG_ID) {
            io->id = value >> ID_SHIFT & ID_MASK;
        } else if (io->select >= REG_REDIRECTION && io->select <= REG_REDIRECTION_LAST) {
            write_entry(io, (io->select - REG_REDIRECTION) / 2, io->select & 1, value);
        }
    }
}

void ioapic_eoi(struct ioapic *io, uint8_t vector) {
    for (uint32_t pin = 0; pin < IOAPIC_PINS; pin++) {
        if ((uint8_t)io->entry[pin] == vector && (io->entry[pin] & ENTRY_REMOTE_IRR)) {
            io->entry[pin] &= ~ENTRY_REMOTE_IRR;
            consider_level(io, pin);
        }
    }
}

bool ioapic_take(struct ioapic *io, struct apic_message *m) {
    if (io->due == 0) {
        return false;
    }
    uint32_t pin = (uint32_t)__builtin_ctz(io->due);
    io->due &= io->due - 1;
    uint64_t entry = io->entry[pin];
    *m = (struct apic_message){
        .vector = (uint8_t)entry,
        .mode = entry >> MODE_SHIFT & MODE_MASK,
        .logical = (entry & ENTRY_LOGICAL) != 0,
        .level = is_level(entry),
        .destination = (uint32_t)(entry >> ENTRY_DESTINATION_SHIFT),
    };
    if (!m->logical && m->destination == APIC_EVERYBODY_8) {
        m->destination = APIC_EVERYBODY;
    }
    if (m->level) {
        io->entry[pin] |= ENTRY_REMOTE_IRR;
    }
    return true;
}
