// Multiboot 1 and 2 (GNU GRUB specifications 0.6.96 and 2.0) into struct bootinfo.
#include <stdbool.h>
#include <stddef.h>

#include "boot/boot.h"
#include "boot/bootinfo.h"
#include "boot/disk.h"
#include "cpu/log.h"
#include "cpu/string.h"

enum {
    MB1_FLAG_CMDLINE = 1 << 2, MB1_FLAG_MODULES = 1 << 3, MB1_FLAG_MMAP = 1 << 6,
    MB2_TAG_END = 0, MB2_TAG_CMDLINE = 1, MB2_TAG_MODULE = 3, MB2_TAG_MMAP = 6, MB2_TAG_FRAMEBUFFER = 8,
    MB2_TAG_EFI64 = 12, MB2_TAG_RSDP1 = 14, MB2_TAG_RSDP2 = 15, MB2_FRAMEBUFFER_RGB = 1, MB2_FRAMEBUFFER_TEXT = 2,
    RSDP_SIZE = 36,
};

struct __attribute__((packed)) mb1_info {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length,
        mmap_addr;
};
struct __attribute__((packed)) mb1_module {
    uint32_t start, end, string, reserved;
};
struct __attribute__((packed)) mb1_mmap {
    uint32_t size;
    uint64_t base, length;
    uint32_t type;
};
struct __attribute__((packed)) mb2_tag {
    uint32_t type, size;
};

struct __attribute__((packed)) mb2_framebuffer {
    struct mb2_tag tag;
    uint64_t base;
    uint32_t pitch, width, height;
    uint8_t bits, kind;
    uint16_t reserved;
    // of MB2_FRAMEBUFFER_RGB
    uint8_t red_position, red_size, green_position, green_size, blue_position, blue_size;
};

struct bootinfo bootinfo;

static const void *at(uint64_t address) {
    return (const void *)(uintptr_t)address;
}

static void add_range(uint64_t base, uint64_t size, uint32_t type) {
    if (size == 0) {
        return;
    }
    if (bootinfo.range_count == BOOT_RANGES) {
        log_printf("vipervisor: memory map entry at %lx is ignored: more than %u entries\n", base, BOOT_RANGES);
        return;
    }
    bootinfo.ranges[bootinfo.range_count++] = (struct boot_range) { base, size, type };
}

// Splits "path name=NAME args": the name from its word, else the path's last part;
// the arguments are what remains.
static void name_module(struct boot_module *m, const char *string) {
    const char *word = string;
    while (*word == ' ') {
        word++;
    }
    const char *end = word;
    while (*end != 0 && *end != ' ') {
        end++;
    }
    const char *rest = *end == ' ' ? end + 1 : end;
    const char *base = word;
    for (const char *c = word; c < end; c++) {
        base = *c == '/' ? c + 1 : base;
    }
    size_t length = (size_t)(end - base);
    if (strncmp(rest, "name=", 5) == 0) {
        base = rest + 5;
        length = 0;
        while (base[length] != 0 && base[length] != ' ') {
            length++;
        }
        rest = base[length] == ' ' ? base + length + 1 : base + length;
    }
    if (length >= sizeof(m->name)) {
        length = sizeof(m->name) - 1;
    }
    memcpy(m->name, base, length);
    m->name[length] = 0;
    str_copy(m->args, sizeof(m->args), rest);
}

static void add_module(uint64_t start, uint64_t end, const char *string) {
    if (bootinfo.module_count == BOOT_MODULES) {
        log_printf("vipervisor: boot module \"%s\" is ignored: more than %u modules\n", string, BOOT_MODULES);
        return;
    }
    struct boot_module *m = &bootinfo.modules[bootinfo.module_count++];
    m->base = start;
    m->size = end - start;
    name_module(m, string);
}

