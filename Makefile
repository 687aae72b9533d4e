# Vipervisor. `make` or `make help` lists what there is to do.
#
# `run` and `test` set up everything they need first (tools/setup). The parts
# define their own rules: hypervisor/core.mk, firmware/port/port.mk,
# guests/guests.mk. Set-up leaves MICROPY_DIR, ZYDIS_DIR, ZYCORE_DIR, VENV,
# MPY_CROSS, KERNEL and BUSYBOX in .cache/config.mk.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

-include .cache/config.mk
VENV ?= .venv
export MICROPY_DIR ZYDIS_DIR ZYCORE_DIR MPY_CROSS

-include hypervisor/core.mk
-include firmware/port/port.mk
include guests/guests.mk

.DEFAULT_GOAL := help

# Recipes below start the real work in a second make: it reads what set-up has
# just written, and runs in parallel unless the caller chose otherwise.
PARALLEL = $(if $(findstring jobserver,$(MAKEFLAGS))$(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc)) -Otarget
SUBMAKE = +@$(MAKE) $(PARALLEL)
STAGES := tools/setup/stage.sh

.PHONY: help setup build guests run run-vmx test test-full check bench clean distclean
.PHONY: python3 setup-for-run setup-for-test monitor

help:
	@echo "Vipervisor: a hypervisor toolkit for x86-64, programmed in Python."
	@echo
	@echo "  make run        boot the example partition in QEMU (AMD-V) and open its prompt"
	@echo "  make run-vmx    the same in Bochs (VT-x)"
	@echo "  make test       check everything: style, units, core, booted machines"
	@echo "  make test-full  the long tests too"
	@echo "  make bench      count instructions per exit on both back ends"
	@echo
	@echo "  make setup      only fetch and install what the others need (they do it themselves)"
	@echo "  make build      only build the monitor: build/vipervisor.elf and .bin"
	@echo "  make guests     only build the guests: build/guests/"
	@echo "  make check      only the fast checks: style, types, dependencies, sizes, links"
	@echo "  make clean      remove build/"
	@echo "  make distclean  remove build/, .venv/ and .cache/"
	@echo
	@echo "Own copies of the sources: make run MICROPY_DIR=... ZYDIS_DIR=... ZYCORE_DIR=..."

python3:
	@command -v python3 >/dev/null || { \
	    echo "python3 is missing; install it and try again: sudo apt-get install python3" >&2; exit 1; }

setup: python3
	@PYTHONPATH=tools python3 -m setup

build: python3
	@PYTHONPATH=tools python3 -m setup --quiet
	$(SUBMAKE) monitor

guests: python3
	@PYTHONPATH=tools python3 -m setup --quiet
	$(SUBMAKE) guest-images

monitor: build/vipervisor.elf build/vipervisor.bin

run: python3
	@PYTHONPATH=tools python3 -m setup --before "build the monitor" --before "build the guests" --before boot
	@sh $(STAGES) 1
	$(SUBMAKE) monitor
	@sh $(STAGES) 2
	$(SUBMAKE) guest-images
	@sh $(STAGES) 3
	@tools/hv boot examples/first.toml $(HV_FLAGS)

run-vmx:
	@$(MAKE) run HV_FLAGS="--backend vmx"

clean:
	rm -rf build

distclean: clean
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache
