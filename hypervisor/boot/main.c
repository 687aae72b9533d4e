// The boot order, one line a step.
#include "boot/boot.h"

#include "boot/bootinfo.h"
#include "boot/disk.h"
#include "cpu/acpi.h"
#include "cpu/display.h"
#include "cpu/insn.h"
#include "cpu/log.h"
#include "cpu/memory.h"
#include "cpu/percpu.h"
#include "cpu/smp.h"
#include "cpu/trap.h"
#include "virt/run.h"
#include "virt/vcpu.h"

void boot_main(uint32_t magic, uint32_t info) {
    log_init();
    trap_init_early();
    pic_mask_all();
    bool described = bootinfo_init(magic, info);
    display_init();
    if (!described) {
        panic("no memory map from the boot loader (magic %x): boot by multiboot 1, multiboot 2 "
            "or the raw disk image", magic);
    }
    memory_init();
    if (bootinfo.loader == BOOT_DISK && disk_load(info, &bootinfo, memory_place) != 0) {
        panic("the boot modules could not be read from the disk");
    }
    paging_init();
    display_init(); // a framebuffer above 4 GiB
    cpu_features_init();
    if (trap_init_cpu(&cpus[CPU_CONTROL]) != 0) {
        panic("no memory for the control CPU's tables");
    }
    acpi_init();
    apic_init_cpu();
    irq_init();
    time_init();
    run_init();
    if (virt_init() == 0 && virt_enable_cpu() == 0) {
        cpus[CPU_CONTROL].virt_on = true;
    }
    smp_start();
    irq_enable();
    if (firmware_main == NULL) {
        panic("this image has no firmware");
    }
    firmware_main();
    panic("the firmware returned");
}
