// HLT sleeps until the PIT's interrupt comes through the 8259, in every form, and
// loses none that came just before.
#include "check.h"
#include "guest.h"
#include "traps.h"

enum { TICK_HZ = 100, PIC1_COMMAND = 0x20, OCW3_READ_IRR = 0x0A };

static void check_forms(void) {
    uint32_t steps = 0;
    uint64_t before = irq_count[0];
    __asm__ volatile ("sti; hlt; cli; inc %0" : "+r" (steps) : : "memory");
    expect("HLT", steps == 1 && irq_count[0] > before, "%u steps, %llu ticks", steps,
        (unsigned long long)(irq_count[0] - before));
    before = irq_count[0];
    __asm__ volatile ("sti; .byte 0xF3, 0xF4; cli; inc %0" : "+r" (steps) : : "memory");
    expect("F3 HLT", steps == 2 && irq_count[0] > before, "%u steps", steps);
    before = irq_count[0];
    __asm__ volatile ("sti; .byte 0x66, 0x48, 0xF4; cli; inc %0" : "+r" (steps) : : "memory");
    expect("66 REX.W HLT", steps == 3 && irq_count[0] > before, "%u steps", steps);
}

static void check_rate(void) {
    wait_for_interrupt(); // from one tick
    uint64_t start = rdtsc(), first = irq_count[0];
    while (irq_count[0] - first < 20) {
        wait_for_interrupt();
    }
    uint64_t ms = (rdtsc() - start) * 1000 / tsc_hz();
    // An emulator's clock may be late, but 20 ticks never take less than they should.
    expect("20 ticks of 10 ms", ms >= 150 && ms < 2000, "%llu ms", (unsigned long long)ms);
}

// Waits with interrupts off until the 8259 holds a tick; it may come late where the
// machine below has little time.
static void wait_until_pending(void) {
    interrupts_off();
    outb(PIC1_COMMAND, OCW3_READ_IRR);
    uint64_t stop = rdtsc() + 2 * tsc_hz();
    while (!(inb(PIC1_COMMAND) & 1)) {
        if (rdtsc() > stop) {
            expect("a tick reaches the 8259", false, "none within 2 s");
            return;
        }
    }
}

static void check_pending(void) {
    uint64_t before = irq_count[0];
    wait_until_pending();
    delay_ms(15); // a second tick would be due
    expect("no tick with interrupts off", irq_count[0] == before, "%llu",
        (unsigned long long)(irq_count[0] - before));
    uint64_t start = rdtsc();
    wait_for_interrupt();
    uint64_t ms = (rdtsc() - start) * 1000 / tsc_hz();
    expect("a waiting tick ends HLT", irq_count[0] > before, "no tick after %llu ms",
        (unsigned long long)ms);
}

// STI keeps interrupts off for one more instruction: a tick that waits must come
// after CPUID at the earliest, and only once CLI has not stopped it.
static void check_shadow(void) {
    wait_until_pending();
    uint64_t before = irq_count[0];
    __asm__ volatile ("sti; cli" : : : "memory");
    expect("STI; CLI lets none through", irq_count[0] == before, "%llu ticks",
        (unsigned long long)(irq_count[0] - before));
    __asm__ volatile ("sti; nop; nop; cli" : : : "memory");
    expect("STI; NOP lets it through", irq_count[0] > before, "no tick");
}

static void user_hlt(void) {
    cpu_hlt();
}

int guest_main(void) {
    tsc_hz();
    irq_init();
    pit_periodic(TICK_HZ);
    irq_unmask(0);
    check_forms();
    check_rate();
    check_pending();
    check_shadow();
    irq_mask(0);
    trap_clear();
    user_run(user_hlt);
    expect_trap("HLT at CPL 3", TRAP_GP, false);
    return check_end();
}
