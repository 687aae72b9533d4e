// The ACPI registers and timer, and the keyboard controller.
// sources: hypervisor/dev/pmtimer.c hypervisor/dev/kbc.c
#include "check.h"
#include "dev/kbc.h"
#include "dev/pmtimer.h"

static struct pmtimer p;
static struct kbc k;

enum { ALL = 0xFFFF, CARRY = 1 << 23 };

CASE(timer_counts_3579545_a_second) {
    static const uint64_t clocks[] = {4000000, 20000000, 1000000000, 2596000123};
    for (unsigned i = 0; i < 4; i++) {
        pmtimer_init(&p, clocks[i]);
        EQUAL(pmtimer_value(&p, 0), 0);
        EQUAL(pmtimer_value(&p, clocks[i] - 1), 3579544);
        EQUAL(pmtimer_value(&p, clocks[i]), 3579545);
        EQUAL(pmtimer_value(&p, clocks[i] * 86400), (uint32_t)(UINT64_C(3579545) * 86400));
    }
}

CASE(carry_sets_the_status_and_interrupts) {
    pmtimer_init(&p, PMTIMER_HZ); // a TSC step is a tick
    EQUAL(pmtimer_read(&p, 0, PM1_STATUS), 0);
    EQUAL(p.next_tsc, UINT64_MAX);
    pmtimer_write(&p, 0, PM1_ENABLE, 1, ALL);
    EQUAL(p.next_tsc, CARRY);
    pmtimer_update(&p, CARRY - 1);
    CHECK(!p.line);
    pmtimer_update(&p, CARRY);
    CHECK(p.line);
    EQUAL(p.next_tsc, UINT64_MAX);
    EQUAL(pmtimer_read(&p, CARRY, PM1_STATUS), 1);
    pmtimer_write(&p, CARRY + 1, PM1_STATUS, 0, ALL);
    CHECK(p.line);
    pmtimer_write(&p, CARRY + 1, PM1_STATUS, 1, ALL);
    CHECK(!p.line);
    EQUAL(p.next_tsc, 2 * CARRY); // it falls there: that counts too
    pmtimer_write(&p, CARRY + 2, PM1_ENABLE, 0, ALL);
    EQUAL(pmtimer_read(&p, 2 * CARRY, PM1_STATUS), 1);
    CHECK(!p.line);
}

CASE(registers_are_apart) {
    pmtimer_init(&p, PMTIMER_HZ);
    pmtimer_write(&p, 0, PM1_ENABLE, 0xFFFF, ALL);
    EQUAL(pmtimer_read(&p, 0, PM1_ENABLE), 0x0721);
    EQUAL(pmtimer_read(&p, 0, PM1_CONTROL), 1);
    pmtimer_write(&p, CARRY, PM1_STATUS, 0xFFFF, ALL); // sees the carry, then clears it
    EQUAL(pmtimer_read(&p, CARRY, PM1_STATUS), 0);
    EQUAL(pmtimer_read(&p, CARRY, PM1_ENABLE), 0x0721);
    pmtimer_write(&p, CARRY, PM1_ENABLE, 0x0000, 0x00FF);
    EQUAL(pmtimer_read(&p, CARRY, PM1_ENABLE), 0x0700);
    pmtimer_write(&p, CARRY, PM1_ENABLE, 0x0000, ALL);
    pmtimer_write(&p, CARRY, PM1_ENABLE, 0xFFFF, 0x00FF);
    EQUAL(pmtimer_read(&p, CARRY, PM1_ENABLE), 0x0021);
    EQUAL(pmtimer_read(&p, CARRY, 0x606), 0);
}

CASE(sleep_control) {
    pmtimer_init(&p, PMTIMER_HZ);
    EQUAL(pmtimer_read(&p, 0, PM1_CONTROL), 1);
    CHECK(!pmtimer_write(&p, 0, PM1_CONTROL, 0x0000, ALL));
    EQUAL(pmtimer_read(&p, 0, PM1_CONTROL), 1);             // SCI_EN stays
    CHECK(!pmtimer_write(&p, 0, PM1_CONTROL, 0x3C01, ALL)); // SLP_TYP 7: no such state
    EQUAL(pmtimer_read(&p, 0, PM1_CONTROL), 0x1C01);        // SLP_EN reads 0
    CHECK(pmtimer_write(&p, 0, PM1_CONTROL, 0x2001, ALL));
}

