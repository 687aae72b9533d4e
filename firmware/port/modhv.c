// Module _hv: the one door between Python and the core (docs/architecture.md).
// The functions are in modhv_*.c; here are the table and what they share.
#include "modhv.h"

#include "cpu/log.h"
#include "modhv_table.h"
#include "py/objint.h"
#include "py/runtime.h"
#include "virt/guest.h"

#define HV_ABI 1

// ---- Arguments and errors ----

static _Noreturn void raise_range(const char *what, mp_obj_t value, uint64_t max) {
    vstr_t text;
    mp_print_t print;
    vstr_init_print(&text, 64, &print);
    mp_printf(&print, "%s ", what);
    mp_obj_print_helper(&print, value, PRINT_REPR);
    mp_printf(&print, " is outside 0 to 0x%lx", max);
    mp_obj_t message = mp_obj_new_str_from_vstr(&text);
    nlr_raise(mp_obj_new_exception_args(&mp_type_ValueError, 1, &message));
}

uint64_t hv_truncated(mp_obj_t value) {
    if (mp_obj_is_small_int(value)) {
        return (uint64_t)MP_OBJ_SMALL_INT_VALUE(value);
    }
    return (uint64_t)mp_obj_get_int_truncated(value);
}

uint64_t hv_u64(mp_obj_t value, const char *what) {
    return hv_range(value, UINT64_MAX, what);
}

uint64_t hv_range(mp_obj_t value, uint64_t max, const char *what) {
    if (mp_obj_is_exact_type(value, &mp_type_int)) {
        uint8_t bytes[8];
        if (mp_obj_int_sign(value) < 0 || !mp_obj_int_to_bytes_impl(value, false, sizeof(bytes), bytes)) {
            raise_range(what, value, max);
        }
    }
    uint64_t n = hv_truncated(value); // raises TypeError for what is no integer
    if (n > max || (mp_obj_is_small_int(value) && MP_OBJ_SMALL_INT_VALUE(value) < 0)) {
        raise_range(what, value, max);
    }
    return n;
}

mp_obj_t hv_dict(mp_obj_t dict) {
    if (!mp_obj_is_type(dict, &mp_type_dict)) {
        mp_raise_TypeError(MP_ERROR_TEXT("a dict is needed"));
    }
    return dict;
}

int hv_check(int result) {
    if (result < 0) {
        mp_raise_OSError(-result);
    }
    return result;
}

mp_obj_t hv_str(const char *s) {
    return mp_obj_new_str(s, strlen(s));
}

struct guest *hv_guest(mp_obj_t id) {
    mp_int_t n = mp_obj_get_int(id);
    struct guest *g = n >= 0 && n < GUEST_MAX ? guest_by_id((uint32_t)n) : NULL;
    if (g != NULL) {
        return g;
    }
    vstr_t text;
    mp_print_t print;
    vstr_init_print(&text, 64, &print);
    mp_printf(&print, "no guest %d; there is", (int)n);
    const char *separator = " ";
    for (uint32_t i = 0; i < GUEST_MAX; i++) {
        if (guest_by_id(i) != NULL) {
            mp_printf(&print, "%s%u (%s)", separator, i, guests[i].name);
            separator = ", ";
        }
    }
    if (separator[0] == ' ') {
        mp_print_str(&print, " none");
    }
    mp_obj_t message = mp_obj_new_str_from_vstr(&text);
    nlr_raise(mp_obj_new_exception_args(&mp_type_ValueError, 1, &message));
}

struct vcpu *hv_vcpu(struct guest *g, mp_obj_t index) {
    mp_int_t n = mp_obj_get_int(index);
    if (n < 0 || (uint32_t)n >= g->vcpu_count) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("no vCPU %d; guest %s has %u"), (int)n, g->name,
            (unsigned)g->vcpu_count);
    }
    return g->vcpus[n];
}

