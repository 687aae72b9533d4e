// HLT sleeps until the PIT's interrupt comes through the 8259, in every form, and
// loses none that came just before.
#include "check.h"
#include "guest.h"
#include "traps.h"

enum { TICK_HZ = 100 };

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

static void check_pending(void) {
    interrupts_off();
    uint64_t before = irq_count[0];
    delay_ms(30); // at least two ticks: one waits in the 8259
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
    interrupts_off();
    delay_ms(30);
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
