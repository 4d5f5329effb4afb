# SPDX-License-Identifier: MIT
"""What tools/build.py and other files of the build both say, they say alike."""

import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import build  # noqa: E402

tomllib = pytest.importorskip("tomllib")


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_wheel_is_a_release_build():
    options = project()["tool"]["meson-python"]["args"]["setup"]
    # meson-python sets -O2 itself, and leaves the symbols for debuggers out.
    release = [option for option in build.RELEASE if not option.startswith("--buildtype")]
    assert len(release) >= 2 and set(release) <= set(options)
    assert "--buildtype=debugoptimized" in build.RELEASE


def test_the_version_stands_in_one_place():
    metadata = project()["project"]
    assert "version" in metadata["dynamic"] and "version" not in metadata
    version = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text()).group(1)
    # Old versions of the changelog apart, nothing else states it.
    for path in [ROOT / "pyproject.toml", *ROOT.glob("python/**/*.py"), *ROOT.glob("cli/*"),
                 *ROOT.glob("src/**/*.[ch]")]:
        assert version not in path.read_text(), path
