# SPDX-License-Identifier: MIT
"""examples/foreign, the object model of docs/host.md: what it prints in every mode, with a collection at every
safe point, and when each allocation fails in turn. It is built with sanitizers and NEVE_DEBUG, and checks
itself at the end."""

import os
import pathlib
import re
import subprocess

import pytest
from conftest import ROOT, environment

FOREIGN = pathlib.Path(os.environ.get("NEVE_TEST_FOREIGN", ROOT / "build/asan/examples/foreign"))


def run(*words, **changes):
    return subprocess.run([FOREIGN, *words], capture_output=True, text=True, timeout=120,
                          env=environment(changes))


def printed():
    """What docs/host.md says that the program prints."""
    section = (ROOT / "docs/host.md").read_text().split("## A worked example")[1]
    return re.search(r"It prints:\n\n```\n(.*?)```", section, re.S).group(1)


@pytest.mark.parametrize("mode", ["generational", "incremental", "snapshot"])
@pytest.mark.parametrize("stress", ["0", "1"])
def test_output(mode, stress):
    done = run(mode, NEVE_GC_STRESS=stress, NEVE_SNAPSHOT_LEAST="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == printed()


@pytest.mark.parametrize("number", [1, 2, 3, 5, 8, 20, 40, 60])
def test_allocation_fails(number):
    """One line and status 1, or else the program did without: a table of the collector's own."""
    done = run(NEVE_FAIL_ALLOC_AT=str(number))
    assert done.returncode in (0, 1), done.stderr
    if done.returncode == 1:
        assert re.fullmatch(r"foreign: (not enough memory|not as expected: .*)\n(foreign: .*\n)*",
                            done.stderr)


def test_bad_command_line():
    for words in (["fast"], ["incremental", "twice"]):
        done = run(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "usage: foreign [generational|incremental|snapshot]\n"


def test_size():
    """It is to be read: the model and its descriptor stay short, and know public headers only."""
    folder = ROOT / "examples/foreign"
    for name in ("value.h", "value.c", "host.c"):
        assert len((folder / name).read_text().splitlines()) < 150
    assert re.findall(r"#include <(neve.*)>", "".join(p.read_text() for p in folder.iterdir())) \
        == ["neve.h"]
