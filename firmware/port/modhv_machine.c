// _hv: the machine itself.
#include "boot/bootinfo.h"
#include "cpu/acpi.h"
#include "cpu/insn.h"
#include "cpu/memory.h"
#include "cpu/percpu.h"
#include "cpu/smp.h"
#include "cpu/trap.h"
#include "emulator.h"
#include "modhv.h"
#include "modhv_table.h"
#include "port.h"
#include "power.h"
#include "py/mperrno.h"
#include "py/runtime.h"
#include "virt/guest.h"
#include "virt/vcpu.h"

// ---- What there is ----

static mp_obj_t hv_backend(void) {
    return virt == NULL ? mp_const_none : hv_str(virt->name);
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_backend_obj, hv_backend);

static mp_obj_t hv_missing(void) {
    mp_obj_t list = mp_obj_new_list(0, NULL);
    const char *at = virt_missing;
    while (*at != 0) {
        const char *end = strchr(at, ',');
        size_t n = end == NULL ? strlen(at) : (size_t)(end - at);
        mp_obj_list_append(list, mp_obj_new_str(at, n));
        at += n;
        at += strspn(at, ", ");
    }
    size_t count;
    mp_obj_t *items;
    mp_obj_list_get(list, &count, &items);
    return mp_obj_new_tuple(count, items);
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_missing_obj, hv_missing);

static void store_bool(mp_obj_t dict, qstr key, bool value) {
    mp_obj_dict_store(dict, MP_OBJ_NEW_QSTR(key), mp_obj_new_bool(value));
}

static void store_u64(mp_obj_t dict, qstr key, uint64_t value) {
    mp_obj_dict_store(dict, MP_OBJ_NEW_QSTR(key), hv_number(value));
}

static mp_obj_t hv_caps(void) {
    const struct virt_caps *c = &virt_caps;
    mp_obj_t d = mp_obj_new_dict(16);
    store_bool(d, MP_QSTR_nrip, c->nrip);
    store_bool(d, MP_QSTR_decode_assists, c->decode_assists);
    store_bool(d, MP_QSTR_xsetbv_exits, c->xsetbv_exits);
    store_bool(d, MP_QSTR_shadow_loaded, c->shadow_loaded);
    store_bool(d, MP_QSTR_masked_interrupts_exit, c->masked_interrupts_exit);
    store_bool(d, MP_QSTR_flush_by_asid, c->flush_by_asid);
    store_bool(d, MP_QSTR_large_1g, c->large_1g);
    store_bool(d, MP_QSTR_nested_ad, c->nested_ad);
    store_bool(d, MP_QSTR_unrestricted, c->unrestricted);
    store_u64(d, MP_QSTR_phys_bits, c->phys_bits);
    store_u64(d, MP_QSTR_asids, c->asids);
    store_u64(d, MP_QSTR_cpuid_hide_7_ebx, c->cpuid_hide_7_ebx);
    store_u64(d, MP_QSTR_cpuid_hide_80000001_edx, c->cpuid_hide_80000001_edx);
    store_u64(d, MP_QSTR_cpuid_hide_d1_eax, c->cpuid_hide_d1_eax);
    return d;
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_caps_obj, hv_caps);

static mp_obj_t hv_cpus(void) {
    mp_obj_t items[CPU_MAX];
    size_t count = 0;
    for (uint32_t i = 0; i < CPU_MAX; i++) {
        const struct cpu *c = &cpus[i];
        if (c->state == CPU_ABSENT && i != CPU_CONTROL) {
            continue;
        }
        const struct vcpu *v = c->vcpu;
        qstr state = i == CPU_CONTROL ? MP_QSTR_control
            : c->state == CPU_IDLE ? MP_QSTR_idle
            : c->state == CPU_GUEST ? MP_QSTR_guest
            : MP_QSTR_failed;
        mp_obj_t fields[4] = {
            MP_OBJ_NEW_SMALL_INT(i), hv_number(c->apic_id), MP_OBJ_NEW_QSTR(state),
            v == NULL || v->guest == NULL ? MP_OBJ_NEW_SMALL_INT(-1) : MP_OBJ_NEW_SMALL_INT(v->guest->id),
        };
        items[count++] = mp_obj_new_tuple(4, fields);
    }
    return mp_obj_new_tuple(count, items);
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_cpus_obj, hv_cpus);

