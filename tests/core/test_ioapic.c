// The I/O APIC: its registers, edges, levels with remote IRR, polarity, messages.
// sources: hypervisor/dev/ioapic.c
#include "check.h"
#include "dev/ioapic.h"

enum { LOGICAL = 1 << 11, LOW = 1 << 13, REMOTE_IRR = 1 << 14, LEVEL = 1 << 15, MASKED = 1 << 16 };

static struct ioapic io;
static struct apic_message m;

static uint32_t in(uint32_t reg) {
    ioapic_write(&io, IOAPIC_SELECT, reg);
    return ioapic_read(&io, IOAPIC_WINDOW);
}

static void out(uint32_t reg, uint32_t value) {
    ioapic_write(&io, IOAPIC_SELECT, reg);
    ioapic_write(&io, IOAPIC_WINDOW, value);
}

static void entry(uint32_t pin, uint8_t destination, uint32_t low) {
    out(0x11 + 2 * pin, (uint32_t)destination << 24);
    out(0x10 + 2 * pin, low);
}

static void start(void) {
    ioapic_init(&io, 2);
}

static bool sent(uint8_t vector) {
    bool some = ioapic_take(&io, &m);
    return some && m.vector == vector;
}

CASE(registers) {
    start();
    EQUAL(in(0), 2u << 24);
    EQUAL(in(1), 0x170020);
    EQUAL(in(2), 2u << 24);
    for (uint32_t pin = 0; pin < IOAPIC_PINS; pin++) {
        EQUAL(in(0x10 + 2 * pin), MASKED);
        EQUAL(in(0x11 + 2 * pin), 0);
    }
    EQUAL(in(0x40), 0);
    EQUAL(ioapic_read(&io, IOAPIC_SELECT), 0x40);
    out(0, 0x05FFFFFF);
    EQUAL(in(0), 5u << 24);
    entry(3, 0xAB, UINT32_MAX);
    EQUAL(in(0x16), 0x1AFFF);
    EQUAL(in(0x17), 0xAB000000);
}

CASE(an_edge_sends_once) {
    start();
    entry(4, 1, 0x31);
    ioapic_line(&io, 4, true);
    CHECK(sent(0x31));
    EQUAL(m.destination, 1);
    EQUAL(m.mode, APIC_FIXED);
    CHECK(!m.logical && !m.level);
    ioapic_line(&io, 4, true);
    CHECK(!ioapic_take(&io, &m));
    ioapic_line(&io, 4, false);
    CHECK(!ioapic_take(&io, &m));
    ioapic_line(&io, 4, true);
    CHECK(sent(0x31));
}

CASE(an_edge_on_a_masked_pin_is_lost) {
    start();
    entry(4, 0, MASKED | 0x31);
    ioapic_line(&io, 4, true);
    entry(4, 0, 0x31);
    CHECK(!ioapic_take(&io, &m));
}

CASE(a_level_waits_for_its_eoi) {
    start();
    entry(9, 0, LEVEL | 0x59);
    ioapic_line(&io, 9, true);
    CHECK(sent(0x59));
    CHECK(m.level);
    EQUAL(in(0x22) & REMOTE_IRR, REMOTE_IRR);
    ioapic_line(&io, 9, false);
    ioapic_line(&io, 9, true);
    CHECK(!ioapic_take(&io, &m));
    ioapic_eoi(&io, 0x58);
    CHECK(!ioapic_take(&io, &m));
    ioapic_eoi(&io, 0x59);
    CHECK(sent(0x59)); // still asserted
    ioapic_line(&io, 9, false);
    ioapic_write(&io, IOAPIC_EOI, 0x59);
    CHECK(!ioapic_take(&io, &m));
    EQUAL(in(0x22) & REMOTE_IRR, 0);
}

CASE(a_masked_level_comes_when_unmasked) {
    start();
    entry(9, 0, MASKED | LEVEL | 0x59);
    ioapic_line(&io, 9, true);
    CHECK(!ioapic_take(&io, &m));
    entry(9, 0, LEVEL | 0x59);
    CHECK(sent(0x59));
    entry(9, 0, MASKED | LEVEL | 0x59);
    EQUAL(in(0x22) & REMOTE_IRR, REMOTE_IRR);
    ioapic_eoi(&io, 0x59);
    CHECK(!ioapic_take(&io, &m));
}

CASE(masking_takes_back_what_is_not_sent) {
    start();
    entry(9, 0, LEVEL | 0x59);
    ioapic_line(&io, 9, true);
    entry(9, 0, MASKED | LEVEL | 0x59);
    CHECK(!ioapic_take(&io, &m));
}

CASE(edge_mode_ends_remote_irr) {
    start();
    entry(9, 0, LEVEL | 0x59);
    ioapic_line(&io, 9, true);
    CHECK(sent(0x59));
    entry(9, 0, MASKED | 0x59);
    entry(9, 0, LEVEL | 0x59); // Linux' way to end one without an EOI register
    CHECK(sent(0x59));
}

CASE(active_low) {
    start();
    ioapic_line(&io, 16, true);
    entry(16, 0, LOW | LEVEL | 0x61);
    CHECK(!ioapic_take(&io, &m));
    ioapic_line(&io, 16, false);
    CHECK(sent(0x61));
    ioapic_line(&io, 16, true);
    ioapic_eoi(&io, 0x61);
    CHECK(!ioapic_take(&io, &m));
    entry(5, 0, LOW | 0x62);
    ioapic_line(&io, 5, true);
    CHECK(!ioapic_take(&io, &m));
    ioapic_line(&io, 5, false);
    CHECK(sent(0x62));
}

CASE(messages) {
    start();
    entry(1, 0x0F, LOGICAL | APIC_LOWEST << 8 | 0x41);
    ioapic_line(&io, 1, true);
    CHECK(sent(0x41));
    CHECK(m.logical);
    EQUAL(m.mode, APIC_LOWEST);
    EQUAL(m.destination, 0x0F);
    entry(3, 0xFF, APIC_NMI << 8 | LEVEL);
    ioapic_line(&io, 3, true);
    CHECK(ioapic_take(&io, &m));
    EQUAL(m.mode, APIC_NMI);
    EQUAL(m.destination, APIC_EVERYBODY);
    CHECK(!m.level); // an NMI is an edge always
    EQUAL(in(0x16) & REMOTE_IRR, 0);
    entry(5, 0xFF, LOGICAL | 0x42);
    ioapic_line(&io, 5, true);
    CHECK(sent(0x42));
    EQUAL(m.destination, 0xFF);
}

CASE(several_pins_are_due_together) {
    start();
    entry(7, 0, 0x47);
    entry(3, 0, 0x43);
    ioapic_line(&io, 7, true);
    ioapic_line(&io, 3, true);
    CHECK(sent(0x43));
    CHECK(sent(0x47));
    CHECK(!ioapic_take(&io, &m));
}
