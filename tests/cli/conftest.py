# SPDX-License-Identifier: MIT
"""Fixtures of the tests of the program `neve`; what runs interpreters is shared with tests/python."""

import os
import pathlib
import shutil
import sys

import pytest

for folder in ("python", "cli"):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / folder))

import harness  # noqa: E402
from support import PROGRAM  # noqa: E402


def pytest_sessionstart(session):
    if not PROGRAM.exists() or harness.package_folder() is None:
        pytest.exit(f"build/neve or the package is not built: make PYTHON={harness.PYTHON} build",
                    returncode=1)


@pytest.fixture
def runner(tmp_path):
    """Runs programs in an empty folder."""
    (tmp_path / "work").mkdir()
    return harness.Runner(tmp_path / "work")


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The interpreter of a virtual environment that holds Neve."""
    return harness.environment_with_neve(tmp_path_factory.mktemp("installed") / "env")


@pytest.fixture
def neve(runner):
    """Runs build/neve; the interpreter under test is found as python3 in PATH, and the package
    beside the program only."""
    path = runner.folder.parent / "bin"
    path.mkdir()
    # Not a link: an interpreter looks for its virtual environment beside its own name.
    (path / "python3").write_text(f'#!/bin/sh\nexec "{harness.PYTHON}" "$@"\n')
    (path / "python3").chmod(0o755)

    def run(*words, env=None, program=PROGRAM, **options):
        changes = {"PYTHONPATH": None, "VIRTUAL_ENV": None, "PATH": f"{path}:{os.environ['PATH']}"}
        return runner.execute(words, python=program, env={**changes, **(env or {})}, **options)

    run.path = path
    return run


@pytest.fixture
def elsewhere(tmp_path):
    """A copy of the program that has no package beside it."""
    (tmp_path / "elsewhere").mkdir()
    return shutil.copy(PROGRAM, tmp_path / "elsewhere/neve")