static mp_obj_t hv_memory(void) {
    size_t heap;
    heap_region(&heap);
    mp_obj_t d = mp_obj_new_dict(8);
    store_u64(d, MP_QSTR_total, memory_total());
    store_u64(d, MP_QSTR_free, extent_free_bytes());
    store_u64(d, MP_QSTR_largest, extent_free_largest());
    store_u64(d, MP_QSTR_monitor, memory_monitor());
    store_u64(d, MP_QSTR_heap, heap);
    store_u64(d, MP_QSTR_rsdp, acpi.rsdp);
    store_u64(d, MP_QSTR_efi, bootinfo.efi);
    store_u64(d, MP_QSTR_pool, page_free_count() * PAGE_SIZE);
    mp_obj_t ranges = mp_obj_new_list(0, NULL);
    for (uint32_t i = 0; i < bootinfo.range_count; i++) {
        const struct boot_range *r = &bootinfo.ranges[i];
        mp_obj_t fields[3] = { hv_number(r->base), hv_number(r->size), hv_number(r->type) };
        mp_obj_list_append(ranges, mp_obj_new_tuple(3, fields));
    }
    size_t count;
    mp_obj_t *items;
    mp_obj_list_get(ranges, &count, &items);
    mp_obj_dict_store(d, MP_OBJ_NEW_QSTR(MP_QSTR_ranges), mp_obj_new_tuple(count, items));
    return d;
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_memory_obj, hv_memory);

static mp_obj_t hv_emulator(void) {
    return hv_str(emulator_name());
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_emulator_obj, hv_emulator);

static mp_obj_t hv_tsc_hz(void) {
    return hv_number(tsc_hz);
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_tsc_hz_obj, hv_tsc_hz);

static mp_obj_t hv_tsc(void) {
    return hv_number(rdtsc());
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_tsc_obj, hv_tsc);

