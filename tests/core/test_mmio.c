// sources: hypervisor/virt/mmio.c hypervisor/dev/testdev.c
// Ranges of device memory: who answers, at their edges and between them.
#include "check.h"
#include "cpu/err.h"
#include "dev/testdev.h"
#include "virt/guest.h"
#include "virt/claim.h"
#include "virt/mmio.h"

// No claims here: virt/claim_access.c is not linked.
bool claim_nobodys(struct vcpu *v, uint64_t gpa, uint8_t size, bool write, uint64_t *value) {
    (void)v, (void)gpa, (void)size, (void)write, (void)value;
    return false;
}

static struct guest guest;
static struct vcpu vcpu = {.guest = &guest};
static struct {
    void *context;
    uint64_t offset, value;
    uint8_t size;
    bool write;
    unsigned calls;
} last;

static bool answer(struct vcpu *v, void *context, uint64_t offset, uint8_t size, bool write, uint64_t *value) {
    CHECK(v == &vcpu);
    last.context = context;
    last.offset = offset;
    last.size = size;
    last.write = write;
    last.value = *value;
    last.calls++;
    if (!write) {
        *value = 0xA0 + offset;
    }
    return true;
}

static bool silent(struct vcpu *v, void *context, uint64_t offset, uint8_t size, bool write, uint64_t *value) {
    (void)v, (void)context, (void)offset, (void)size, (void)write, (void)value;
    return false;
}

static void reset(void) {
    guest = (struct guest){.region_count = 1, .regions = {{0, 0x1000000, 0x100000}}};
    memset(&last, 0, sizeof(last));
}

static uint64_t read_at(uint64_t gpa, uint8_t size) {
    uint64_t value = 0;
    mmio_access(&vcpu, gpa, size, false, &value);
    return value;
}

CASE(ranges_are_found_by_their_addresses) {
    reset();
    int a, b, c;
    EQUAL(mmio_register(&guest, 0xFEC00000, 0x1000, answer, &a), 0);
    EQUAL(mmio_register(&guest, 0xFEE00000, 0x1000, answer, &b), 0);
    EQUAL(mmio_register(&guest, 0xD0000000, 0x10, answer, &c), 0);
    EQUAL(read_at(0xFEC00010, 4), 0xB0);
    CHECK(last.context == &a && last.size == 4 && !last.write);
    EQUAL(read_at(0xFEE00FFC, 4), 0xA0 + 0xFFC);
    CHECK(last.context == &b);
    uint64_t value = 0x1234;
    mmio_access(&vcpu, 0xD0000008, 8, true, &value);
    CHECK(last.context == &c && last.offset == 8 && last.write && last.value == 0x1234);
    EQUAL(guest.unclaimed_memory, 0);
}

CASE(the_local_apic_has_the_first_slot) {
    reset();
    mmio_register(&guest, 0xFEC00000, 0x1000, answer, NULL);
    mmio_register(&guest, 0xFEE00000, 0x1000, answer, NULL);
    CHECK(mmio_find(&guest.mmio, 0xFEE000B0) == &guest.mmio.ranges[0]);
    CHECK(mmio_find(&guest.mmio, 0xFEC00000) == &guest.mmio.ranges[1]);
}

CASE(what_nobody_answers_reads_ones_and_counts) {
    reset();
    mmio_register(&guest, 0xD0000000, 0x10, silent, NULL);
    EQUAL(read_at(0xC0000000, 4), ~UINT64_C(0));
    EQUAL(read_at(0xD0000000, 4), ~UINT64_C(0));
    uint64_t value = 7;
    mmio_access(&vcpu, 0xC0000000, 8, true, &value);
    EQUAL(value, 7);
    EQUAL(guest.unclaimed_memory, 3);
}

