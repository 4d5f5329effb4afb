# SPDX-License-Identifier: MIT
#
# The front door.  Each target is one command; the work is done by Meson and the scripts in tools/.

PYTHON       ?= /usr/bin/python3
# Where `make install` installs; without it, the C library and the program go to /usr/local and the
# Python package to where PYTHON looks for packages.
PREFIX       ?=
# Runs the scripts in tools/, whatever interpreter the extension is built for.
TOOLS_PYTHON ?= /usr/bin/python3
# Extra words for the command behind the target, as in
#   make test TEST_FLAGS="--only c-debug,pytest"    make run ARGS=--help
ARGS         ?=
TEST_FLAGS   ?=
BENCH_FLAGS  ?=
CPYTHON_FLAGS ?=

TOOL := $(TOOLS_PYTHON) -B
comma := ,

# Those that `make bench-prefork` measures; an interpreter that was asked for is the only one.
BENCH_PYTHONS := $(if $(filter file,$(origin PYTHON)),--versions 3.11$(comma)3.13$(comma)newest,--python '$(PYTHON)')

.PHONY: help run build vm test test-cpython pythons bench bench-native bench-pauses bench-prefork deps deps-run deps-wheel install \
        install-python wheel sdist format check clean

help:
	@echo "make run       build, then compare stock CPython and Neve on examples/prefork.py"
	@echo "make test      every test; ends in a line 'N passed, N failed'"
	@echo "make test-cpython  CPython's whole test suite on stock and on Neve; prints what differs"
	@echo "make pythons   fetch CPython 3.13 to 3.15 into build/pythons, for tests only"
	@echo "make bench     the benchmarks"
	@echo "make bench-native  libneve beside other allocators, collectors and languages; takes half an hour"
	@echo "make bench-pauses  pauses and memory of large heaps in every mode, with pictures; takes hours"
	@echo "make bench-prefork  memory and latency of gunicorn's workers under load, with pictures; takes an hour"
	@echo "make build     the importable Python package, in build/python/<cache tag>/, and build/neve"
	@echo "make vm        the example virtual machine, build/vm; docs/vm.md says what it runs"
	@echo "make deps      install the Debian packages that are missing"
	@echo "make install   the C library, its headers, neve.pc, the program neve, and the Python package"
	@echo "make install-python   the Python package alone, for PYTHON"
	@echo "make wheel     the wheel of the Python package, in build/dist/; make sdist: its sources"
	@echo "make check     style and layers"
	@echo "make format    clang-format on every C file"
	@echo "make clean     remove build/"
	@echo "PYTHON=$(PYTHON) is the interpreter that Neve is built for."

run: deps-run
	@package=$$($(TOOL) tools/build.py package --python '$(PYTHON)') && \
	PYTHONPATH=$$package '$(PYTHON)' examples/prefork.py $(ARGS)

build: deps-run
	@$(TOOL) tools/build.py package --python '$(PYTHON)'

vm: deps-run
	@$(TOOL) tools/build.py vm --python '$(PYTHON)'

test:
	@sh tools/deps.sh test pythons programs
	@$(TOOL) tools/fetch_pythons.py >/dev/null || \
	    echo "neve: not all interpreters could be fetched: fewer are tested, as named below" >&2
	@$(TOOL) tools/run_tests.py --python '$(PYTHON)' $(TEST_FLAGS)

test-cpython: deps-run
	@$(TOOL) tools/test_cpython.py --python '$(PYTHON)' $(CPYTHON_FLAGS)

pythons:
	@sh tools/deps.sh pythons
	@$(TOOL) tools/fetch_pythons.py

bench:
	@sh tools/deps.sh bench
	@$(TOOL) tools/run_bench.py --python '$(PYTHON)' $(BENCH_FLAGS)

bench-native:
	@sh tools/deps.sh peers
	@$(TOOL) bench/peers/run.py $(BENCH_FLAGS)

bench-pauses:
	@sh tools/deps.sh bench programs
	@$(TOOL) tools/run_bench.py --python '$(PYTHON)' --only bench_pauses -- $(BENCH_FLAGS)

bench-prefork:
	@sh tools/deps.sh bench programs pythons
	@$(TOOL) tools/fetch_pythons.py >/dev/null || \
	    echo "neve: not all interpreters could be fetched: fewer are measured, as named below" >&2
	@$(TOOL) tools/run_bench.py $(BENCH_PYTHONS) --only bench_prefork -- $(BENCH_FLAGS)

deps:
	@sh tools/deps.sh run test pythons programs bench

deps-wheel:
	@sh tools/deps.sh run wheel

deps-run:
	@sh tools/deps.sh run

install: deps-run
	@$(TOOL) tools/build.py install --python '$(PYTHON)' $(if $(PREFIX),--prefix '$(PREFIX)')

install-python: deps-run
	@$(TOOL) tools/build.py install --python '$(PYTHON)' --python-only \
	    $(if $(PREFIX),--prefix '$(PREFIX)')

wheel sdist: deps-wheel
	@$(TOOL) tools/build.py $@ --python '$(PYTHON)'

format:
	@$(TOOL) tools/check_style.py --fix

check:
	@$(TOOL) tools/check_layers.py
	@$(TOOL) tools/check_style.py

clean:
	rm -rf build
