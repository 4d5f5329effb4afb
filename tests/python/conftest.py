# SPDX-License-Identifier: MIT
"""Fixtures of the Python tests; fails the whole run when there is no built package to test."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import harness  # noqa: E402


def pytest_sessionstart(session):
    if harness.package_folder() is None:
        pytest.exit("no built package of Neve for this interpreter, neither on PYTHONPATH nor in "
                    f"build/python/{harness.CACHE_TAG}: build it with make "
                    f"PYTHON={harness.PYTHON}", returncode=1)


@pytest.fixture
def runner(tmp_path):
    """Runs programs in an empty folder."""
    return harness.Runner(tmp_path)
