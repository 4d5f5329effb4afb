# SPDX-License-Identifier: MIT
"""A fresh build of the library, without optimization, that is installed once for all tests here."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests/install"
FLAGS = ["-Wall", "-Wextra", "-pedantic", "-Werror"]
# The caller's flags are not the subject, and sanitizers of his would change the library.
ENVIRONMENT = {name: value for name, value in os.environ.items()
               if name not in ("CFLAGS", "CXXFLAGS", "LDFLAGS", "DESTDIR", "CC", "CXX")}


def run(*command, status=0, **environment):
    """Run a command; its output, both streams, if it ends with `status`."""
    done = subprocess.run([str(word) for word in command], text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**ENVIRONMENT, **environment})
    assert (done.returncode == 0) == (status == 0), f"{command}\n{done.stdout}"
    return done.stdout


def need(tool):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed (make deps)")


@pytest.fixture(scope="session")
def prefix(tmp_path_factory):
    """The folder into which a fresh build was installed, and then moved."""
    folder = tmp_path_factory.mktemp("install")
    run("meson", "setup", folder / "build", ROOT, "-Dtests=false", "--buildtype=debug",
        "-Doptimization=0", f"--prefix={folder / 'first'}", "--libdir=lib")
    run("ninja", "--quiet", "-C", folder / "build")
    run("meson", "install", "--no-rebuild", "-C", folder / "build")
    return folder / "first"


def pkg_config(prefix, *words):
    return run("pkg-config", *words, "neve", PKG_CONFIG_PATH=str(prefix / "lib/pkgconfig")).split()
