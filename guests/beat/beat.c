// Prints a counter for ever, one line a step, every 200 ms by the TSC.
//
//   every=MS   another pace
//   count=N    ends with status 0 after N steps
//   spin=1     polls the TSC with interrupts off instead of waiting by HLT and PIT
#include "guest.h"
#include "traps.h"

enum { TICK_HZ = 100 };

int guest_main(void) {
    uint64_t every = option_number("every", 200);
    uint64_t count = option_number("count", 0);
    bool spin = option_number("spin", 0) != 0;
    uint64_t period = tsc_hz() / 1000 * every;
    if (!spin) {
        irq_init();
        pit_periodic(TICK_HZ);
        irq_unmask(0);
    }
    uint64_t next = rdtsc();
    for (uint64_t n = 1; count == 0 || n <= count; n++) {
        print("beat %llu\n", (unsigned long long)n);
        next += period;
        while ((int64_t)(rdtsc() - next) < 0) {
            if (spin) {
                cpu_pause();
            } else {
                wait_for_interrupt();
            }
        }
    }
    return 0;
}
