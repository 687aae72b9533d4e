// The functions of module _hv, file by file.
#ifndef VIPERVISOR_PORT_MODHV_TABLE_H
#define VIPERVISOR_PORT_MODHV_TABLE_H

#include "py/obj.h"

struct boot_module;
struct guest;
struct vcpu;
const struct boot_module *hv_boot_module(mp_obj_t name); // ValueError naming the modules

// modhv_vcpu.c: the vCPU onto this CPU, so that all its state can be read and changed.
// Nothing may raise between the two.
void vcpu_take(struct vcpu *v);
void vcpu_give(struct vcpu *v);

// modhv_look.c
extern const mp_obj_fun_builtin_fixed_t hv_guest_line_obj, hv_nested_walk_obj, hv_field_get_obj, hv_decode_obj,
    hv_explain_obj;
extern const mp_obj_fun_builtin_var_t hv_guest_share_obj, hv_guest_walk_obj;
#define HV_LOOK_TABLE \
    HV_ENTRY(guest_line), HV_ENTRY(nested_walk), HV_ENTRY(field_get), HV_ENTRY(decode), HV_ENTRY(explain), \
    HV_ENTRY(guest_share), HV_ENTRY(guest_walk),

// modhv_exit.c
void exit_answered(struct vcpu *v); // the vCPU that waits goes on
extern const mp_obj_type_t hv_exit_type;
#define HV_EXIT_TABLE { MP_ROM_QSTR(MP_QSTR_Exit), MP_ROM_PTR(&hv_exit_type) },

// modhv_claim.c
extern const mp_obj_fun_builtin_var_t hv_claim_obj;
extern const mp_obj_fun_builtin_fixed_t hv_unclaim_obj, hv_claim_hits_obj;
#define HV_CLAIM_TABLE HV_ENTRY(claim), HV_ENTRY(unclaim), HV_ENTRY(claim_hits),

// modhv_handler.c
mp_obj_t exit_serve(const struct vcpu *v); // calls the handler; None, or an event for Python
void exit_reset(void);
extern const mp_obj_fun_builtin_fixed_t hv_handler_names_obj;
#define HV_HANDLER_TABLE HV_ENTRY(handler_names),

// modhv_note.c
extern const mp_obj_fun_builtin_fixed_t hv_watch_read_obj, hv_trace_obj, hv_trace_info_obj, hv_trace_read_obj;
#define HV_NOTE_TABLE \
    HV_ENTRY(watch_read), HV_ENTRY(trace), HV_ENTRY(trace_info), HV_ENTRY(trace_read),

// modhv_event.c, for the calls that end messages and fill guest slots.
void event_answered(const struct vcpu *v);
void event_guest_made(uint32_t id);

// modhv_machine.c
extern const mp_obj_fun_builtin_fixed_t hv_backend_obj, hv_missing_obj, hv_caps_obj, hv_cpus_obj,
    hv_memory_obj, hv_emulator_obj, hv_tsc_hz_obj, hv_tsc_obj, hv_clock_set_obj, hv_modules_obj, hv_module_obj,
    hv_cmdline_obj, hv_ramdisk_obj, hv_cpuid_obj, hv_rdmsr_obj, hv_inb_obj, hv_inw_obj, hv_inl_obj,
    hv_outb_obj, hv_outw_obj, hv_outl_obj, hv_peek_obj, hv_poweroff_obj, hv_reboot_obj;
#define HV_MACHINE_TABLE \
    HV_ENTRY(backend), HV_ENTRY(missing), HV_ENTRY(caps), HV_ENTRY(cpus), HV_ENTRY(memory), \
    HV_ENTRY(emulator), HV_ENTRY(tsc_hz), HV_ENTRY(tsc), HV_ENTRY(clock_set), HV_ENTRY(modules), HV_ENTRY(module), \
    HV_ENTRY(cmdline), HV_ENTRY(ramdisk), HV_ENTRY(cpuid), HV_ENTRY(rdmsr), HV_ENTRY(inb), \
    HV_ENTRY(inw), HV_ENTRY(inl), HV_ENTRY(outb), HV_ENTRY(outw), HV_ENTRY(outl), HV_ENTRY(peek), \
    HV_ENTRY(poweroff), HV_ENTRY(reboot),

