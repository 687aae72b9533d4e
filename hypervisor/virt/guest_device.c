// Devices that a guest has on request, besides those of a plain PC.
#include "dev/testdev.h"

#include "cpu/err.h"
#include "cpu/memory.h"
#include "cpu/string.h"
#include "virt/guest.h"

#define TESTDEV_PAGES ((sizeof(struct testdev) + PAGE_SIZE - 1) / PAGE_SIZE)

static bool testdev_mmio(struct vcpu *v, void *context, uint64_t offset, uint8_t size, bool write, uint64_t *value) {
    (void)v;
    testdev_memory(context, offset, size, write, value);
    return true;
}

static int add_testdev(struct guest *g) {
    struct testdev *d = page_alloc(TESTDEV_PAGES);
    if (d == NULL) {
        return -ENOMEM;
    }
    int error = mmio_register(g, TESTDEV_MEMORY_BASE, TESTDEV_MEMORY_SIZE, testdev_mmio, d);
    if (error != 0) {
        page_free(d, TESTDEV_PAGES);
        return error;
    }
    g->testdev = d;
    g->devices |= GUEST_DEVICE_TESTDEV;
    return 0;
}

int guest_device(struct guest *g, const char *name) {
    if (g->state != GUEST_NEW) {
        return -EBUSY;
    }
    if (strcmp(name, "testdev") != 0) {
        return -ENODEV;
    }
    return g->devices & GUEST_DEVICE_TESTDEV ? -EEXIST : add_testdev(g);
}

void guest_devices_reset(struct guest *g) {
    if (g->testdev != NULL) {
        testdev_reset(g->testdev);
    }
}

void guest_devices_free(struct guest *g) {
    if (g->testdev != NULL) {
        page_free(g->testdev, TESTDEV_PAGES);
    }
}

bool guest_device_io(struct guest *g, uint16_t port, uint8_t size, bool write, uint32_t *value) {
    struct testdev_line moved;
    if (g->testdev == NULL || !testdev_io(g->testdev, port, size, write, value, &moved)) {
        return false;
    }
    if (moved.line >= 0) {
        platform_line(&g->platform, (uint8_t)moved.line, moved.level);
    }
    return true;
}
