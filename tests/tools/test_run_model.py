# SPDX-License-Identifier: MIT
"""tests/model/run_model.py takes no search for complete that is not, and no fault for found."""

import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

TOOL = pathlib.Path(__file__).resolve().parents[1] / "model" / "run_model.py"
SMALL = "OBJECTS=2 SLOTS=1"

needs_spin = pytest.mark.skipif(shutil.which("spin") is None, reason="spin is not installed")


@pytest.fixture
def runner():
    spec = importlib.util.spec_from_file_location("run_model", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_spin
def test_a_search_that_was_cut_off_is_no_pass(runner):
    runner.PASSES["small"] = (SMALL, 100_000, 20)
    problem, figures, _ = runner.check_pass("small")
    assert problem is None and "states" in figures
    runner.PASSES["small"] = (SMALL, 200, 20)
    assert "not searched to its end" in runner.check_pass("small")[0]
    runner.PASSES["small"] = (SMALL, 100_000, 16)
    runner.MEMORY_MB = 6
    assert runner.check_pass("small")[0] is not None


@needs_spin
def test_a_fault_must_be_found_by_its_own_assertion(runner):
    assert "nothing did" in runner.check_found("FAULT_OF_NO_EFFECT", SMALL, ["invariant_2"])[0]
    definitions = SMALL + " ALL_SUSPECT"
    assert "and invariant_5 did" in runner.check_found("FAULT_NO_HOLD", definitions,
                                                       ["invariant_2"])[0]
    assert runner.check_found("FAULT_NO_HOLD", definitions, ["invariant_5"])[0] is None


@needs_spin
def test_a_model_with_a_fault_is_no_pass(runner):
    runner.PASSES["small"] = (SMALL + " FAULT_TRUST_MARKS", 100_000, 20)
    assert runner.check_pass("small")[0] == "invariant_2 does not hold"


def test_each_fault_and_situation_of_the_model_is_checked(runner):
    """A macro of the model that the runner does not know is a rule that nobody tests."""
    text = runner.MODEL.read_text(encoding="utf-8")
    assert set(re.findall(r"FAULT_([A-Z_]+[A-Z])", text)) == set(runner.FAULTS)
    assert set(re.findall(r"WITNESS_([A-Z_]+[A-Z])", text)) == set(runner.WITNESSES)


def test_an_unknown_check_is_named():
    done = subprocess.run([sys.executable, "-B", TOOL, "no-such"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "no-such" in done.stderr
