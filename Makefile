# Vipervisor. `make` or `make help` lists what there is to do.
#
# `run` and `test` set up everything they need first (tools/prepare). The parts
# define their own rules: hypervisor/core.mk, firmware/port/port.mk,
# guests/guests.mk. Set-up leaves MICROPY_DIR, ZYDIS_DIR, ZYCORE_DIR, VENV,
# MPY_CROSS, KERNEL and BUSYBOX in .cache/config.mk.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

-include .cache/config.mk

-include hypervisor/core.mk
-include firmware/port/port.mk
include guests/guests.mk

.DEFAULT_GOAL := help

# Folders that a person gives by hand (on the command line or in the environment)
# instead of the sources that set-up would fetch.
given = $(if $(filter command environment,$(firstword $(origin $(1)))),$(2)=$($(1)))
GIVEN = $(call given,MICROPY_DIR,--micropy-dir) $(call given,ZYDIS_DIR,--zydis-dir) \
	$(call given,ZYCORE_DIR,--zycore-dir)
SETUP = PYTHONPATH=tools python3 -m prepare $(GIVEN)

# The real work runs in a second make: it reads what set-up has just written, and
# runs in parallel unless the caller chose otherwise.
PARALLEL = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc)) --output-sync=target
QUIETLY = sh tools/prepare/quietly.sh
BUILD_MONITOR = $(QUIETLY) monitor $(MAKE) $(PARALLEL) monitor
BUILD_GUESTS = $(QUIETLY) guests $(MAKE) $(PARALLEL) guest-images

VENV_BIN := .venv/bin
# A file's tests run one after the other, several files at once; a busy machine wants
# fewer: make test WORKERS=1. Every single test has a limit of its own (pyproject.toml).
WORKERS ?= $(if $(filter 1,$(shell nproc)),1,2)
PYTEST = $(VENV_BIN)/pytest -n $(WORKERS) --dist loadfile
FAST_TESTS = $(wildcard tests/unit tests/core tests/wrong-moves)
ALL_TESTS = $(FAST_TESTS) $(wildcard tests/machine)
# Test results that more than one check reads.
export VIPERVISOR_RESULTS := build/test-results.json

.PHONY: help setup build guests run run-vmx test test-full support-table stock check bench clean
.PHONY: distclean container-packages reference
.PHONY: python3 monitor test-prepare check-only test-micropython

help:
	@echo "Vipervisor: a hypervisor toolkit for x86-64, programmed in Python."
	@echo
	@echo "  make run        boot the example partition in QEMU (AMD-V) and open its prompt"
	@echo "  make run-vmx    the same in Bochs (VT-x)"
	@echo "  make test       check everything: style, units, core, booted machines"
	@echo "  make test-full  the long tests too"
	@echo "  make test-micropython  MicroPython's own tests on the booted monitor (some 6 minutes)"
	@echo "  make support-table  test every unmodified program and write docs/support.md"
	@echo "  make stock      fetch those programs that are not there: .cache/stock/"
	@echo "  make bench      count instructions: exits on both back ends, Linux; sizes"
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
	@$(SETUP)

# The pages under docs/ that are made from what they describe, made anew.
reference: python3
	@$(SETUP) --quiet
	@PYTHONPATH=tools $(VENV_BIN)/python -m vipervisor.reference

# The distribution packages of set-up, one a line: for another distribution's own, and for
# images (the Containerfile runs set-up itself).
container-packages: python3
	@$(SETUP) --packages

build: python3
	@$(SETUP) --quiet
	+@$(BUILD_MONITOR)

guests: python3
	@$(SETUP) --quiet
	+@$(BUILD_GUESTS)

monitor: build/vipervisor.elf build/vipervisor.bin build/bootsector.bin

run: python3
	@$(SETUP) --of 7
	@echo "[5/7] Monitor: building"
	+@$(BUILD_MONITOR)
	@echo "[6/7] Guests: building"
	+@$(BUILD_GUESTS)
	@echo "[7/7] Machine: booting examples/first.toml"
	@tools/hv boot examples/first.toml $(HV_FLAGS)

run-vmx:
	+@$(MAKE) run HV_FLAGS="--backend vmx"

check: python3
	@$(SETUP) --quiet
	+@$(BUILD_MONITOR)
	+@$(MAKE) check-only

check-only:
	@CHECK_CPPFLAGS='$(ZYDIS_CFLAGS)' PYTHONPATH=tools $(VENV_BIN)/python -m check

test-prepare: python3
	@$(SETUP) --of 8
	@echo "[5/8] Monitor: building"
	+@$(BUILD_MONITOR)
	@echo "[6/8] Guests: building"
	+@$(BUILD_GUESTS)
	@echo "[7/8] Checks: style, types, dependencies, sizes, links"
	+@$(MAKE) check-only

test: test-prepare
	@echo "[8/8] Tests: $(ALL_TESTS)"
	@rm -f $(VIPERVISOR_RESULTS)
	@timeout --foreground 1500 $(PYTEST) -m "not full" $(PYTEST_FLAGS) $(ALL_TESTS)

test-full: test-prepare
	@echo "[8/8] Tests: $(ALL_TESTS), long ones included"
	@rm -f $(VIPERVISOR_RESULTS)
	@$(PYTEST) $(PYTEST_FLAGS) $(ALL_TESTS)

# MicroPython's own tests; BACKEND=vmx in Bochs, TESTS="basics/int1.py float" only some.
test-micropython: python3
	@$(SETUP) --quiet
	+@$(BUILD_MONITOR)
	@MICROPY_DIR='$(MICROPY_DIR)' PYTHONPATH=tools $(VENV_BIN)/python -m mptests \
	    --backend $(or $(BACKEND),svm) $(TESTS)

# Every unmodified program where it runs; -k as in PYTEST_FLAGS="-k memtest" runs a part.
support-table: test-prepare stock
	@$(PYTEST) $(PYTEST_FLAGS) tests/machine/test_support.py || true
	@cd tools && $(CURDIR)/$(VENV_BIN)/python -m check.support

stock: python3
	@PYTHONPATH=tools python3 -m prepare.stock

bench: python3
	@$(SETUP) --quiet
	+@$(BUILD_MONITOR)
	+@$(BUILD_GUESTS)
	@PYTHONPATH=tools $(VENV_BIN)/python tests/bench $(BENCH)

clean:
	rm -rf build

distclean: clean
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache
