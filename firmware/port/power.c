// The end of the machine: power-off and reset.
#include "power.h"

#include "channel.h"
#include "cpu/acpi.h"
#include "cpu/insn.h"
#include "cpu/log.h"
#include "cpu/smp.h"
#include "emulator.h"
#include "terminal.h"

enum {
    PM1_SLP_EN = 1 << 13, // ACPI 6.4, 4.8.3.2
    PM1_SLP_TYP_SHIFT = 10,
    QEMU_PIIX4_PM1_CONTROL = 0x604, // where its firmware puts it when no FADT was found
    BOCHS_SHUTDOWN = 0x8900, // iodev/unmapped.cc: the string "Shutdown"
    RESET_CONTROL = 0xCF9, // hard reset: bits 1, then 1 and 2
    KBC_COMMAND = 0x64,
    KBC_PULSE_RESET = 0xFE,
};

static void quiesce(void) {
    channel_flush();
    terminal_flush();
    log_flush();
    irq_disable();
}

void power_off(void) {
    quiesce();
    if (emulator() == EMULATOR_BOCHS) {
        for (const char *c = "Shutdown"; *c != 0; c++) {
            outb(BOCHS_SHUTDOWN, (uint8_t)*c);
        }
    }
    if (acpi.pm1a_control != 0 && acpi.s5_known) {
        outw(acpi.pm1a_control, (uint16_t)(PM1_SLP_EN | acpi.s5_type << PM1_SLP_TYP_SHIFT));
        delay_us(100000);
    }
    if (emulator() == EMULATOR_QEMU || emulator() == EMULATOR_KVM) {
        outw(QEMU_PIIX4_PM1_CONTROL, PM1_SLP_EN);
        delay_us(100000);
    }
    panic("this machine has no known way to power off: it may be switched off now");
}

void power_reboot(void) {
    quiesce();
    outb(RESET_CONTROL, 0x02);
    outb(RESET_CONTROL, 0x06);
    delay_us(50000);
    outb(KBC_COMMAND, KBC_PULSE_RESET);
    delay_us(50000);
    // No reset line answered: a triple fault resets every PC.
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } none = { 0, 0 };
    __asm__ volatile ("lidt %0; ud2" : : "m" (none));
    __builtin_unreachable();
}