static void read_multiboot1(const struct mb1_info *info) {
    bootinfo.loader = BOOT_MULTIBOOT1;
    bootinfo.framebuffer.kind = FRAMEBUFFER_TEXT; // as the BIOS leaves it
    if ((info->flags & MB1_FLAG_CMDLINE) != 0) {
        // "kernel-path words": the path is not an option
        const char *line = at(info->cmdline);
        while (*line != 0 && *line != ' ') {
            line++;
        }
        str_copy(bootinfo.cmdline, sizeof(bootinfo.cmdline), *line == ' ' ? line + 1 : line);
    }
    if ((info->flags & MB1_FLAG_MMAP) != 0) {
        for (uint32_t offset = 0; offset < info->mmap_length;) {
            const struct mb1_mmap *m = at((uint64_t)info->mmap_addr + offset);
            add_range(m->base, m->length, m->type);
            offset += m->size + 4;
        }
    }
    for (uint32_t i = 0; (info->flags & MB1_FLAG_MODULES) != 0 && i < info->mods_count; i++) {
        const struct mb1_module *m = (const struct mb1_module *)at(info->mods_addr) + i;
        add_module(m->start, m->end, at(m->string));
    }
}

static void read_framebuffer(const struct mb2_framebuffer *tag) {
    struct boot_framebuffer *f = &bootinfo.framebuffer;
    if (tag->kind == MB2_FRAMEBUFFER_TEXT) {
        f->kind = FRAMEBUFFER_TEXT;
    } else if (tag->kind == MB2_FRAMEBUFFER_RGB && tag->tag.size >= sizeof(*tag) && tag->bits >= 15
        && tag->bits <= 32) {
        *f = (struct boot_framebuffer) {
            .base = tag->base, .pitch = tag->pitch, .width = tag->width, .height = tag->height,
            .kind = FRAMEBUFFER_RGB, .bits = tag->bits,
            .red_position = tag->red_position, .red_size = tag->red_size,
            .green_position = tag->green_position, .green_size = tag->green_size,
            .blue_position = tag->blue_position, .blue_size = tag->blue_size,
        };
    }
}

static void read_multiboot2(uint64_t info) {
    bootinfo.loader = BOOT_MULTIBOOT2;
    uint32_t total = *(const uint32_t *)at(info);
    for (uint64_t p = info + 8; p + 8 <= info + total;) {
        const struct mb2_tag *tag = at(p);
        if (tag->type == MB2_TAG_END || tag->size < 8) {
            return;
        }
        if (tag->type == MB2_TAG_CMDLINE) {
            str_copy(bootinfo.cmdline, sizeof(bootinfo.cmdline), at(p + 8));
        } else if (tag->type == MB2_TAG_MODULE) {
            const uint32_t *range = at(p + 8);
            add_module(range[0], range[1], at(p + 16));
        } else if (tag->type == MB2_TAG_MMAP) {
            uint32_t entry = ((const uint32_t *)at(p + 8))[0];
            for (uint64_t e = p + 16; entry >= 20 && e + entry <= p + tag->size; e += entry) {
                const uint64_t *range = at(e);
                add_range(range[0], range[1], *(const uint32_t *)at(e + 16));
            }
        } else if (tag->type == MB2_TAG_FRAMEBUFFER) {
            read_framebuffer(at(p));
        } else if (tag->type == MB2_TAG_EFI64) {
            bootinfo.efi = *(const uint64_t *)at(p + 8);
        } else if (tag->type == MB2_TAG_RSDP2 || (tag->type == MB2_TAG_RSDP1 && bootinfo.rsdp == 0)) {
            // The tag lies in memory that becomes a guest's: keep a copy.
            static char rsdp[RSDP_SIZE];
            memcpy(rsdp, at(p + 8), tag->size - 8 < RSDP_SIZE ? tag->size - 8 : RSDP_SIZE);
            bootinfo.rsdp = (uintptr_t)rsdp;
        }
        p += (tag->size + 7) & ~UINT32_C(7);
    }
}

bool bootinfo_init(uint32_t magic, uint32_t info) {
    switch (magic) {
        case BOOT_MAGIC_MULTIBOOT1:
            read_multiboot1(at(info));
            break;
        case BOOT_MAGIC_MULTIBOOT2:
            read_multiboot2(info);
            break;
        case DISK_BOOT_MAGIC:
            bootinfo.loader = BOOT_DISK;
            bootinfo.framebuffer.kind = FRAMEBUFFER_TEXT;
            return disk_ranges(&bootinfo) == 0;
        default:
            return false;
    }
    return bootinfo.range_count > 0;
}

const struct boot_module *boot_module_find(const char *name) {
    for (uint32_t i = 0; i < bootinfo.module_count; i++) {
        if (strcmp(bootinfo.modules[i].name, name) == 0) {
            return &bootinfo.modules[i];
        }
    }
    return NULL;
}
