// The devices of a plain PC that one guest sees, in C because they are hot.
//
// Each device is one pointer-free struct: a snapshot is a copy. Time is given to
// every call as the guest's TSC; devices know its frequency and nothing else of
// time. A device's interrupt line ends at platform_line().
#ifndef VIPERVISOR_DEV_PLATFORM_H
#define VIPERVISOR_DEV_PLATFORM_H

#include <stdbool.h>
#include <stdint.h>

#include "dev/console.h"
#include "dev/crtc.h"
#include "dev/fwcfg.h"
#include "dev/hpet.h"
#include "dev/ioapic.h"
#include "dev/kbc.h"
#include "dev/pci.h"
#include "dev/pic.h"
#include "dev/pit.h"
#include "dev/pmtimer.h"
#include "dev/rtc.h"
#include "dev/uart.h"

#define PLATFORM_VERSION 1

// What a port access asks of the guest's life; END_* of guest.h follow from it.
// STALL: a console that must lose nothing is full. Nothing was done: leave RIP where
// it is and execute the instruction again after platform_update at p->deadline.
enum platform_action {
    PLATFORM_GO_ON,
    PLATFORM_EXIT,
    PLATFORM_POWEROFF,
    PLATFORM_RESET,
    PLATFORM_STALL,
};

struct platform {
    uint32_t version;
    uint64_t tsc_hz;
    uint64_t deadline; // when platform_update is due; an access may move it
    struct pic pic;
    struct ioapic ioapic; // the id is the number of CPUs: guest_power_devices
    struct pit pit;
    struct rtc rtc;
    struct uart uart;
    struct pmtimer pmtimer;
    struct kbc kbc;
    struct pci pci;
    struct fwcfg fwcfg;
    struct crtc crtc;
    struct hpet hpet;
    uint32_t hpet_pins; // what it held when last looked at
    uint32_t exit_status;          // last write to port 0xF4
    uint8_t port92, reset_control; // 0x92, 0xCF9
    uint8_t post_code;             // port 0x80
};

// unix_seconds is the time of day at guest TSC 0.
void platform_init(struct platform *p, uint64_t tsc_hz, uint64_t unix_seconds, uint64_t memory);

// One port access of 1, 2 or 4 bytes. Reads fill *value, writes take it already
// masked to the size. False: nobody claims the port.
bool platform_io(struct platform *p, struct console *c, uint64_t tsc, uint16_t port, uint8_t size, bool write,
    uint32_t *value, enum platform_action *action);

// One access to the HPET's memory; a write may move p->deadline.
void platform_hpet(struct platform *p, uint64_t tsc, uint64_t offset, uint8_t size, bool write, uint64_t *value);

// The one place where interrupt lines end. Lines that no interrupt controller has are
// left alone.
void platform_line(struct platform *p, uint8_t irq, bool level);

// Brings timers up to `tsc` (raising lines), moves typed bytes into the UART.
// Returns the TSC at which it must be called again, UINT64_MAX when never.
uint64_t platform_update(struct platform *p, struct console *c, uint64_t tsc);

// ExtINT for vCPU 0.
static inline bool platform_irq_pending(const struct platform *p) {
    return pic_pending(&p->pic);
}
uint8_t platform_irq_ack(struct platform *p);        // the vector; INTA cycle

#endif
