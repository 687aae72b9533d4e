#include "nmi.h"

#include "apic.h"
#include "check.h"
#include "guest.h"
#include "smp.h"

enum { ROUNDS = 300, VBEHIND = 0xD1 };

extern const uint8_t behind_sti[];

static volatile uint32_t nmis_here, nmis_there, in_shadow, behind, pair, asked, wrong;
static volatile bool stop;
static uint32_t boot_id, worst;

void nmi_came(const struct trap_frame *frame) {
    in_shadow += frame->rip == (uint64_t)(uintptr_t)behind_sti;
    if (apic_id() == boot_id) {
        nmis_here++;
    } else {
        nmis_there++;
    }
}

static bool on_behind(struct trap_frame *frame) {
    (void)frame;
    behind++;
    apic_write(APIC_EOI, 0);
    return true;
}

// An NMI must not come between STI and the instruction behind it.
void nmi_shadow(void) {
    static volatile uint8_t touched;
    while (!stop) {
        __asm__ volatile (
            "sti\n"
            "behind_sti: testb $0, %0\n"
            "nop\n"
            "cli"
            : : "m" (touched) : "cc");
    }
}

void nmi_begin(void) {
    boot_id = apic_id();
    trap_hook(VBEHIND, on_behind);
    stop = false;
}

bool nmi_shadow_from(uint32_t id) {
    bool good = true;
    for (uint32_t i = 0; i < ROUNDS && good; i++) {
        uint32_t before = nmis_there;
        apic_command(id, ICR_NMI);
        good = wait_for(&nmis_there, before + 1);
    }
    stop = true;
    return good;
}

// Sends the boot CPU an NMI whenever it is asked to, and an interrupt behind it.
void nmi_pairs(void) {
    while (!stop) {
        if (asked != pair) {
            pair = asked;
            apic_command(boot_id, ICR_NMI);
            apic_command(boot_id, VBEHIND);
        }
        cpu_pause();
    }
}

// The other CPU's NMI and one's own at about the same time are two.
bool nmi_pairs_with(void) {
    bool good = true;
    interrupts_on();
    for (uint32_t i = 0; i < ROUNDS && good; i++) {
        uint32_t before = nmis_here, next = behind + 1;
        asked++;
        good = wait_for(&pair, asked);
        apic_command(boot_id, ICR_NMI);
        good = good && wait_for(&behind, next);
        uint32_t came = nmis_here - before;
        wrong += came != 2;
        worst = came != 2 ? came : worst;
    }
    interrupts_off();
    stop = true;
    return good;
}

void nmi_report(void) {
    if (!under_vipervisor() && cpu_is_tcg()) {
        skip("no NMI between STI and the next instruction", "QEMU's CPU takes them there");
        skip("two NMIs at once", "QEMU's CPU latches one");
    } else {
        expect("no NMI between STI and the next instruction", in_shadow == 0, "%u", in_shadow);
        expect("two NMIs at once", wrong == 0, "%u times not, but %u", wrong, worst);
    }
}
