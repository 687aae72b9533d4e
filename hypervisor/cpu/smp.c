// Bringing the other CPUs up (SDM 3A 8.4.4: INIT, then two start-up IPIs).
#include "cpu/smp.h"

#include <stddef.h>

#include "cpu/acpi.h"
#include "cpu/insn.h"
#include "cpu/log.h"
#include "cpu/memory.h"
#include "cpu/percpu.h"
#include "cpu/string.h"
#include "cpu/trap.h"

enum {
    ICR_INIT = 0x4500, ICR_STARTUP = 0x4600,
    AP_STACK_PAGES = 6,
    START_TIMEOUT_MS = 500,
};

extern const char ap_trampoline[], ap_trampoline_end[], ap_trampoline_data[];
extern uint64_t ap_stack, ap_cpu;
int virt_enable_cpu(void) __attribute__((weak));
void cpu_main(void) __attribute__((weak));
_Noreturn void smp_ap_main(struct cpu *cpu);

struct cpu cpus[CPU_MAX];
uint32_t cpu_count = 1;

void smp_ap_main(struct cpu *cpu) {
    trap_init_cpu(cpu);
    cpu_features_init();
    apic_init_cpu();
    cpu->apic_id = apic_id();
    if (virt_enable_cpu != NULL && virt_enable_cpu() == 0) {
        cpu->virt_on = true;
    }
    __atomic_store_n(&cpu->state, CPU_IDLE, __ATOMIC_RELEASE);
    irq_enable();
    if (cpu_main != NULL) {
        cpu_main();
    }
    for (;;) {
        __asm__ volatile ("hlt");
    }
}

static bool start(struct cpu *cpu, uint64_t page) {
    void *stack = stack_alloc(AP_STACK_PAGES);
    if (stack == NULL) {
        return false;
    }
    ap_stack = (uintptr_t)stack;
    ap_cpu = (uintptr_t)cpu;
    cpu->state = CPU_STARTING;
    apic_send_raw(cpu->apic_id, ICR_INIT);
    delay_us(10000);
    uint32_t startup = ICR_STARTUP | (uint32_t)(page >> 12);
    apic_send_raw(cpu->apic_id, startup);
    delay_us(200);
    if (cpu->state == CPU_STARTING) {
        apic_send_raw(cpu->apic_id, startup);
    }
    for (int ms = 0; ms < START_TIMEOUT_MS; ms++) {
        if (__atomic_load_n(&cpu->state, __ATOMIC_ACQUIRE) == CPU_IDLE) {
            return true;
        }
        delay_us(1000);
    }
    return false;
}

void smp_start(void) {
    cpus[0].apic_id = apic_id();
    cpus[0].state = CPU_IDLE;
    uint64_t page = memory_low_page();
    if (!acpi.found || acpi.cpu_count < 2) {
        return;
    }
    if (page == 0) {
        // A CPU starts in real mode, in the first megabyte (SDM 3A 8.4.3).
        log_printf("vipervisor: no page of memory below 1 MiB is free, so %u CPUs cannot be started and are not used\n",
            acpi.cpu_count - 1);
        return;
    }
    char *copy = guest_alias(page);
    memcpy(copy, ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
    uint64_t root = paging_root();
    memcpy(copy + (ap_trampoline_data - ap_trampoline), &root, sizeof(root));
    for (uint32_t i = 0; i < acpi.cpu_count && cpu_count < CPU_MAX; i++) {
        if (acpi.apic_ids[i] == cpus[0].apic_id) {
            continue;
        }
        struct cpu *cpu = &cpus[cpu_count];
        cpu->self = cpu;
        cpu->index = cpu_count;
        cpu->apic_id = acpi.apic_ids[i];
        if (!start(cpu, page)) {
            cpu->state = CPU_FAILED;
            log_printf("vipervisor: CPU with APIC id %u did not start\n", cpu->apic_id);
        }
        cpu_count++;
    }
    if (acpi.cpus_dropped > 0) {
        log_printf("vipervisor: %u CPUs beyond the first %u are not used\n", acpi.cpus_dropped, CPU_MAX);
    }
}
