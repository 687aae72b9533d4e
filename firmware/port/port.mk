# The MicroPython part of the monitor, and the link of the whole monitor.
# Included by the top Makefile, from the top folder. Needs from the set-up:
#   MICROPY_DIR  unpacked MicroPython source (used out of tree, never changed)
#   MPY_CROSS    the mpy-cross that belongs to it

FIRMWARE_DIR := build/firmware
FIRMWARE_LIB := $(FIRMWARE_DIR)/libfirmware.a
FIRMWARE_FIRST := $(addprefix $(FIRMWARE_DIR)/,mark_frozen.o frozen_content.o mark_firmware.o)
LINK_SCRIPT ?= hypervisor/boot/link.ld
CORE_LIB ?= build/core.a
OBJCOPY ?= objcopy

# MicroPython's makefiles use the same variable names as everybody else's, so they
# run in a make of their own; it decides what is out of date and touches the
# library only when something was.
.PHONY: firmware-objects
firmware-objects:
	@test -n "$(MICROPY_DIR)" && test -e "$(MICROPY_DIR)/py/mkenv.mk" || \
	    { echo "firmware: MICROPY_DIR ('$(MICROPY_DIR)') holds no MicroPython source; run 'make setup'"; exit 1; }
	@test -x "$(MPY_CROSS)" || \
	    { echo "firmware: MPY_CROSS ('$(MPY_CROSS)') is no program; run 'make setup'"; exit 1; }
	+@mkdir -p $(FIRMWARE_DIR) && $(MAKE) --no-print-directory -C firmware/port -f micropython.mk \
	    MICROPY_DIR="$(abspath $(MICROPY_DIR))" MICROPY_MPYCROSS="$(abspath $(MPY_CROSS))" \
	    BUILD="$(abspath $(FIRMWARE_DIR))" firmware-lib

$(FIRMWARE_LIB) $(FIRMWARE_FIRST): firmware-objects
	@true

# The core is taken whole (its entry and tables have no caller); of the firmware
# only what is reached from firmware_main() stays.
build/vipervisor.elf64: $(CORE_LIB) $(FIRMWARE_FIRST) $(FIRMWARE_LIB) $(LINK_SCRIPT)
	@echo "  LD      $@"
	@$(LD) -nostdlib -static -z noexecstack -z max-page-size=4096 --gc-sections -u firmware_main \
	    -T $(LINK_SCRIPT) -Map $@.map -o $@ --whole-archive $(CORE_LIB) \
	    --no-whole-archive $(FIRMWARE_FIRST) $(FIRMWARE_LIB)

# Multiboot loaders refuse ELF64 (QEMU: "Cannot load x86-64 image, give a 32bit one").
build/vipervisor.elf: build/vipervisor.elf64
	@$(OBJCOPY) -O elf32-i386 $< $@

build/vipervisor.bin: build/vipervisor.elf64
	@$(OBJCOPY) -O binary $< $@

.PHONY: monitor
monitor: build/vipervisor.elf build/vipervisor.bin build/bootsector.bin
