// Time by the TSC, whose rate is told by the hypervisor or measured once against the PIT.
#include "guest.h"

// Intel 8254 and the PC's port 0x61, which gates and shows its channel 2.
enum {
    PIT_HZ = 1193182,
    PIT_CHANNEL2 = 0x42,
    PIT_COMMAND = 0x43,
    PIT_CH2_LOHI_MODE0 = 0xB0,
    PORT_61 = 0x61,
    P61_GATE2 = 0x01,
    P61_SPEAKER = 0x02,
    P61_OUT2 = 0x20,
    WINDOW_MS = 10,
    WINDOWS = 4,
    LEAF_TSC = 0x15,
};

static uint64_t window_ticks(void) {
    uint32_t count = PIT_HZ * WINDOW_MS / 1000;
    uint8_t port61 = inb(PORT_61);
    outb(PORT_61, (uint8_t)((port61 & ~P61_SPEAKER) | P61_GATE2));
    outb(PIT_COMMAND, PIT_CH2_LOHI_MODE0);
    outb(PIT_CHANNEL2, (uint8_t)count);
    outb(PIT_CHANNEL2, (uint8_t)(count >> 8));
    uint64_t start = rdtsc();
    uint32_t polls = 0;
    while (!(inb(PORT_61) & P61_OUT2)) {
        if (++polls == 100000000) {
            print("the PIT's channel 2 never reached its count of %u\n", count);
            end(STATUS_TIMED_OUT);
        }
    }
    uint64_t ticks = rdtsc() - start;
    outb(PORT_61, port61);
    return ticks;
}

uint64_t tsc_hz(void) {
    static uint64_t measured;
    if (measured) {
        return measured;
    }
    // Where the hypervisor says it: ECX is the crystal's rate, EBX / EAX the ratio.
    if (under_vipervisor() && cpuid(0, 0).eax >= LEAF_TSC) {
        struct cpuid r = cpuid(LEAF_TSC, 0);
        if (r.eax && r.ebx && r.ecx) {
            measured = (uint64_t)r.ecx * r.ebx / r.eax;
            return measured;
        }
    }
    // A CPU that was taken away makes a window too long, never too short.
    uint64_t least = window_ticks();
    for (unsigned i = 1; i < WINDOWS; i++) {
        uint64_t ticks = window_ticks();
        least = ticks < least ? ticks : least;
    }
    measured = least * (1000 / WINDOW_MS);
    return measured;
}

void delay_ms(unsigned ms) {
    uint64_t stop = rdtsc() + (uint64_t)((uint32_t)(tsc_hz() >> 10)) * 1024 / 1000 * ms;
    while (rdtsc() < stop) {
        cpu_pause();
    }
}
