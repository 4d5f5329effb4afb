# SPDX-License-Identifier: MIT
"""Where the example VM and the package under test are; both are built by `run_tests.py --only examples`."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
VM = pathlib.Path(os.environ.get("NEVE_TEST_VM", ROOT / "build/asan/examples/vm"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))


def pytest_sessionstart(session):
    if not VM.exists():
        pytest.exit("the example VM is not built: tools/run_tests.py --only examples does that",
                    returncode=1)


def environment(changes):
    """The caller's without what would change the VM; the sanitizers end it at the first finding."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("NEVE")}
    env.update({"ASAN_OPTIONS": "detect_leaks=1:exitcode=86",
                "UBSAN_OPTIONS": "halt_on_error=1:exitcode=86"})
    env.update(changes)
    return env


@pytest.fixture
def vm(tmp_path):
    """Runs the VM, with --check, on a program's file or its text."""

    def run(program, *arguments, options=("--check",), **changes):
        if isinstance(program, str):
            (tmp_path / "p.vm").write_text(program)
            program = "p.vm"
        return subprocess.run([VM, *options, program, *arguments], cwd=tmp_path, text=True,
                              env=environment(changes), capture_output=True, timeout=120)
    return run
