# SPDX-License-Identifier: MIT
"""What `meson install` leaves behind serves others: programs are built against a fresh copy by
pkg-config, by CMake, in C++, and with Neve as a subproject of Meson, and are run."""

import pathlib
import re
import shutil

import pytest
from conftest import FLAGS, HERE, ROOT, need, pkg_config, run

VERSION = re.search(r"^  version: '([^']+)'", (ROOT / "meson.build").read_text(), re.M).group(1)
MINOR = VERSION.rpartition(".")[0]


def expected(language):
    return f"{language}: neve {VERSION}, headers {VERSION}, collected 2\n"


def test_pkg_config(prefix, tmp_path):
    assert pkg_config(prefix, "--modversion") == [VERSION]
    program = tmp_path / "program"
    run("cc", "-std=c11", *FLAGS, HERE / "program.c", "-o", program,
        *pkg_config(prefix, "--cflags", "--libs"))
    # Neve's folder comes from the caller, so the program was linked with the shared library.
    assert run(program, LD_LIBRARY_PATH=str(prefix / "lib")) == expected("C")
    assert f"libneve.so.{MINOR}" in run("readelf", "-d", program)


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("standard", ["c++11", "c++20"])
def test_cpp(prefix, tmp_path, compiler, standard):
    need(compiler)
    program = tmp_path / "program"
    run(compiler, f"-std={standard}", *FLAGS, HERE / "program.cpp", "-o", program,
        *pkg_config(prefix, "--cflags", "--libs"))
    assert run(program, LD_LIBRARY_PATH=str(prefix / "lib")) == expected("C++")


@pytest.mark.parametrize("language", ["c", "c++"])
def test_every_header_stands_alone(prefix, tmp_path, language):
    headers = sorted(path.relative_to(prefix / "include")
                     for path in (prefix / "include").rglob("*.h"))
    assert pathlib.Path("neve/version.h") in headers and len(headers) >= 8
    wanted = {path.relative_to(ROOT / "include") for path in (ROOT / "include").rglob("*.h")}
    assert wanted < set(headers)
    for header in headers:
        source = tmp_path / "one.c"
        source.write_text(f"#include <{header}>\nint one;\n")
        run("cc", "-x", language, *FLAGS, "-fsyntax-only", f"-I{prefix}/include", source)


CMAKE = """
cmake_minimum_required(VERSION 3.16)
project(uses_neve C)
find_package(neve {wanted} REQUIRED)
add_executable(shared "{source}")
target_link_libraries(shared neve::neve)
add_executable(static "{source}")
target_link_libraries(static neve::static)
"""


def cmake(prefix, folder, wanted, status=0):
    (folder / "CMakeLists.txt").write_text(CMAKE.format(wanted=wanted, source=HERE / "program.c"))
    return run("cmake", "-S", folder, "-B", folder / "build", "-G", "Ninja",
               f"-DCMAKE_PREFIX_PATH={prefix}", status=status)


def test_cmake(prefix, tmp_path):
    need("cmake")
    # Nothing in the package names the place where it was installed.
    moved = tmp_path / "moved"
    shutil.copytree(prefix, moved, symlinks=True)
    cmake(moved, tmp_path, MINOR)
    run("ninja", "--quiet", "-C", tmp_path / "build")
    for name, is_shared in (("shared", True), ("static", False)):
        program = tmp_path / "build" / name
        assert run(program) == expected("C")
        assert (f"libneve.so.{MINOR}" in run("readelf", "-d", program)) == is_shared


def test_cmake_without_a_library(prefix, tmp_path):
    """Headers and package alone are not found, however often one asks, and define no target."""
    need("cmake")
    shutil.copytree(prefix, tmp_path / "bare", symlinks=True,
                    ignore=shutil.ignore_patterns("libneve.*"))
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(asks_twice C)\n"
        "foreach(try 1 2)\n  find_package(neve QUIET)\n"
        "  if(neve_FOUND OR TARGET neve::neve)\n    message(FATAL_ERROR \"try ${try}\")\n"
        "  endif()\nendforeach()\nmessage(\"asked ${neve_CONSIDERED_CONFIGS}\")\n")
    out = run("cmake", "-S", tmp_path, "-B", tmp_path / "build", "-G", "Ninja",
              f"-DCMAKE_PREFIX_PATH={tmp_path / 'bare'}")
    assert f"asked {tmp_path / 'bare'}" in out


