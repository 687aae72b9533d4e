# Everything under build/guests/. Included by the top Makefile.
#
# guests/NAME/ holds one 64-bit multiboot guest each; add a folder and its name
# here. hello32 is hello's source built for 32-bit protected mode.

GUESTS_64 := hello beat uart apic ioapic smp claims $(notdir $(wildcard guests/exits-*)) samerip triple spin fpu bench mmio-forms string-io steps access hostile hpet isa
GUESTS_32 := hello32 tasks
GUESTS_FLAT := realmode screen

GUEST_OUT := build/guests
GUEST_OBJ := build/guests/obj

GUEST_CC ?= gcc
GUEST_WARN := -Wall -Wextra -Werror -Wshadow -Wmissing-prototypes
GUEST_CFLAGS := -std=gnu11 -O2 -g -ffreestanding -fno-builtin -fno-pic -fno-pie -fno-stack-protector \
	-fno-asynchronous-unwind-tables -fcf-protection=none -mgeneral-regs-only -fno-common \
	-fno-tree-loop-distribute-patterns $(GUEST_WARN) -Iguests/lib -MMD -MP
GUEST_CFLAGS_64 := $(GUEST_CFLAGS) -m64 -mno-red-zone -mcmodel=small
GUEST_CFLAGS_32 := $(GUEST_CFLAGS) -m32
GUEST_LDFLAGS := -nostdlib -static --build-id=none -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments
# Binutils before 2.39 know no such warning and no such option.
GUEST_LDFLAGS := $(filter-out $(if $(shell ld --help 2>/dev/null | grep -e --no-warn-rwx),,--no-warn-rwx-segments),$(GUEST_LDFLAGS))

GUEST_LIB_64 := start64.S vectors.S runtime.c console.c string.c platform.c clock.c traps.c irq.c apic.c \
	user.S paging.c check.c
GUEST_LIB_32 := start32.S runtime.c console.c string.c platform.c traps32.c check.c

guest_objects = $(patsubst %,$(GUEST_OBJ)/$(1)/%.o,$(2))
GUEST_LIB_OBJS_64 := $(call guest_objects,lib64,$(GUEST_LIB_64))
GUEST_LIB_OBJS_32 := $(call guest_objects,lib32,$(GUEST_LIB_32))

GUEST_IMAGES := $(patsubst %,$(GUEST_OUT)/%.elf,$(GUESTS_64) $(GUESTS_32) bigreal) \
	$(patsubst %,$(GUEST_OUT)/%.bin,$(GUESTS_FLAT)) \
	$(GUEST_OUT)/linux/vmlinuz $(GUEST_OUT)/linux/initrd.cpio.gz

.PHONY: guest-images
guest-images: $(GUEST_IMAGES)

$(GUEST_OBJ)/lib64/%.o: guests/lib/% guests/guests.mk
	@mkdir -p $(@D)
	@$(GUEST_CC) $(GUEST_CFLAGS_64) -c $< -o $@

$(GUEST_OBJ)/lib32/%.o: guests/lib/% guests/guests.mk
	@mkdir -p $(@D)
	@$(GUEST_CC) $(GUEST_CFLAGS_32) -c $< -o $@

# $(1) the guest, $(2) its source folder, $(3) 64 or 32. Multiboot 1 loaders take
# 32-bit ELF only, so a 64-bit guest is linked as ELF64 (kept for its symbols in
# build/guests/obj) and its container turned into ELF32.
define guest_rules
GUEST_OBJS_$(1) := $$(patsubst guests/$(2)/%,$(GUEST_OBJ)/$(1)/%.o,$$(wildcard guests/$(2)/*.c guests/$(2)/*.S))

$(GUEST_OBJ)/$(1)/%.o: guests/$(2)/% guests/guests.mk
	@mkdir -p $$(@D)
	@$$(GUEST_CC) $$(GUEST_CFLAGS_$(3)) -c $$< -o $$@

$(GUEST_OBJ)/$(1)/$(1).elf: $$(GUEST_OBJS_$(1)) $$(GUEST_LIB_OBJS_$(3)) guests/lib/link.ld
	@ld $(if $(filter 32,$(3)),-m elf_i386,-m elf_x86_64) $$(GUEST_LDFLAGS) -T guests/lib/link.ld \
		$$(GUEST_OBJS_$(1)) $$(GUEST_LIB_OBJS_$(3)) -o $$@

$(GUEST_OUT)/$(1).elf: $(GUEST_OBJ)/$(1)/$(1).elf
	@objcopy -O elf32-i386 --strip-debug $$< $$@

-include $$(GUEST_OBJS_$(1):.o=.d)
endef

$(foreach g,$(GUESTS_64),$(eval $(call guest_rules,$(g),$(g),64)))
$(foreach g,$(GUESTS_32),$(eval $(call guest_rules,$(g),$(g:32=),32)))
-include $(GUEST_LIB_OBJS_64:.o=.d) $(GUEST_LIB_OBJS_32:.o=.d)

# Images without a container: a boot sector of 512 bytes, run at 0000:7C00, and one that says
# in itself where it lies.
$(GUEST_OUT)/realmode.bin: FLAT_AT := 0x7C00
$(GUEST_OUT)/screen.bin: FLAT_AT := 0x180000
$(GUEST_OUT)/%.bin: guests/%/*.S guests/guests.mk
	@mkdir -p $(GUEST_OBJ)/$*
	@$(GUEST_CC) -m32 -Iguests/lib -c guests/$*/$*.S -o $(GUEST_OBJ)/$*/$*.o
	@ld -m elf_i386 -nostdlib -Ttext $(FLAT_AT) --oformat binary -e _start $(GUEST_OBJ)/$*/$*.o -o $@

# Linux: the distribution's own kernel and an initramfs made here.
$(GUEST_OUT)/linux/vmlinuz: $(KERNEL) | .cache/config.mk
	@mkdir -p $(@D)
	@cp $(KERNEL) $@.tmp && mv $@.tmp $@

$(GUEST_OUT)/linux/initrd.cpio.gz: guests/linux/initramfs.py guests/linux/init $(BUSYBOX) | .cache/config.mk
	@mkdir -p $(@D)
	@python3 guests/linux/initramfs.py --busybox $(BUSYBOX) --init guests/linux/init --output $@

# Real mode from C: code of 16-bit segments with 32-bit operands and addresses.
BIGREAL_CFLAGS := $(GUEST_CFLAGS) -m16 -Os
BIGREAL_OBJS := $(patsubst %,$(GUEST_OBJ)/bigreal/%.o,start.S bigreal.c console.c string.c platform.c check.c)

$(GUEST_OBJ)/bigreal/%.o: guests/bigreal/% guests/guests.mk
	@mkdir -p $(@D)
	@$(GUEST_CC) $(BIGREAL_CFLAGS) -c $< -o $@

$(GUEST_OBJ)/bigreal/%.o: guests/lib/% guests/guests.mk
	@mkdir -p $(@D)
	@$(GUEST_CC) $(BIGREAL_CFLAGS) -c $< -o $@

$(GUEST_OUT)/bigreal.elf: $(BIGREAL_OBJS) guests/bigreal/link.ld
	@ld -m elf_i386 $(GUEST_LDFLAGS) -T guests/bigreal/link.ld $(BIGREAL_OBJS) -o $@

-include $(BIGREAL_OBJS:.o=.d)
