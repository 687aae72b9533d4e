// Time by the TSC, whose rate is measured once against the PIT.
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
};

uint64_t tsc_hz(void) {
    static uint64_t measured;
    if (measured) {
        return measured;
    }
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
    measured = ticks * (1000 / WINDOW_MS);
    return measured;
}

void delay_ms(unsigned ms) {
    uint64_t stop = rdtsc() + (uint64_t)((uint32_t)(tsc_hz() >> 10)) * 1024 / 1000 * ms;
    while (rdtsc() < stop) {
        cpu_pause();
    }
}