CASE(sleep_control_by_bytes) {
    pmtimer_init(&p, PMTIMER_HZ);
    CHECK(!pmtimer_write(&p, 0, PM1_CONTROL, 0x1C00, 0xFF00));
    CHECK(!pmtimer_write(&p, 0, PM1_CONTROL, 0x0001, 0x00FF));
    EQUAL(pmtimer_read(&p, 0, PM1_CONTROL), 0x1C01);
    CHECK(pmtimer_write(&p, 0, PM1_CONTROL, 0x2000, 0xFF00));
    pmtimer_write(&p, 0, PM1_ENABLE, 0x0100, 0xFF00);
    pmtimer_write(&p, 0, PM1_ENABLE, 0x0020, 0x00FF);
    EQUAL(pmtimer_read(&p, 0, PM1_ENABLE), 0x0120);
}

static uint8_t command(uint8_t value) {
    CHECK(!kbc_write(&k, KBC_COMMAND, value));
    CHECK(kbc_read(&k, KBC_COMMAND) & 1);
    return kbc_read(&k, KBC_DATA);
}

// i8042_flush(): 16 reads, then "no controller".
CASE(linux_gives_up_at_once) {
    kbc_init(&k);
    for (unsigned i = 0; i < 17; i++) {
        EQUAL(kbc_read(&k, KBC_COMMAND), 0x01);
        EQUAL(kbc_read(&k, KBC_DATA), 0xFF);
    }
    CHECK(!k.line);
}

CASE(a_drain_loop_ends) {
    kbc_init(&k);
    unsigned reads = 0;
    while (kbc_read(&k, KBC_COMMAND) & 1) {
        kbc_read(&k, KBC_DATA);
        CHECK(++reads < 100);
    }
    EQUAL(kbc_read(&k, KBC_COMMAND) & 2, 0);
}

CASE(reset_commands) {
    kbc_init(&k);
    EQUAL(kbc_read(&k, KBC_COMMAND) & 2, 0); // a command may be written
    CHECK(kbc_write(&k, KBC_COMMAND, 0xFE));
    CHECK(kbc_write(&k, KBC_COMMAND, 0xF0));
    CHECK(!kbc_write(&k, KBC_COMMAND, 0xFF));
    CHECK(!kbc_write(&k, KBC_DATA, 0xFE)); // not a command
    CHECK(!kbc_write(&k, KBC_COMMAND, 0xD1));
    CHECK(!kbc_write(&k, KBC_DATA, 0xDF));
    CHECK(!kbc_write(&k, KBC_COMMAND, 0xD1));
    CHECK(kbc_write(&k, KBC_DATA, 0xDE));
}

CASE(answers) {
    kbc_init(&k);
    EQUAL(command(0xAA), 0x55);
    EQUAL(command(0xAB), 0x00);
    EQUAL(command(0xA9), 0x01);
    EQUAL(command(0xC0), 0x80);
    EQUAL(command(0x20), 0x34);
    kbc_write(&k, KBC_COMMAND, 0xA8);
    kbc_write(&k, KBC_COMMAND, 0xAE);
    EQUAL(command(0x20), 0x04);
    kbc_write(&k, KBC_COMMAND, 0xA7);
    kbc_write(&k, KBC_COMMAND, 0xAD);
    EQUAL(command(0x20), 0x34);
}

CASE(a20_through_the_output_port) {
    kbc_init(&k);
    EQUAL(command(0xD0), 0xCF);
    kbc_write(&k, KBC_COMMAND, 0xDD);
    EQUAL(command(0xD0), 0xCD);
    kbc_write(&k, KBC_COMMAND, 0xDF);
    EQUAL(command(0xD0), 0xCF);
    kbc_write(&k, KBC_COMMAND, 0xD1);
    kbc_write(&k, KBC_DATA, 0xDD);
    EQUAL(command(0xD0), 0xDD);
    CHECK(!kbc_write(&k, KBC_DATA, 0x00)); // the parameter was taken already
    EQUAL(command(0xD0), 0xDD);
}

