// PCI configuration, the firmware configuration device, the CRT controller.
// sources: hypervisor/dev/pci.c hypervisor/dev/fwcfg.c hypervisor/dev/crtc.c
#include "check.h"
#include "dev/crtc.h"
#include "dev/fwcfg.h"
#include "dev/pci.h"

static struct pci p;
static struct fwcfg f;
static struct crtc c;

static uint32_t config(unsigned bus, unsigned device, unsigned function, unsigned at, uint8_t size) {
    pci_set_address(&p, 0x80000000u | bus << 16 | device << 11 | function << 8 | (at & 0xFC));
    return pci_read(&p, (uint16_t)(PCI_DATA + (at & 3)), size);
}

static void set_config(unsigned at, uint8_t size, uint32_t value) {
    pci_set_address(&p, 0x80000000u | (at & 0xFC));
    pci_write(&p, (uint16_t)(PCI_DATA + (at & 3)), size, value);
}

CASE(host_bridge) {
    pci_init(&p);
    EQUAL(config(0, 0, 0, 0x00, 4), 0x12378086);
    EQUAL(config(0, 0, 0, 0x02, 2), 0x1237);
    EQUAL(config(0, 0, 0, 0x08, 4), 0x06000002);
    EQUAL(config(0, 0, 0, 0x0A, 2), 0x0600);
    EQUAL(config(0, 0, 0, 0x0B, 1), 0x06);
    EQUAL(config(0, 0, 0, 0x0E, 1), 0); // type 0, one function
    EQUAL(config(0, 0, 0, 0x04, 4), 0x00000006);
    for (unsigned at = 0x40; at < 0x100; at += 4) {
        EQUAL(config(0, 0, 0, at, 4), 0);
    }
}

CASE(nothing_else_is_there) {
    pci_init(&p);
    for (unsigned bus = 0; bus < 256; bus++) {
        for (unsigned device = 0; device < 32; device++) {
            for (unsigned function = 0; function < 8; function++) {
                if (bus || device || function) {
                    EQUAL(config(bus, device, function, 0, 4), 0xFFFFFFFF);
                }
            }
        }
    }
}

CASE(address_register) {
    pci_init(&p);
    EQUAL(p.address, 0);
    EQUAL(pci_read(&p, PCI_DATA, 4), 0xFFFFFFFF); // not enabled
    pci_set_address(&p, 0xFFFFFFFF);
    EQUAL(p.address, 0x80FFFFFC);
    pci_set_address(&p, 0);
    pci_write(&p, PCI_DATA, 4, 0);
    EQUAL(config(0, 0, 0, 0, 4), 0x12378086);
}

CASE(writes_change_what_is_writable) {
    pci_init(&p);
    for (unsigned at = 0; at < 0x100; at += 4) {
        set_config(at, 4, 0xFFFFFFFF);
    }
    EQUAL(config(0, 0, 0, 0x00, 4), 0x12378086);
    EQUAL(config(0, 0, 0, 0x04, 4), 0x00000146);
    EQUAL(config(0, 0, 0, 0x08, 4), 0x06000002);
    EQUAL(config(0, 0, 0, 0x10, 4), 0); // no base address, and none to size
    EQUAL(config(0, 0, 0, 0x3C, 4), 0x000000FF);
    set_config(0x04, 2, 0);
    EQUAL(config(0, 0, 0, 0x04, 4), 0x00000006);
    set_config(0x3C, 1, 0x5A);
    EQUAL(config(0, 0, 0, 0x3C, 1), 0x5A);
}

CASE(an_access_beyond_the_data_register_reads_ones) {
    pci_init(&p);
    pci_set_address(&p, 0x80000000);
    EQUAL(pci_read(&p, PCI_DATA + 3, 2), 0xFF12);
    EQUAL(pci_read(&p, PCI_DATA + 2, 4), 0xFFFF1237);
    pci_write(&p, PCI_DATA + 3, 4, 0);
    EQUAL(pci_read(&p, PCI_DATA, 4), 0x12378086);
}

static uint64_t item(uint16_t key, unsigned bytes) {
    uint64_t value = 0;
    fwcfg_select(&f, key);
    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)fwcfg_read(&f) << 8 * i;
    }
    return value;
}

