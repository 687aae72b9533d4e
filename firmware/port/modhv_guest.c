// _hv: guests, from making to the end.
#include "channel.h"
#include "cpu/err.h"
#include "modhv.h"
#include "modhv_table.h"
#include "py/runtime.h"
#include "virt/decode.h"
#include "virt/guest.h"

// ---- Making ----

static mp_obj_t hv_guest_create(mp_obj_t name_in) {
    size_t size;
    const char *name = mp_obj_str_get_data(name_in, &size);
    if (size == 0 || size >= GUEST_NAME) {
        mp_raise_msg_varg(&mp_type_ValueError, MP_ERROR_TEXT("name of %u bytes; 1 to %u are possible"),
            (unsigned)size, GUEST_NAME - 1);
    }
    struct guest *g;
    hv_check(guest_create(name, &g));
    channel_guest_made(g->id);
    event_guest_made(g->id);
    return MP_OBJ_NEW_SMALL_INT(g->id);
}
MP_DEFINE_CONST_FUN_OBJ_1(hv_guest_create_obj, hv_guest_create);

static mp_obj_t hv_guest_destroy(mp_obj_t id) {
    struct guest *g = hv_guest(id);
    channel_drain(); // its last words go with its console
    hv_check(guest_destroy(g));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(hv_guest_destroy_obj, hv_guest_destroy);

static mp_obj_t hv_guest_add_ram(mp_obj_t id, mp_obj_t gpa, mp_obj_t size) {
    hv_check(guest_add_ram(hv_guest(id), hv_u64(gpa, "gpa"), hv_u64(size, "size")));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_3(hv_guest_add_ram_obj, hv_guest_add_ram);

static mp_obj_t hv_guest_add_vcpu(mp_obj_t id, mp_obj_t cpu) {
    hv_check(guest_add_vcpu(hv_guest(id), (uint32_t)hv_range(cpu, UINT32_MAX, "CPU")));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_guest_add_vcpu_obj, hv_guest_add_vcpu);

// A packed array of `size`-byte entries, at most `most` of them.
static uint32_t packed(mp_obj_t buffer, mp_buffer_info_t *b, size_t size, size_t most) {
    mp_get_buffer_raise(buffer, b, MP_BUFFER_READ);
    if (b->len % size != 0 || b->len / size > most) {
        mp_raise_msg_varg(&mp_type_ValueError,
            MP_ERROR_TEXT("table of %u bytes; at most %u entries of %u are possible"),
            (unsigned)b->len, (unsigned)most, (unsigned)size);
    }
    return (uint32_t)(b->len / size);
}

static mp_obj_t hv_guest_set_cpuid(mp_obj_t id, mp_obj_t buffer) {
    mp_buffer_info_t b;
    uint32_t count = packed(buffer, &b, sizeof(struct cpuid_entry), CPUID_ENTRIES);
    hv_check(guest_set_cpuid(hv_guest(id), b.buf, count));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_guest_set_cpuid_obj, hv_guest_set_cpuid);

static mp_obj_t hv_guest_set_msrs(mp_obj_t id, mp_obj_t buffer) {
    mp_buffer_info_t b;
    uint32_t count = packed(buffer, &b, sizeof(struct msr_entry), MSR_ENTRIES);
    hv_check(guest_set_msrs(hv_guest(id), b.buf, count));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_guest_set_msrs_obj, hv_guest_set_msrs);

static mp_obj_t hv_guest_platform(mp_obj_t id, mp_obj_t unix_seconds) {
    hv_check(guest_power_devices(hv_guest(id), hv_u64(unix_seconds, "seconds")));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_guest_platform_obj, hv_guest_platform);

static mp_obj_t hv_guest_firmware(mp_obj_t id, mp_obj_t files) {
    mp_buffer_info_t b;
    struct guest *g = hv_guest(id);
    mp_get_buffer_raise(files, &b, MP_BUFFER_READ);
    if (g->state != GUEST_NEW) {
        hv_check(-EBUSY); // it may be reading them
    }
    if (!fwcfg_set_files(&g->platform.fwcfg, b.buf, b.len)) {
        mp_raise_ValueError(MP_ERROR_TEXT("no directory with its files, or too large"));
    }
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_guest_firmware_obj, hv_guest_firmware);

static mp_obj_t hv_guest_device(mp_obj_t id, mp_obj_t name) {
    hv_check(guest_device(hv_guest(id), mp_obj_str_get_str(name)));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(hv_guest_device_obj, hv_guest_device);

// ---- Life ----

#define DEFINE_LIFE(verb) \
    static mp_obj_t hv_guest_##verb(mp_obj_t id) { \
        hv_check(guest_##verb(hv_guest(id))); \
        return mp_const_none; \
    } \
    MP_DEFINE_CONST_FUN_OBJ_1(hv_guest_##verb##_obj, hv_guest_##verb)

DEFINE_LIFE(start);
DEFINE_LIFE(pause);
DEFINE_LIFE(resume);
DEFINE_LIFE(stop);

static mp_obj_t hv_guest_reset(mp_obj_t id) {
    struct guest *g = hv_guest(id);
    hv_check(guest_reset(g));
    event_guest_made(g->id); // its messages ended with its vCPUs
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(hv_guest_reset_obj, hv_guest_reset);

// ---- Looking ----

static void store(mp_obj_t dict, qstr key, mp_obj_t value) {
    mp_obj_dict_store(dict, MP_OBJ_NEW_QSTR(key), value);
}

static qstr vcpu_state_name(uint32_t state) {
    static const qstr_short_t names[] = {
        [VCPU_OFF] = MP_QSTR_off, [VCPU_RUNNABLE] = MP_QSTR_running, [VCPU_HALTED] = MP_QSTR_halted,
        [VCPU_WAITING] = MP_QSTR_waiting, [VCPU_CRASHED] = MP_QSTR_crashed,
    };
    return state < MP_ARRAY_SIZE(names) ? names[state] : MP_QSTR_off;
}

static mp_obj_t hv_guest_info(mp_obj_t id) {
    const struct guest *g = hv_guest(id);
    mp_obj_t vcpus[GUEST_VCPUS];
    for (uint32_t i = 0; i < g->vcpu_count; i++) {
        const struct vcpu *v = g->vcpus[i];
        mp_obj_t fields[3] = { hv_number(v->cpu), MP_OBJ_NEW_QSTR(vcpu_state_name(v->state)), hv_number(v->entries) };
        vcpus[i] = mp_obj_new_tuple(3, fields);
    }
    uint64_t memory = 0;
    for (uint32_t i = 0; i < g->region_count; i++) {
        memory += g->regions[i].size;
    }
    uint64_t hits = 0, misses = 0;
    for (uint32_t i = 0; i < g->vcpu_count; i++) {
        struct insn_stats stats = vcpu_insn_stats(g->vcpus[i]);
        hits += stats.hits;
        misses += stats.misses;
    }
    mp_obj_t decoded[2] = { hv_number(hits), hv_number(misses) };
    mp_obj_t d = mp_obj_new_dict(12);
    store(d, MP_QSTR_decoded, mp_obj_new_tuple(2, decoded));
    store(d, MP_QSTR_name, hv_str(g->name));
    store(d, MP_QSTR_state, hv_str(guest_state_name(g->state)));
    store(d, MP_QSTR_reason, g->end_reason == END_NONE ? MP_OBJ_NEW_QSTR(MP_QSTR_none)
        : hv_str(guest_reason_name(g->end_reason)));
    store(d, MP_QSTR_status, hv_number(g->end_status));
    store(d, MP_QSTR_vcpus, mp_obj_new_tuple(g->vcpu_count, vcpus));
    store(d, MP_QSTR_memory, hv_number(memory));
    store(d, MP_QSTR_starts, hv_number(g->starts));
    store(d, MP_QSTR_note, hv_str(g->note));
    store(d, MP_QSTR_unclaimed_io, hv_number(g->unclaimed_io));
    store(d, MP_QSTR_unclaimed_memory, hv_number(g->unclaimed_memory));
    store(d, MP_QSTR_screen, hv_number(crtc_start(&g->platform.crtc)));
    return d;
}
MP_DEFINE_CONST_FUN_OBJ_1(hv_guest_info_obj, hv_guest_info);

static mp_obj_t hv_guest_ids(void) {
    mp_obj_t ids[GUEST_MAX];
    size_t count = 0;
    for (uint32_t i = 0; i < GUEST_MAX; i++) {
        if (guest_by_id(i) != NULL) {
            ids[count++] = MP_OBJ_NEW_SMALL_INT(i);
        }
    }
    return mp_obj_new_tuple(count, ids);
}
MP_DEFINE_CONST_FUN_OBJ_0(hv_guest_ids_obj, hv_guest_ids);

static mp_obj_t hv_guest_exits(mp_obj_t id) {
    const struct guest *g = hv_guest(id);
    mp_obj_t d = mp_obj_new_dict(EXIT_KINDS);
    for (uint32_t kind = EXIT_NONE + 1; kind < EXIT_KINDS; kind++) {
        uint64_t count = 0;
        for (uint32_t i = 0; i < g->vcpu_count; i++) {
            count += g->vcpus[i]->exits[kind];
        }
        if (count != 0) {
            store(d, hv_exit_name(kind), hv_number(count));
        }
    }
    return d;
}
MP_DEFINE_CONST_FUN_OBJ_1(hv_guest_exits_obj, hv_guest_exits);

// ---- The crash record ----

static mp_obj_t crash_registers(const struct crash *c) {
    static const qstr_short_t names[GPR_COUNT] = {
        MP_QSTR_rax, MP_QSTR_rcx, MP_QSTR_rdx, MP_QSTR_rbx, MP_QSTR_rsp, MP_QSTR_rbp, MP_QSTR_rsi,
        MP_QSTR_rdi, MP_QSTR_r8, MP_QSTR_r9, MP_QSTR_r10, MP_QSTR_r11, MP_QSTR_r12, MP_QSTR_r13,
        MP_QSTR_r14, MP_QSTR_r15,
    };
    mp_obj_t d = mp_obj_new_dict(GPR_COUNT + 8);
    for (int i = 0; i < GPR_COUNT; i++) {
        store(d, names[i], hv_number(c->gpr[i]));
    }
    store(d, MP_QSTR_rflags, hv_number(c->rflags));
    store(d, MP_QSTR_cr0, hv_number(c->cr0));
    store(d, MP_QSTR_cr2, hv_number(c->cr2));
    store(d, MP_QSTR_cr3, hv_number(c->cr3));
    store(d, MP_QSTR_cr4, hv_number(c->cr4));
    store(d, MP_QSTR_efer, hv_number(c->efer));
    store(d, MP_QSTR_cs, hv_number(c->cs));
    store(d, MP_QSTR_cs_base, hv_number(c->cs_base));
    return d;
}

static mp_obj_t hv_guest_crash(mp_obj_t id) {
    const struct guest *g = hv_guest(id);
    const struct crash *c = &g->crash;
    if (g->state != GUEST_CRASHED) {
        return mp_const_none;
    }
    mp_obj_t d = mp_obj_new_dict(8);
    store(d, MP_QSTR_why, hv_str(c->why));
    store(d, MP_QSTR_kind, MP_OBJ_NEW_QSTR(hv_exit_name(c->exit.kind)));
    store(d, MP_QSTR_vcpu, MP_OBJ_NEW_SMALL_INT(c->vcpu));
    store(d, MP_QSTR_rip, hv_number(c->rip));
    store(d, MP_QSTR_raw, hv_number(c->exit.raw));
    store(d, MP_QSTR_qualification, hv_number(c->exit.qualification));
    store(d, MP_QSTR_registers, crash_registers(c));
    store(d, MP_QSTR_bytes, mp_obj_new_bytes(c->bytes, c->byte_count));
    return d;
}
MP_DEFINE_CONST_FUN_OBJ_1(hv_guest_crash_obj, hv_guest_crash);
