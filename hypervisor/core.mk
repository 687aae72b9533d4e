# Builds the core: build/core.a and build/bootsector.bin.
# Needs ZYDIS_DIR and ZYCORE_DIR (the set-up writes them to .cache/config.mk).
BUILD ?= build
CORE_CC ?= gcc
CORE_OBJCOPY ?= objcopy

CORE_C := $(sort $(wildcard hypervisor/boot/*.c hypervisor/cpu/*.c hypervisor/virt/*.c hypervisor/dev/*.c))
CORE_C := $(filter-out hypervisor/virt/offsets.c hypervisor/virt/%_offsets.c,$(CORE_C))
CORE_S := $(filter-out hypervisor/boot/disk.S,$(sort $(wildcard hypervisor/boot/*.S hypervisor/cpu/*.S hypervisor/virt/*.S)))
CORE_OBJS := $(CORE_C:%.c=$(BUILD)/core/%.o) $(CORE_S:%.S=$(BUILD)/core/%.o)
CORE_OFFSETS := $(wildcard hypervisor/virt/offsets.c hypervisor/virt/*_offsets.c)
CORE_OFFSET_HEADERS := $(CORE_OFFSETS:hypervisor/virt/%.c=$(BUILD)/gen/%.h)

CORE_INCLUDES := -Ihypervisor -I$(BUILD)/gen
CORE_CFLAGS := -std=gnu11 -O2 -g -ffreestanding -mgeneral-regs-only -mno-red-zone -fno-pic -fno-pie \
	-mcmodel=small -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables \
	-fno-strict-aliasing -fno-tree-loop-distribute-patterns -ffunction-sections -fno-common \
	-Wall -Wextra -Werror -Wshadow -Wmissing-prototypes -Wconversion -Wno-sign-conversion \
	$(CORE_INCLUDES) $(CORE_EXTRA_CFLAGS)
CORE_LDFLAGS := -nostdlib -static -no-pie -Wl,-z,noexecstack -Wl,-z,max-page-size=4096 -Wl,--build-id=none \
	-Wl,--no-warn-rwx-segments -Wl,--gc-sections -Wl,-T,hypervisor/boot/link.ld

-include hypervisor/virt/zydis.mk

.PHONY: core
.SECONDARY: $(CORE_OFFSET_HEADERS)
core: $(BUILD)/core.a $(BUILD)/bootsector.bin

# Offsets for the assembly, generated from the C structures: a file of
# DEFINE(NAME, value) lines is compiled to assembly and its markers are read back.
$(BUILD)/gen/%.h: hypervisor/virt/%.c
	@mkdir -p $(@D)
	@$(CORE_CC) $(CORE_CFLAGS) -MMD -MF $(@:.h=.d) -MT $@ -S -o $(@:.h=.s) $<
	@sed -n 's/.*->\([A-Z0-9_]*\) \$$*\([-0-9]*\).*/#define \1 \2/p' $(@:.h=.s) > $@

# The font of the screen: GNU Unifont, as GRUB has it.
FONT ?= $(firstword $(wildcard /usr/share/grub/ascii.pf2 /usr/share/grub/unicode.pf2 \
	/usr/share/grub2/unicode.pf2) /usr/share/grub/ascii.pf2)
$(BUILD)/gen/font.h: tools/font.py
	@mkdir -p $(@D)
	@python3 tools/font.py $(FONT) $@
$(BUILD)/core/hypervisor/cpu/display.o: $(BUILD)/gen/font.h

$(BUILD)/core/%.o: %.c | $(CORE_OFFSET_HEADERS)
	@mkdir -p $(@D)
	@echo "  CC      $<"
	@$(CORE_CC) $(CORE_CFLAGS) $(ZYDIS_CFLAGS) -MMD -c -o $@ $<

$(BUILD)/core/%.o: %.S $(CORE_OFFSET_HEADERS)
	@mkdir -p $(@D)
	@echo "  AS      $<"
	@$(CORE_CC) $(CORE_INCLUDES) -MMD -c -o $@ $<

$(BUILD)/core.a: $(CORE_OBJS) $(ZYDIS_OBJS)
	@echo "  AR      $@"
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/bootsector.bin: hypervisor/boot/disk.S
	@mkdir -p $(@D)
	@$(CORE_CC) -m32 -c -o $(BUILD)/bootsector.o $<
	@ld -m elf_i386 -Ttext 0x7C00 --oformat binary -e 0 -o $@ $(BUILD)/bootsector.o
	@test "$$(stat -c %s $@)" = 512

-include $(CORE_OBJS:.o=.d) $(CORE_OFFSET_HEADERS:.h=.d)
