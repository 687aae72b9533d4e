// Which back end this machine has, and switching it on.
#include "virt/vcpu.h"

#include "cpu/err.h"
#include "cpu/insn.h"
#include "cpu/percpu.h"
#include "cpu/string.h"
#include "virt/vcpu_state.h"
#include "virt/virt_probe.h"

const struct vcpu_ops *virt;
struct virt_caps virt_caps;
char virt_missing[512];

static const struct vcpu_ops *const back_ends[] = {&svm_ops, &vmx_ops};

int virt_init(void) {
    fpu_probe();
    for (size_t i = 0; i < sizeof(back_ends) / sizeof(back_ends[0]); i++) {
        if (!back_ends[i]->present()) {
            continue;
        }
        int error = back_ends[i]->probe(&virt_caps, virt_missing, sizeof(virt_missing));
        if (error) {
            return error;
        }
        virt = back_ends[i];
        error = virt_enable_cpu();
        if (error) {
            virt = NULL;
            (void)str_copy(virt_missing, sizeof(virt_missing), "a CPU that lets virtualisation be switched on");
            return error;
        }
        virt_probe();
        return 0;
    }
    (void)str_copy(virt_missing, sizeof(virt_missing), "AMD-V (SVM) or VT-x (VMX)");
    return -ENODEV;
}

int virt_enable_cpu(void) {
    struct cpu *cpu = this_cpu();
    if (cpu->virt_on) {
        return 0;
    }
    if (!virt) {
        return -ENODEV;
    }
    int error = fpu_cpu_enable(cpu);
    if (!error) {
        error = virt->cpu_enable(cpu);
    }
    cpu->virt_on = error == 0;
    return error;
}
