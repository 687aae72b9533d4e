// Spins with interrupts off for ever: only its hypervisor can stop it.
#include "guest.h"

int guest_main(void) {
    print("spinning with interrupts off\n");
    console_drain();
    interrupts_off();
    for (;;) {
        __asm__ volatile ("");
    }
}
