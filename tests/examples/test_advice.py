# SPDX-License-Identifier: MIT
"""examples/advice: every program runs in its variants on both sides, and the table says so."""

import json
import os
import subprocess

import pytest
from conftest import ROOT, environment

RUN = ROOT / "examples/advice/run.py"
PYTHON = os.environ.get("NEVE_TEST_PYTHON", "/usr/bin/python3")


def run(*words, **changes):
    return subprocess.run([PYTHON, "-B", RUN, *words], capture_output=True, text=True, timeout=300,
                          env=environment(changes))


def test_all_programs_on_both_sides():
    done = run("--rounds", "1", "--scale", "0.001", "--json", NEVE="0", NEVE_MODE="nonsense")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    programs = {path.stem for path in RUN.parent.glob("*.py")} - {"run", "measure"}
    assert set(results) == programs and len(programs) >= 8
    for program, variants in results.items():
        assert len(variants) >= 2, program
        for sides in variants.values():
            assert set(sides) == {"stock", "Neve"}
            for side in sides.values():
                assert side["time_ms"] > 0 and side["peak_mib"] > 0, (program, side)
    # Ten explicit collections, whose time is seen on both sides.
    for side in results["pruned"]["as computed"].values():
        assert side["collections"] >= 10 and 0 < side["collector_ms"] <= side["time_ms"]


def test_table():
    done = run("slots", "--rounds", "1", "--scale", "0.001")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| slots | ")]
    assert [row.split(" | ")[1] for row in rows] == ["dicts", "slots"]
    assert all(row.count("|") == 9 for row in rows)


@pytest.mark.parametrize("words", [["nonsense"], ["--rounds", "0"], ["--scale", "-1"],
                                   ["--scale", "nan"], ["--nonsense"]])
def test_command_lines(words):
    done = run(*words)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_without_neve():
    done = run("slots", "--rounds", "1", "--scale", "0.001", PYTHONPATH="")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "on Neve" in done.stderr
