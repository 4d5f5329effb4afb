# SPDX-License-Identifier: MIT
"""pytest with workers of xdist, and with a forked process for each test."""

import re

import harness
import pytest

PROJECT = harness.HERE / "pytest_project"
FAILING = 3
TESTS = 60 + 40 + 12 + 4 + 4


@pytest.mark.parametrize("options, how", [
    (["-n", "2", "--dist", "load"], "environment"),
    (["--forked"], "runner"),
    (["-n", "2", "--forked"], "environment")], ids=["xdist", "forked", "both"])
def test_pytest(tmp_path, options, how):
    def run(side):
        out, err = side.run("-m", "pytest", "-v", "-rA", "--rootdir", PROJECT, "-c",
                            PROJECT / "pytest.ini", "--basetemp", side.folder / "tmp", *options,
                            PROJECT, status=1)
        # Which worker ran a test, and in which order they came.
        out = re.sub(r"\[gw\d\] *(\[ *\d+%\] *)?|\[ *\d+%\]|\bin \d[\d.]*s\b", "", out)
        out = re.sub(r" +$|^=+|=+$|^_+|_+$", "", out, flags=re.M)
        return {"out": harness.sorted_lines(out), "err": err}

    sides = harness.compare(tmp_path, run, how)
    text = (tmp_path / "neve.program.out").read_text()
    assert f"{FAILING} failed, {TESTS - FAILING - 2} passed, 1 skipped, 1 xfailed" in text
    for side in sides.values():
        assert len(side.pids("controller")) == 1
        assert len(side.pids("worker")) == (2 if "-n" in options else 0)
        tests = side.pids("test")
        if "--forked" in options:
            # Each in a process of its own.
            assert len(tests) == 12 and len(side.pids("fork")) >= TESTS - 2
        else:
            assert tests <= side.pids("worker")
        assert tests and all(side.full_collections(pid) > 0 for pid in tests)