static mp_obj_t hv_clock_set(mp_obj_t unix_ns) {
    port_clock_set(hv_u64(unix_ns, "time"));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(hv_clock_set_obj, hv_clock_set);

// ---- Boot modules ----

static mp_obj_t hv_modules(void) {
    mp_obj_t items[BOOT_MODULES];
    for (uint32_t i = 0; i < bootinfo.module_count; i++) {
        const struct boot_module *m = &bootinfo.modules[i];
        mp_obj_t fields[3] = { hv_str(m->name), hv_str(m->args), hv_number(m->size) };
        items[i] = mp_obj_new_tuple(3, fields);
    }
    return mp_obj_new_tuple(bootinfo.module_count, items);
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_modules_obj, hv_modules);

const struct boot_module *hv_boot_module(mp_obj_t name) {
    const struct boot_module *m = boot_module_find(mp_obj_str_get_str(name));
    if (m != NULL) {
        return m;
    }
    vstr_t text;
    mp_print_t print;
    vstr_init_print(&text, 64, &print);
    mp_printf(&print, "no boot module %s; there is", mp_obj_str_get_str(name));
    for (uint32_t i = 0; i < bootinfo.module_count; i++) {
        mp_printf(&print, "%s%s", i == 0 ? " " : ", ", bootinfo.modules[i].name);
    }
    if (bootinfo.module_count == 0) {
        mp_print_str(&print, " none");
    }
    mp_obj_t message = mp_obj_new_str_from_vstr(&text);
    nlr_raise(mp_obj_new_exception_args(&mp_type_ValueError, 1, &message));
}

static mp_obj_t hv_module_view(mp_obj_t name) {
    const struct boot_module *m = hv_boot_module(name);
    return mp_obj_new_memoryview('B', m->size, (void *)(uintptr_t)m->base);
}
MP_DEFINE_CONST_FUN_OBJ_1(hv_module_obj, hv_module_view);

static mp_obj_t hv_cmdline(void) {
    return hv_str(bootinfo.cmdline);
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_cmdline_obj, hv_cmdline);

// The file system's memory, outside the heap so that a soft reset keeps it.
static mp_obj_t hv_ramdisk(void) {
    size_t size;
    void *base = disk_region(&size);
    return mp_obj_new_bytearray_by_ref(size, base);
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_ramdisk_obj, hv_ramdisk);

// ---- Raw access ----

static mp_obj_t hv_cpuid(mp_obj_t leaf, mp_obj_t subleaf) {
    struct cpuid_regs r = cpuid((uint32_t)hv_range(leaf, UINT32_MAX, "leaf"),
        (uint32_t)hv_range(subleaf, UINT32_MAX, "subleaf"));
    mp_obj_t fields[4] = { hv_number(r.eax), hv_number(r.ebx), hv_number(r.ecx), hv_number(r.edx) };
    return mp_obj_new_tuple(4, fields);
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_cpuid_obj, hv_cpuid);

static mp_obj_t hv_rdmsr(mp_obj_t index) {
    uint64_t value;
    if (!probe_rdmsr((uint32_t)hv_range(index, UINT32_MAX, "MSR"), &value)) {
        mp_raise_OSError(MP_EIO); // #GP: this machine has no such MSR
    }
    return hv_number(value);
}
MP_DEFINE_CONST_FUN_OBJ_1(hv_rdmsr_obj, hv_rdmsr);

static uint16_t port_of(mp_obj_t port) {
    return (uint16_t)hv_range(port, UINT16_MAX, "port");
}

static mp_obj_t hv_inb(mp_obj_t port) {
    return MP_OBJ_NEW_SMALL_INT(inb(port_of(port)));
}
MP_DEFINE_CONST_FUN_OBJ_1(hv_inb_obj, hv_inb);

static mp_obj_t hv_inw(mp_obj_t port) {
    return MP_OBJ_NEW_SMALL_INT(inw(port_of(port)));
}
MP_DEFINE_CONST_FUN_OBJ_1(hv_inw_obj, hv_inw);

static mp_obj_t hv_inl(mp_obj_t port) {
    return hv_number(inl(port_of(port)));
}
MP_DEFINE_CONST_FUN_OBJ_1(hv_inl_obj, hv_inl);

static mp_obj_t hv_outb(mp_obj_t port, mp_obj_t value) {
    outb(port_of(port), (uint8_t)hv_range(value, UINT8_MAX, "value"));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_outb_obj, hv_outb);

static mp_obj_t hv_outw(mp_obj_t port, mp_obj_t value) {
    outw(port_of(port), (uint16_t)hv_range(value, UINT16_MAX, "value"));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_outw_obj, hv_outw);

static mp_obj_t hv_outl(mp_obj_t port, mp_obj_t value) {
    outl(port_of(port), (uint32_t)hv_range(value, UINT32_MAX, "value"));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_outl_obj, hv_outl);

// Bytes of the machine's memory, as far as they are mapped: OSError(EFAULT) else.
static mp_obj_t hv_peek(mp_obj_t address_in, mp_obj_t size_in) {
    uint64_t address = hv_u64(address_in, "address");
    size_t size = hv_range(size_in, 1 << 20, "size");
    vstr_t bytes;
    vstr_init_len(&bytes, size);
    for (size_t i = 0; i < size; i++) {
        uint64_t octet;
        if (!probe_read(address + i, 1, &octet)) {
            mp_raise_OSError(MP_EFAULT);
        }
        bytes.buf[i] = (char)octet;
    }
    return mp_obj_new_bytes_from_vstr(&bytes);
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_peek_obj, hv_peek);

// ---- The end ----

static mp_obj_t hv_poweroff(void) {
    power_off();
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_poweroff_obj, hv_poweroff);

static mp_obj_t hv_reboot(void) {
    power_reboot();
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_reboot_obj, hv_reboot);