CASE(firmware_items) {
    fwcfg_init(&f, 3, UINT64_C(5) << 30);
    EQUAL(item(0x00, 4), 0x554D4551);
    EQUAL(item(0x01, 4), 1);
    EQUAL(item(0x03, 8), UINT64_C(5) << 30);
    EQUAL(item(0x05, 2), 3);
    EQUAL(item(0x0F, 2), 3);
    EQUAL(item(0x19, 4), 0);
    EQUAL(item(0x8000, 8), 0); // no such item
    item(0x03, 8);
    EQUAL(fwcfg_read(&f), 0); // past its end
    EQUAL(item(0x00, 4), 0x554D4551); // selecting starts over
}

static uint64_t big_item(uint16_t key, unsigned bytes) {
    uint64_t value = 0;
    fwcfg_select(&f, key);
    for (unsigned i = 0; i < bytes; i++) {
        value = value << 8 | fwcfg_read(&f);
    }
    return value;
}

CASE(firmware_files) {
    uint8_t files[4 + 2 * 64 + 5] = {[3] = 2, [4 + 3] = 3, [4 + 5] = 0x20, [68 + 3] = 2, [68 + 5] = 0x21,
        [4 + 8] = 'a', [68 + 8] = 'b', [132] = 1, 2, 3, 4, 5};
    fwcfg_init(&f, 1, 1 << 20);
    CHECK(fwcfg_set_files(&f, files, sizeof files));
    EQUAL(fwcfg_read(&f), 'Q'); // selected as after power-on
    EQUAL(big_item(0x19, 4), 2);
    EQUAL(big_item(0x19, 8), UINT64_C(0x200000003));
    EQUAL(big_item(0x20, 4), 0x01020300); // zeroes past its end
    EQUAL(big_item(0x21, 3), 0x040500);
    EQUAL(big_item(0x22, 4), 0);
    EQUAL(item(0x03, 4), 1 << 20);
    fwcfg_select(&f, 0x19);
    for (unsigned i = 0; i < 4 + 2 * 64; i++) {
        EQUAL(fwcfg_read(&f), files[i]);
    }
    EQUAL(fwcfg_read(&f), 0);
    CHECK(!fwcfg_set_files(&f, files, sizeof files - 1)); // which leaves none
    EQUAL(big_item(0x19, 4), 0);
    CHECK(!fwcfg_set_files(&f, files, 3));
    CHECK(!fwcfg_set_files(&f, files, FWCFG_FILES_SIZE + 1));
    files[0] = 0xFF; // more entries than there is room for
    CHECK(!fwcfg_set_files(&f, files, sizeof files));
    EQUAL(fwcfg_read(&f), 'Q');
    for (unsigned i = 0; i < 2 * FWCFG_FILES_SIZE; i++) {
        (void)fwcfg_read(&f); // nothing but what it has
    }
}

CASE(cursor_reads_back) {
    crtc_init(&c);
    crtc_write(&c, CRTC_INDEX, 0x0E);
    crtc_write(&c, CRTC_DATA, 0x07);
    EQUAL(crtc_read(&c, CRTC_INDEX), 0x0E);
    EQUAL(crtc_read(&c, CRTC_DATA), 0x07);
    crtc_write(&c, CRTC_INDEX, 1); // the last column
    EQUAL(crtc_read(&c, CRTC_DATA), 79);
    crtc_write(&c, CRTC_INDEX, 0xFF);
    crtc_write(&c, CRTC_DATA, 0x55);
    EQUAL(crtc_read(&c, CRTC_DATA), 0xFF);
}

CASE(the_screen_may_begin_further_on) {
    crtc_init(&c);
    EQUAL(crtc_start(&c), 0);
    crtc_write(&c, CRTC_INDEX, 0x0C);
    crtc_write(&c, CRTC_DATA, 0x12);
    crtc_write(&c, CRTC_INDEX, 0x0D);
    crtc_write(&c, CRTC_DATA, 0x34);
    EQUAL(crtc_start(&c), 0x1234);
}

CASE(retrace_comes_and_goes) {
    crtc_init(&c);
    uint8_t first = crtc_read(&c, CRTC_STATUS), second = crtc_read(&c, CRTC_STATUS);
    EQUAL(first ^ second, 0x09);
    EQUAL(crtc_read(&c, CRTC_STATUS), first);
}