qstr hv_exit_name(uint32_t kind) {
    static const qstr_short_t names[EXIT_KINDS] = {
        [EXIT_NONE] = MP_QSTR_none,
        [EXIT_CPUID] = MP_QSTR_cpuid,
        [EXIT_RDMSR] = MP_QSTR_rdmsr,
        [EXIT_WRMSR] = MP_QSTR_wrmsr,
        [EXIT_IO] = MP_QSTR_io,
        [EXIT_NESTED_FAULT] = MP_QSTR_nested_fault,
        [EXIT_HYPERCALL] = MP_QSTR_hypercall,
        [EXIT_HLT] = MP_QSTR_hlt,
        [EXIT_WINDOW] = MP_QSTR_window,
        [EXIT_NMI_WINDOW] = MP_QSTR_nmi_window,
        [EXIT_INTERRUPT] = MP_QSTR_interrupt,
        [EXIT_NMI] = MP_QSTR_nmi,
        [EXIT_SHUTDOWN] = MP_QSTR_shutdown,
        [EXIT_CR] = MP_QSTR_cr,
        [EXIT_DR] = MP_QSTR_dr,
        [EXIT_XSETBV] = MP_QSTR_xsetbv,
        [EXIT_EXCEPTION] = MP_QSTR_exception,
        [EXIT_PAUSE] = MP_QSTR_pause,
        [EXIT_WBINVD] = MP_QSTR_wbinvd,
        [EXIT_VIRT_INSN] = MP_QSTR_virt_insn,
        [EXIT_OTHER_INSN] = MP_QSTR_other_insn,
        [EXIT_TASK_SWITCH] = MP_QSTR_task_switch,
        [EXIT_NESTED_MISCONFIG] = MP_QSTR_nested_misconfig,
        [EXIT_ENTRY_FAILED] = MP_QSTR_entry_failed,
        [EXIT_UNKNOWN] = MP_QSTR_unknown,
    };
    return kind < EXIT_KINDS ? names[kind] : MP_QSTR_unknown;
}

// ---- The table ----

#define REG(name) { MP_ROM_QSTR(MP_QSTR_REG_##name), MP_ROM_INT(HV_REG_FIRST + REG_##name) }
#define GPR(name) { MP_ROM_QSTR(MP_QSTR_##name), MP_ROM_INT(GPR_##name) }
#define SEG(name) { MP_ROM_QSTR(MP_QSTR_SEG_##name), MP_ROM_INT(SEG_##name) }
#define HV_REGISTER_TABLE \
    GPR(RAX), GPR(RCX), GPR(RDX), GPR(RBX), GPR(RSP), GPR(RBP), GPR(RSI), GPR(RDI), \
    GPR(R8), GPR(R9), GPR(R10), GPR(R11), GPR(R12), GPR(R13), GPR(R14), GPR(R15), \
    { MP_ROM_QSTR(MP_QSTR_RIP), MP_ROM_INT(HV_RIP) }, \
    REG(RFLAGS), REG(CR0), REG(CR2), REG(CR3), REG(CR4), REG(EFER), REG(DR6), REG(DR7), \
    REG(GDT_BASE), REG(GDT_LIMIT), REG(IDT_BASE), REG(IDT_LIMIT), REG(STAR), REG(LSTAR), REG(CSTAR), \
    REG(FMASK), REG(KERNEL_GS_BASE), REG(SYSENTER_CS), REG(SYSENTER_ESP), REG(SYSENTER_EIP), REG(PAT), \
    REG(SHADOW), REG(ACTIVITY), \
    SEG(ES), SEG(CS), SEG(SS), SEG(DS), SEG(FS), SEG(GS), SEG(LDTR), SEG(TR),

static const mp_rom_map_elem_t hv_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__hv) },
    { MP_ROM_QSTR(MP_QSTR_ABI), MP_ROM_INT(HV_ABI) },
    HV_MACHINE_TABLE
    HV_GUEST_TABLE
    HV_MEMORY_TABLE
    HV_UART_TABLE
    HV_VCPU_TABLE
    HV_EVENT_TABLE
    HV_EXIT_TABLE
    HV_CLAIM_TABLE
    HV_HANDLER_TABLE
    HV_NOTE_TABLE
    HV_LOOK_TABLE
    HV_REGISTER_TABLE
};
static MP_DEFINE_CONST_DICT(hv_globals, hv_globals_table);

const mp_obj_module_t hv_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&hv_globals,
};

MP_REGISTER_MODULE(MP_QSTR__hv, hv_module);