CASE(answers_interrupt_when_asked) {
    kbc_init(&k);
    kbc_write(&k, KBC_COMMAND, 0xAA);
    CHECK(!k.line);
    kbc_write(&k, KBC_COMMAND, 0x60);
    kbc_write(&k, KBC_DATA, 0x05);
    CHECK(k.line); // the answer still waits
    kbc_read(&k, KBC_DATA);
    CHECK(!k.line);
    kbc_write(&k, KBC_COMMAND, 0xD2);
    kbc_write(&k, KBC_DATA, 0x1C);
    CHECK(k.line);
    EQUAL(kbc_read(&k, KBC_DATA), 0x1C);
    CHECK(!k.line);
}

// Each command does its own thing and nothing else.
CASE(commands_do_one_thing) {
    static const struct {
        uint8_t command, bits, bits_after, port_after, pending;
        int answer;
    } table[] = {
        {0x20, 0x30, 0x30, 0xCF, 0, 0x30},
        {0x60, 0x00, 0x00, 0xCF, 0x60, -1},
        {0xD1, 0x00, 0x00, 0xCF, 0xD1, -1},
        {0xD2, 0x00, 0x00, 0xCF, 0xD2, -1},
        {0xA7, 0x00, 0x20, 0xCF, 0, -1},
        {0xA8, 0x30, 0x10, 0xCF, 0, -1},
        {0xA9, 0x30, 0x30, 0xCF, 0, 0x01},
        {0xAA, 0x30, 0x30, 0xCF, 0, 0x55},
        {0xAB, 0x30, 0x30, 0xCF, 0, 0x00},
        {0xAD, 0x00, 0x10, 0xCF, 0, -1},
        {0xAE, 0x30, 0x20, 0xCF, 0, -1},
        {0xC0, 0x30, 0x30, 0xCF, 0, 0x80},
        {0xD0, 0x30, 0x30, 0xCF, 0, 0xCF},
        {0xDD, 0x30, 0x30, 0xCD, 0, -1},
        {0xDF, 0x30, 0x30, 0xCF, 0, -1},
        {0xFF, 0x30, 0x30, 0xCF, 0, -1},
        {0x00, 0x30, 0x30, 0xCF, 0, -1},
    };
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        kbc_init(&k);
        k.command_byte = table[i].bits;
        k.pending = 0x60; // a new command forgets the old one's parameter
        CHECK(!kbc_write(&k, KBC_COMMAND, table[i].command));
        EQUAL(k.command_byte, table[i].bits_after);
        EQUAL(k.output_port, table[i].port_after);
        EQUAL(k.pending, table[i].pending);
        EQUAL(k.full, table[i].answer >= 0);
        if (table[i].answer >= 0) {
            EQUAL(k.data, table[i].answer);
        }
    }
}

CASE(parameters_go_to_their_command) {
    kbc_init(&k);
    kbc_write(&k, KBC_COMMAND, 0x60);
    kbc_write(&k, KBC_DATA, 0x44);
    EQUAL(k.command_byte, 0x44);
    EQUAL(k.output_port, 0xCF);
    CHECK(!k.full);
    kbc_write(&k, KBC_DATA, 0x11); // no second parameter
    EQUAL(k.command_byte, 0x44);
    kbc_write(&k, KBC_COMMAND, 0xD1);
    CHECK(!kbc_write(&k, KBC_DATA, 0x03));
    EQUAL(k.output_port, 0x03);
    CHECK(!k.full);
    CHECK(!kbc_write(&k, KBC_DATA, 0x02));
    kbc_write(&k, KBC_COMMAND, 0xD2);
    CHECK(!kbc_write(&k, KBC_DATA, 0x02));
    EQUAL(k.data, 0x02);
    EQUAL(k.command_byte, 0x44);
    EQUAL(k.output_port, 0x03);
}