// modhv_guest.c
extern const mp_obj_fun_builtin_fixed_t hv_guest_create_obj, hv_guest_destroy_obj, hv_guest_add_ram_obj,
    hv_guest_add_vcpu_obj, hv_guest_set_cpuid_obj, hv_guest_set_msrs_obj, hv_guest_platform_obj,
    hv_guest_device_obj, hv_guest_firmware_obj,
    hv_guest_start_obj, hv_guest_pause_obj, hv_guest_resume_obj, hv_guest_stop_obj, hv_guest_reset_obj,
    hv_guest_info_obj, hv_guest_ids_obj, hv_guest_exits_obj, hv_guest_crash_obj;
#define HV_GUEST_TABLE \
    HV_ENTRY(guest_create), HV_ENTRY(guest_destroy), HV_ENTRY(guest_add_ram), HV_ENTRY(guest_add_vcpu), \
    HV_ENTRY(guest_set_cpuid), HV_ENTRY(guest_set_msrs), HV_ENTRY(guest_platform), HV_ENTRY(guest_device), \
    HV_ENTRY(guest_firmware), \
    HV_ENTRY(guest_start), HV_ENTRY(guest_pause), HV_ENTRY(guest_resume), HV_ENTRY(guest_stop), \
    HV_ENTRY(guest_reset), HV_ENTRY(guest_info), HV_ENTRY(guest_ids), HV_ENTRY(guest_exits), \
    HV_ENTRY(guest_crash),

// modhv_memory.c
bool hv_within_memory(const struct guest *g, uint64_t low, uint64_t high);
extern const mp_obj_fun_builtin_fixed_t hv_guest_read_obj, hv_guest_write_obj, hv_console_read_obj,
    hv_console_write_obj;
extern const mp_obj_fun_builtin_var_t hv_guest_load_module_obj;
#define HV_MEMORY_TABLE \
    HV_ENTRY(guest_read), HV_ENTRY(guest_write), HV_ENTRY(guest_load_module), HV_ENTRY(console_read), \
    HV_ENTRY(console_write),

// modhv_uart.c
extern const mp_obj_fun_builtin_fixed_t hv_console_put_obj, hv_console_take_obj, hv_console_claim_obj;
extern const mp_obj_fun_builtin_var_t hv_guest_uart_obj;
#define HV_UART_TABLE \
    HV_ENTRY(console_put), HV_ENTRY(console_take), HV_ENTRY(console_claim), HV_ENTRY(guest_uart),

// modhv_vcpu.c
extern const mp_obj_fun_builtin_fixed_t hv_reg_get_obj, hv_seg_get_obj;
extern const mp_obj_fun_builtin_var_t hv_reg_set_obj, hv_seg_set_obj, hv_answer_obj;
#define HV_VCPU_TABLE \
    HV_ENTRY(reg_get), HV_ENTRY(reg_set), HV_ENTRY(seg_get), HV_ENTRY(seg_set), HV_ENTRY(answer),

// modhv_event.c
extern const mp_obj_fun_builtin_fixed_t hv_event_obj, hv_channel_send_obj,
    hv_capture_obj, hv_raw_repl_obj, hv_notice_obj, hv_first_start_obj, hv_alarm_obj;
extern const mp_obj_fun_builtin_var_t hv_notify_obj, hv_uninterrupted_obj, hv_interruptible_obj;
#define HV_EVENT_TABLE \
    HV_ENTRY(event), HV_ENTRY(notify), HV_ENTRY(channel_send), HV_ENTRY(capture), \
    HV_ENTRY(raw_repl), HV_ENTRY(notice), HV_ENTRY(first_start), HV_ENTRY(alarm), \
    HV_ENTRY(uninterrupted), HV_ENTRY(interruptible),

#endif
