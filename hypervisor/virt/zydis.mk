# The x86 decoder, freestanding: Zydis and its base library Zycore, third-party code
# compiled with our code generation flags but not our warnings. Set before inclusion:
# BUILD, ZYDIS_DIR, ZYCORE_DIR (unpacked sources), CORE_CC. Sets ZYDIS_OBJS and ZYDIS_CFLAGS
# (for every file that includes <Zydis/...>).
#
# Link with --gc-sections: the formatter, the encoder and the string tables go.

ZYDIS_CFLAGS := -isystem $(ZYDIS_DIR)/include -isystem $(ZYDIS_DIR)/src -isystem $(ZYCORE_DIR)/include \
	-DZYAN_NO_LIBC -DZYDIS_STATIC_BUILD -DZYCORE_STATIC_BUILD \
	-DZYDIS_DISABLE_FORMATTER -DZYDIS_DISABLE_ENCODER -DZYDIS_DISABLE_SEGMENT

ZYDIS_SOURCES := Decoder DecoderData MetaInfo Mnemonic Register SharedData
ZYDIS_OBJS := $(ZYDIS_SOURCES:%=$(BUILD)/zydis/%.o)

ZYDIS_BUILD_FLAGS := -std=c11 -ffreestanding -O2 -mgeneral-regs-only -mno-red-zone -mno-sse -mno-mmx \
	-fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables -mcmodel=small \
	-ffunction-sections -fdata-sections -fno-strict-aliasing -w

ZYDIS_LIBC := $(dir $(lastword $(MAKEFILE_LIST)))zydis_libc.h

$(BUILD)/zydis/%.o: $(ZYDIS_DIR)/src/%.c $(ZYDIS_LIBC)
	@mkdir -p $(@D)
	@$(CORE_CC) $(ZYDIS_BUILD_FLAGS) $(ZYDIS_CFLAGS) -include $(ZYDIS_LIBC) -c $< -o $@

# What a host test that decodes needs on its command line, as one line.
.PHONY: zydis-for-tests
zydis-for-tests: $(ZYDIS_OBJS)
	@echo $(ZYDIS_CFLAGS) $(ZYDIS_OBJS)
