# SPDX-License-Identifier: MIT
#
# The front door.  Each target is one command; the work is done by Meson and the scripts in tools/.

PYTHON       ?= /usr/bin/python3
PREFIX       ?= /usr/local
# Runs the scripts in tools/, whatever interpreter the extension is built for.
TOOLS_PYTHON ?= /usr/bin/python3
# Extra words for the command behind the target, as in
#   make test TEST_FLAGS="--only c-debug,pytest"    make run ARGS=--help
ARGS         ?=
TEST_FLAGS   ?=
BENCH_FLAGS  ?=

TOOL := $(TOOLS_PYTHON) -B

.PHONY: help run build test bench deps deps-run install format check clean

help:
	@echo "make run       build, then compare stock CPython and Neve on examples/prefork.py"
	@echo "make test      every test; ends in a line 'N passed, N failed'"
	@echo "make bench     the benchmarks"
	@echo "make build     the importable Python package only, in build/python/<cache tag>/"
	@echo "make deps      install the Debian packages that are missing"
	@echo "make install   the C library, its headers and neve.pc, below PREFIX=$(PREFIX)"
	@echo "make check     style and layers"
	@echo "make format    clang-format on every C file"
	@echo "make clean     remove build/"
	@echo "PYTHON=$(PYTHON) is the interpreter that Neve is built for."

run: deps-run
	@package=$$($(TOOL) tools/build.py package --python '$(PYTHON)') && \
	PYTHONPATH=$$package '$(PYTHON)' examples/prefork.py $(ARGS)

build: deps-run
	@$(TOOL) tools/build.py package --python '$(PYTHON)'

test:
	@sh tools/deps.sh test programs
	@$(TOOL) tools/run_tests.py --python '$(PYTHON)' $(TEST_FLAGS)

bench:
	@sh tools/deps.sh bench
	@$(TOOL) tools/run_bench.py --python '$(PYTHON)' $(BENCH_FLAGS)

deps:
	@sh tools/deps.sh run test programs bench

deps-run:
	@sh tools/deps.sh run

install: deps-run
	@$(TOOL) tools/build.py install --prefix '$(PREFIX)'

format:
	@$(TOOL) tools/check_style.py --fix

check:
	@$(TOOL) tools/check_layers.py
	@$(TOOL) tools/check_style.py

clean:
	rm -rf build
