#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the C tests are built and run with for other machines than this one.

Each machine is a Meson cross file, tools/cross/NAME.ini: the compiler is a package of Debian's (deps.sh
cross), the programs run by themselves (i386) or under qemu-user.  The one library that the tests need
beside the C library, cmocka, is unpacked from Debian's package for that architecture below
build/cross/NAME; nothing is installed, and dpkg is told of no foreign architecture.
"""

import ast
import configparser
import json
import pathlib
import shutil

import fetch_pythons

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = ROOT / "tools/cross"
INTO = ROOT / "build/cross"
PACKAGES = ["libcmocka0", "libcmocka-dev"]


class CrossError(Exception):
    """Carries one line for the user."""


def machines():
    """The names of all machines."""
    return sorted(path.stem for path in FILES.glob("*.ini"))


def text(name):
    """A machine's cross file."""
    return (FILES / f"{name}.ini").read_text(encoding="utf-8")


def read(name, section, key):
    """A value of a machine's cross file, or None; lists and strings are written as in Python,
    truth values in small letters."""
    parser = configparser.ConfigParser()
    parser.read_string(text(name))
    value = parser.get(section, key, fallback=None)
    if value in ("true", "false"):
        return value == "true"
    return None if value is None else ast.literal_eval(value)


def emulator(name):
    """The words before a program's name that run it here; none where the processor does."""
    return read(name, "binaries", "exe_wrapper") or []


def require_tools(name):
    """Whether the machine's compiler and emulator are here, or CrossError with what to do."""
    compiler = read(name, "binaries", "c")
    for tool in [compiler if isinstance(compiler, str) else compiler[0], *emulator(name)[:1]]:
        if not shutil.which(tool):
            raise CrossError(f"{tool} is not installed: run sh tools/deps.sh cross")


def unpacked(name):
    """Where a machine's packages are unpacked, each file at its place below."""
    return INTO / name / "root"


def pkg_config_folder(name):
    """The folder of the machine's cmocka.pc, or None while it is not unpacked."""
    found = sorted(unpacked(name).glob("usr/lib/*/pkgconfig"))
    return found[0] if found else None


def fetch(name):
    """Unpack cmocka for a machine, unless it is there; returns the folder of its cmocka.pc."""
    require_tools(name)
    stamp = INTO / name / "stamp.json"
    wanted = [str(unpacked(name)), PACKAGES]
    if not stamp.exists() or json.loads(stamp.read_text(encoding="utf-8")) != wanted:
        try:
            unpack(name)
        except fetch_pythons.FetchError as error:
            raise CrossError(f"cmocka for {name}: {error}") from error
        stamp.write_text(json.dumps(wanted), encoding="utf-8")
    return pkg_config_folder(name)


def unpack(name):
    """Have apt download the packages, from this machine's own release, and unpack them."""
    shutil.rmtree(INTO / name, ignore_errors=True)
    apt = fetch_pythons.Apt(INTO / name / "apt", [fetch_pythons.codename()],
                            read(name, "properties", "debian_architecture"))
    apt.update()
    status, output = apt.call("apt-get", "download", *PACKAGES)
    files = sorted(apt.folder.glob("*.deb"))
    if status != 0 or len(files) != len(PACKAGES):
        raise fetch_pythons.FetchError(f"{' and '.join(PACKAGES)} could not be downloaded: "
                                       f"{(output.strip().splitlines() or ['no reason given'])[-1]}")
    for file in files:
        fetch_pythons.run(["dpkg-deb", "-x", str(file), str(unpacked(name))],
                          f"unpacking {file.name}")
    shutil.rmtree(apt.folder)
    # It names the place that it would be installed in.
    for file in pkg_config_folder(name).glob("*.pc"):
        file.write_text(file.read_text(encoding="utf-8").replace("/usr", f"{unpacked(name)}/usr"),
                        encoding="utf-8")
