# SPDX-License-Identifier: MIT
"""Fails the whole run when there is no built package of Neve to run programs on, or when a package
is missing that they need."""

import importlib.util
import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import harness  # noqa: E402

# A suite that the programs run: of its own, with another name for its tests.
collect_ignore = ["pytest_project"]

MODULES = ["django", "gunicorn", "celery", "aiohttp", "httpx", "sphinx", "mypy", "xdist",
           "pytest_forked"]


def pytest_sessionstart(session):
    if harness.package_folder() is None:
        pytest.exit("no built package of Neve for this interpreter, neither on PYTHONPATH nor in "
                    f"build/python/{sys.implementation.cache_tag}: build it with make "
                    f"PYTHON={sys.executable}", returncode=1)
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    missing += [name for name in ["uwsgi", "wrk"] if shutil.which(name) is None]
    if missing:
        pytest.exit(f"{sys.executable} lacks {', '.join(missing)}: sh tools/deps.sh programs "
                    "installs them for Debian's own interpreter", returncode=1)