@pytest.mark.parametrize("wanted, suits", [("", True), ("0", True), (VERSION, True), ("99", False),
                                           (MINOR + ".99", False), ("0.0", False)])
def test_cmake_versions(prefix, tmp_path, wanted, suits):
    need("cmake")
    script = tmp_path / "ask.cmake"
    script.write_text(f'set(PACKAGE_FIND_VERSION "{wanted}")\n'
                      f"set(PACKAGE_FIND_VERSION_COUNT {len(wanted.split('.'))})\n"
                      f"set(PACKAGE_FIND_VERSION_MAJOR {(wanted or VERSION).split('.')[0]})\n"
                      f"set(PACKAGE_FIND_VERSION_MINOR {((wanted or VERSION) + '.0').split('.')[1]})\n"
                      f'include("{prefix}/lib/cmake/neve/neve-config-version.cmake")\n'
                      'message("suits: ${PACKAGE_VERSION_COMPATIBLE}")\n')
    assert run("cmake", "-P", script) == f"suits: {str(suits).upper()}\n"


def test_meson_subproject(tmp_path):
    """With the wrap file that docs/api.md gives; its repository is this checkout."""
    wrap = re.search(r"```ini\n(\[wrap-git\].*?)```", (ROOT / "docs/api.md").read_text(), re.S)
    subprojects = tmp_path / "subprojects"
    subprojects.mkdir()
    (subprojects / "neve.wrap").write_text(wrap.group(1))
    (subprojects / "neve").symlink_to(ROOT)
    for name in ("program.c", "program.h"):
        shutil.copy(HERE / name, tmp_path)
    (tmp_path / "meson.build").write_text(
        "project('uses_neve', 'c', default_options: ['default_library=static'])\n"
        "executable('program', 'program.c', dependencies: dependency('neve', "
        "version: '>= 0.1'))\n")
    run("meson", "setup", "-Doptimization=0", tmp_path / "build", tmp_path)
    run("ninja", "--quiet", "-C", tmp_path / "build", "program")
    assert run(tmp_path / "build/program") == expected("C")


def test_exports(prefix):
    """Nothing but neve_*, under the version of the ABI, and all that the headers declare."""
    library = prefix / "lib" / f"libneve.so.{VERSION}"
    names = run("nm", "-D", "--defined-only", "--with-symbol-versions", library).split()[2::3]
    assert "NEVE_0.1" in names
    functions = {name for name in names if not name.startswith("NEVE_")}
    assert functions and all(re.fullmatch(r"neve_\w+@@NEVE_0\.1", name) for name in functions)
    declared = set()
    for header in (prefix / "include").rglob("*.h"):
        declared |= set(re.findall(r"^NEVE_API [^;(]*?\b(neve_\w+)\(", header.read_text(), re.M))
    assert declared == {name.split("@")[0] for name in functions}
    assert f"[libneve.so.{MINOR}]" in run("readelf", "-d", library)


@pytest.mark.parametrize("page", ["man1/neve.1", "man3/libneve.3"])
def test_manual_pages(prefix, page):
    need("groff")
    path = prefix / "share/man" / page
    assert run("groff", "-man", "-ww", "-z", path) == ""
    text = run("groff", "-man", "-Tascii", "-P", "-cbou", path)
    if page.startswith("man1"):
        # One section for each command that the program has.
        for line in re.findall(r"^  (\w+)  +\S", run(prefix / "bin/neve", "--help"), re.M):
            assert f"NEVE {line.upper()}\n" in text
    else:
        # What it names exists.
        library = run("nm", "-D", "--defined-only", prefix / "lib/libneve.so")
        headers = "".join(header.read_text() for header in (prefix / "include").rglob("*.h"))
        named = set(re.findall(r"\b(neve_\w+)\(\)", text))
        assert len(named) > 20
        for name in named:
            assert re.search(rf"\b{name}\b", library) or f"inline bool {name}(" in headers \
                or re.search(rf"inline [^;]*\b{name}\(", headers), name
