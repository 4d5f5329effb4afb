# SPDX-License-Identifier: MIT
"""tools/cross.py: what the machines' files say, and that nothing is fetched without need."""

import json
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import build  # noqa: E402
import cross  # noqa: E402
import fetch_pythons  # noqa: E402


def test_big_endian_arm_and_32_bits_are_there():
    values = {(cross.read(name, "host_machine", "endian"),
               cross.read(name, "host_machine", "cpu_family")) for name in cross.machines()}
    assert {("big", "s390x"), ("little", "aarch64"), ("little", "arm"),
            ("little", "x86")} <= values


@pytest.mark.parametrize("name", cross.machines())
def test_machine(name):
    assert name in build.PRESETS
    group = re.search(r'cross_packages="([^"]*)"', (ROOT / "tools/deps.sh").read_text()).group(1)
    compiler = cross.read(name, "binaries", "c")
    assert "gcc-" + compiler.removesuffix("-gcc") in group.split()
    architecture = cross.read(name, "properties", "debian_architecture")
    assert f"libc6-dev-{architecture}-cross" in group.split()
    emulator = cross.emulator(name)
    assert bool(emulator) == cross.read(name, "properties", "needs_exe_wrapper")
    # Where the compiler's package has the C library for these programs.
    assert emulator[1:] in ([], ["-L", "/usr/" + compiler.removesuffix("-gcc")])


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(cross.CrossError, match=r"s390x-linux-gnu-gcc is not installed: .*cross"):
        cross.fetch("s390x")
    with pytest.raises(build.BuildError, match="is not installed"):
        build.configure("s390x")


def test_what_is_unpacked_is_not_fetched_again(monkeypatch, tmp_path):
    monkeypatch.setattr(cross, "INTO", tmp_path)
    monkeypatch.setattr(cross, "require_tools", lambda name: None)

    def refuse(*_):
        raise fetch_pythons.NoNetwork("no list of packages could be read")

    monkeypatch.setattr(fetch_pythons, "Apt", refuse)
    with pytest.raises(cross.CrossError, match="cmocka for armhf: no list of packages"):
        cross.fetch("armhf")
    folder = tmp_path / "armhf/root/usr/lib/arm-linux-gnueabihf/pkgconfig"
    folder.mkdir(parents=True)
    stamp = [str(tmp_path / "armhf/root"), cross.PACKAGES]
    (tmp_path / "armhf/stamp.json").write_text(json.dumps(stamp))
    assert cross.fetch("armhf") == folder
    # Moved, its cmocka.pc names the old place.
    (tmp_path / "armhf/stamp.json").write_text(json.dumps(["/elsewhere", cross.PACKAGES]))
    with pytest.raises(cross.CrossError):
        cross.fetch("armhf")