CASE(an_access_over_an_edge_is_split) {
    reset();
    mmio_register(&guest, 0xD0000000, 0x10, answer, NULL);
    EQUAL(read_at(0xD000000E, 4), 0xFFFFAFAE);
    EQUAL(last.calls, 2);
    EQUAL(guest.unclaimed_memory, 2);
    EQUAL(read_at(0xCFFFFFFE, 4), 0xA1A0FFFF);
}

CASE(ranges_do_not_overlap) {
    reset();
    EQUAL(mmio_register(&guest, 0xD0000000, 0x1000, answer, NULL), 0);
    EQUAL(mmio_register(&guest, 0xD0000FFF, 1, answer, NULL), -EEXIST);
    EQUAL(mmio_register(&guest, 0xCFFFFFFF, 2, answer, NULL), -EEXIST);
    EQUAL(mmio_register(&guest, 0xFFFFF, 1, answer, NULL), -EEXIST);
    EQUAL(mmio_register(&guest, 0xD0001000, 0, answer, NULL), -EINVAL);
    EQUAL(mmio_register(&guest, ~UINT64_C(0), 2, answer, NULL), -EINVAL);
    EQUAL(mmio_register(&guest, 0xD0001000, 1, answer, NULL), 0);
}

CASE(slots_are_used_again) {
    reset();
    int result = 0;
    uint64_t gpa = 0xD0000000;
    for (; result == 0; gpa += 0x1000) {
        result = mmio_register(&guest, gpa, 0x1000, answer, NULL);
    }
    EQUAL(result, -ENOSPC);
    EQUAL(mmio_register(&guest, 0xFEE00000, 0x1000, answer, NULL), 0);
    EQUAL(mmio_unregister(&guest, 0xD0003000), 0);
    EQUAL(mmio_unregister(&guest, 0xD0003000), -ENOENT);
    EQUAL(read_at(0xD0003000, 4), ~UINT64_C(0));
    EQUAL(read_at(0xD0004000, 1), 0xA0);
    EQUAL(mmio_register(&guest, 0xE0000000, 0x1000, answer, NULL), 0);
}

CASE(test_device_echoes_wholes_and_parts) {
    static struct testdev d;
    struct testdev_line moved;
    uint32_t value = 0x11223344;
    testdev_reset(&d);
    CHECK(testdev_io(&d, 0xE0, 4, true, &value, &moved) && moved.line < 0);
    CHECK(testdev_io(&d, 0xE1, 1, false, &value, &moved));
    EQUAL(value, 0x33);
    value = 0xAABB;
    CHECK(testdev_io(&d, 0xE2, 2, true, &value, &moved) && testdev_io(&d, 0xE0, 4, false, &value, &moved));
    EQUAL(value, 0xAABB3344);
    CHECK(!testdev_io(&d, 0xE2, 4, false, &value, &moved));
    CHECK(testdev_io(&d, 0xE4, 4, true, &value, &moved) && !testdev_io(&d, 0xE4, 4, false, &value, &moved));
}

CASE(test_device_moves_lines) {
    static struct testdev d;
    struct testdev_line moved;
    uint32_t value = 1;
    CHECK(testdev_io(&d, 0x2000, 1, true, &value, &moved) && moved.line == 0 && moved.level);
    value = 0;
    CHECK(testdev_io(&d, 0x2017, 4, true, &value, &moved) && moved.line == 23 && !moved.level);
    CHECK(!testdev_io(&d, 0x2018, 1, true, &value, &moved) && !testdev_io(&d, 0x1FFF, 1, true, &value, &moved));
}

CASE(test_device_memory_keeps_what_is_written) {
    static struct testdev d;
    uint64_t value = UINT64_C(0x1122334455667788);
    testdev_memory(&d, 0xFFF8, 8, true, &value);
    testdev_memory(&d, 0xFFFB, 2, false, &value);
    EQUAL(value, 0x4455);
    testdev_memory(&d, 0xFFFD, 4, false, &value); // over its end
    EQUAL(value, ~UINT64_C(0));
}
