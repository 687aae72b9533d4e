// Triple faults on purpose: an exception with an empty interrupt table.
#include "guest.h"

int guest_main(void) {
    print("about to triple fault\n");
    console_drain();
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) nothing = {0, 0};
    __asm__ volatile ("lidt %0; ud2" : : "m" (nothing));
    return 1;
}
