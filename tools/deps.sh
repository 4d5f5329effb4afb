#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Install the Debian packages that a part of the project needs:
# deps.sh run|test|pythons|programs|wheel|bench|peers|cross...
# Nothing is asked of the network when dpkg says that all of them are there.

set -eu

run_packages="build-essential meson ninja-build pkg-config python3 python3-dev"
wheel_packages="python3-mesonpy"
test_packages="$run_packages $wheel_packages python3-pip python3-venv libcmocka-dev python3-pytest
               clang libclang-rt-dev llvm valgrind clang-format spin cmake groff-base
               libjemalloc2 libmimalloc2.0 libtcmalloc-minimal4"
# What tools/fetch_pythons.py needs to unpack interpreters of newer Debian suites.
pythons_packages="$run_packages patchelf"
# The programs of tests/programs, and what they are made of.
programs_packages="$run_packages python3-pytest python3-django gunicorn uwsgi-core
                   uwsgi-plugin-python3 celery python3-celery python3-aiohttp python3-httpx
                   python3-sphinx mypy python3-pytest-xdist python3-pytest-forked wrk"
bench_packages="$run_packages libmimalloc-dev libjemalloc-dev libtcmalloc-minimal4
                valgrind wrk python3-sphinx"
# What `make bench-native` compares Neve with; whoever lacks one gets the others' figures.
peers_packages="$bench_packages libgc-dev lua5.4 php-cli nim golang-go nodejs util-linux"

# Compilers for the machines of tools/cross, and what runs their programs.
cross_packages="$run_packages qemu-user gcc-i686-linux-gnu libc6-dev-i386-cross libc6-i386
                gcc-s390x-linux-gnu libc6-dev-s390x-cross gcc-aarch64-linux-gnu
                libc6-dev-arm64-cross gcc-arm-linux-gnueabihf libc6-dev-armhf-cross"

# The version of Python that the system has (Debian 12: 3.11).
version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null ||
          echo 3.11)

wanted=""
for group in "${@:-run}"; do
    case $group in
    run)   wanted="$wanted $run_packages" ;;
    test)  # CPython's own tests are a package for each version.
           wanted="$wanted $test_packages libpython$version-testsuite" ;;
    wheel) wanted="$wanted $wheel_packages" ;;
    bench) # Python's manual is what bench_pauses has Sphinx build.
           wanted="$wanted $bench_packages python$version-doc" ;;
    pythons) wanted="$wanted $pythons_packages" ;;
    programs) wanted="$wanted $programs_packages" ;;
    peers) wanted="$wanted $peers_packages" ;;
    cross) wanted="$wanted $cross_packages" ;;
    *)     echo "neve: deps.sh knows the groups run, test, pythons, programs, wheel, bench, peers and" \
                "cross, not '$group'" >&2
           exit 2 ;;
    esac
done

if ! command -v dpkg-query >/dev/null; then
    # Another distribution: what is missing shows in the build, with its name.
    command -v meson >/dev/null && command -v ninja >/dev/null && command -v cc >/dev/null && exit 0
    echo "neve: not a Debian system: install a C compiler, meson, ninja and Python's headers" >&2
    exit 1
fi

missing=""
for package in $(printf '%s\n' $wanted | sort -u); do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | head -c 9 || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root="env"
elif command -v sudo >/dev/null; then
    as_root="sudo env"
else
    echo "neve: neither root nor sudo here: have these packages installed:$missing" >&2
    exit 1
fi

echo "installing:$missing" >&2
as_root="$as_root DEBIAN_FRONTEND=noninteractive"
# A fresh machine has empty package lists, an old one stale ones: either fails to install at first.
install_missing() { $as_root apt-get install -y -q --no-install-recommends $missing >&2; }
if [ -n "$(find /var/lib/apt/lists -name '*_Packages*' 2>/dev/null | head -n 1)" ] &&
    install_missing; then
    exit 0
fi
$as_root apt-get update -q >&2
install_missing || { echo "neve: apt-get could not install:$missing" >&2; exit 1; }
