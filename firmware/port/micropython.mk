# Builds $(BUILD)/libfirmware.a from the MicroPython tree and this folder.
# Started by port.mk in this folder, with MICROPY_DIR, MICROPY_MPYCROSS and BUILD.

# The version MicroPython reports, and the same bytes from the same sources: without
# these, makeversionhdr.py asks git and takes the commit of the repository around it.
export MICROPY_GIT_TAG ?= v1.25.0
export MICROPY_GIT_HASH ?= v1.25.0
export SOURCE_DATE_EPOCH ?= 1744675200
export MICROPY_MPYCROSS

FROZEN_MANIFEST ?= ../manifest.py
HYPERVISOR ?= ../../hypervisor
QSTR_DEFS = qstrdefsport.h
MICROPY_ROM_TEXT_COMPRESSION ?= 0
MICROPY_VFS_LFS2 = 1
MICROPY_VFS_FAT = 1

# Flags, and headers and parts that bring names of Python of their own.
QSTR_GLOBAL_DEPENDENCIES += micropython.mk modhv.h modhv_exit.h modhv_table.h modmachine.inc modtime.inc

include $(MICROPY_DIR)/py/mkenv.mk
include $(TOP)/py/py.mk
include $(TOP)/extmod/extmod.mk

# makemanifest.py wants a micropython-lib; the source package has none and none is used.
HELP_BUILD_ERROR = "the monitor's MicroPython part did not compile"
MPY_LIB_DIR = $(CURDIR)
MPY_CROSS_FLAGS += -march=x64
MPY_TOOL_FLAGS += -mlongint-impl=mpz -mmpz-dig-size=32

INC += -I. -I$(TOP) -I$(BUILD) -I$(HYPERVISOR)

CFLAGS += $(INC) -std=gnu11 -O2 -g -DNDEBUG -m64 -ffreestanding -nostdinc \
    -isystem include -isystem $(shell $(CC) -print-file-name=include) \
    -mno-red-zone -mcmodel=small -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none \
    -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fno-common \
    -ffunction-sections -fdata-sections -fmacro-prefix-map=$(MICROPY_DIR)/= \
    -fdebug-prefix-map=$(MICROPY_DIR)=micropython -Wall -Werror \
    -DLFS2_NO_INTRINSICS -DLFS2_NO_DEBUG -DLFS2_NO_WARN -DLFS2_NO_ERROR \
    -DFFCONF_H=\"lib/oofatfs/ffconf.h\"

# This folder's files. IRQ_C run in interrupt context, where nobody has saved the
# SSE registers.
IRQ_C = hold.c serial.c terminal.c keyboard.c native_break.c
PORT_C = main.c mphalport.c libc.c poll.c line_edit.c power.c emulator.c native.c machine_mem.c channel.c capture.c reserve.c \
    traceback.c modhv.c modhv_machine.c modhv_guest.c modhv_memory.c modhv_vcpu.c modhv_event.c modhv_exit.c \
    modhv_claim.c modhv_handler.c modhv_note.c modhv_look.c modhv_uart.c

SHARED_C = shared/libc/printf.c shared/runtime/gchelper_generic.c \
    shared/runtime/pyexec.c shared/runtime/stdout_helpers.c shared/runtime/sys_stdio_mphal.c \
    shared/timeutils/timeutils.c

SRC_C = $(PORT_C) $(IRQ_C) $(SHARED_C)
SRC_QSTR += $(PORT_C) $(IRQ_C) shared/runtime/pyexec.c shared/runtime/sys_stdio_mphal.c

# Names that only a header uses are found again when it changes.
QSTR_GLOBAL_DEPENDENCIES += $(wildcard *.h *.inc) micropython.mk

LIB_C = $(SRC_LIB_LIBM_DBL_C) $(SRC_LIB_LIBM_DBL_SQRT_SW_C)

# Linked by name, in this order, before the library: see native_break.c.
FIRST_O = $(addprefix $(BUILD)/, mark_frozen.o frozen_content.o mark_firmware.o)
LIB_O = $(PY_O) $(addprefix $(BUILD)/, $(SRC_C:.c=.o) $(LIB_C:.c=.o))
OBJ = $(LIB_O) $(FIRST_O)

PORT_O = $(addprefix $(BUILD)/, $(PORT_C:.c=.o) $(IRQ_C:.c=.o))
# Our own code under the house's warnings; MicroPython's headers do not pass -Wconversion.
$(PORT_O): CFLAGS += -Wextra -Wshadow -Wmissing-prototypes -Wno-unused-parameter
$(addprefix $(BUILD)/, $(IRQ_C:.c=.o)) $(BUILD)/py/scheduler.o: CFLAGS += -mgeneral-regs-only
# The prompt prints exceptions in our way.
$(BUILD)/shared/runtime/pyexec.o: CFLAGS += -Dmp_obj_print_exception=port_print_exception
$(BUILD)/py/repl.o: CFLAGS += -Dmp_load_method_protected=line_edit_lookup
# What the compiler finds in sources that are not ours.
$(BUILD)/lib/libm_dbl/%.o: CFLAGS += -Wno-maybe-uninitialized -Wno-unused-variable -Wno-parentheses \
    -Wno-unused-but-set-variable
# Without its assertions LittleFS writes to files that were opened for reading.
$(BUILD)/lib/littlefs/%.o: CFLAGS += -ULFS2_NO_ASSERT -include lfs_assert.h
$(BUILD)/lib/littlefs/%.o $(BUILD)/lib/oofatfs/%.o: CFLAGS += -Wno-unused-function -Wno-unused-variable

# Other flags, other objects.
$(OBJ): micropython.mk

# makemanifest.py sees newer files only: another list of files starts it afresh.
FROZEN_LIST := $(strip $(FROZEN_MANIFEST) $(shell cd .. && find . -name '*.py' | sort))
ifneq ($(FROZEN_LIST),$(strip $(shell cat $(BUILD)/frozen.list 2>/dev/null)))
$(shell rm -f $(BUILD)/frozen_content.c; echo '$(FROZEN_LIST)' > $(BUILD)/frozen.list)
endif

# Nor does it know that the frozen code holds the names that the C code lacks.
$(BUILD)/frozen_content.c: $(BUILD)/frozen.stamp
$(BUILD)/frozen.stamp: $(HEADER_BUILD)/qstrdefs.generated.h
	@rm -f $(BUILD)/frozen_content.c
	@touch $@

.PHONY: firmware-lib
firmware-lib: $(BUILD)/libfirmware.a $(FIRST_O)

$(BUILD)/libfirmware.a: $(LIB_O)
	$(ECHO) "AR $@"
	$(Q)rm -f $@ && $(AR) rcsD $@ $^

include $(TOP)/py/mkrules.mk

# The frozen part names strings that the C part has not; makemanifest.py does not see that
# those have changed.
$(BUILD)/frozen.strings: $(BUILD)/genhdr/qstrdefs.generated.h
	$(Q)rm -f $(BUILD)/frozen_content.c && touch $@
$(BUILD)/frozen_content.c: $(BUILD)/frozen.strings
