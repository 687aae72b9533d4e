// A guest's life from C's first line to its end.
#include "guest.h"
#include "runtime.h"

// Multiboot 1 information (specification 0.6.96, section 3.3).
enum {
    MBI_CMDLINE = 1 << 2,
    MBI_MMAP = 1 << 6,
};
struct multiboot_info {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline;
    uint32_t mods_count, mods_addr, syms[4];
    uint32_t mmap_length, mmap_addr;
};
struct multiboot_range {
    uint32_t size; // of the rest of this entry
    uint64_t base, length;
    uint32_t type;
} __attribute__((packed));

static const struct multiboot_info *multiboot(void) {
    if (boot_magic != MB1_LOADER_MAGIC) {
        return NULL;
    }
    return (const struct multiboot_info *)(uintptr_t)boot_info;
}

_Noreturn void end(uint32_t status) {
    console_drain();
    outl(PORT_EXIT, status);
    for (;;) {
        interrupts_off();
        cpu_hlt();
    }
}

void runtime_main(void) {
    console_init();
    traps_init();
    end((uint32_t)guest_main());
}

const char *boot_cmdline(void) {
    const struct multiboot_info *info = multiboot();
    if (!info || !(info->flags & MBI_CMDLINE) || !info->cmdline) {
        return "";
    }
    return (const char *)(uintptr_t)info->cmdline;
}

bool option(const char *name, const char **value) {
    size_t length = strlen(name);
    const char *word = boot_cmdline();
    while (*word) {
        while (*word == ' ') {
            word++;
        }
        if (memcmp(word, name, length) == 0 &&
            (word[length] == '=' || word[length] == ' ' || word[length] == 0)) {
            *value = word + length + (word[length] == '=');
            return true;
        }
        while (*word && *word != ' ') {
            word++;
        }
    }
    return false;
}

uint64_t option_number(const char *name, uint64_t otherwise) {
    const char *digits;
    if (!option(name, &digits) || *digits < '0' || *digits > '9') {
        return otherwise;
    }
    uint64_t value = 0;
    for (; *digits >= '0' && *digits <= '9'; digits++) {
        value = value * 10 + (uint64_t)(*digits - '0');
    }
    return value;
}

unsigned memory_map(struct memory_range *out, unsigned limit) {
    const struct multiboot_info *info = multiboot();
    if (!info || !(info->flags & MBI_MMAP)) {
        return 0;
    }
    unsigned count = 0;
    uintptr_t at = info->mmap_addr, stop = at + info->mmap_length;
    while (at < stop) {
        const struct multiboot_range *r = (const struct multiboot_range *)at;
        if (count < limit) {
            out[count] = (struct memory_range) {r->base, r->length, r->type};
        }
        count++;
        at += r->size + sizeof(r->size);
    }
    return count;
}
