# SPDX-License-Identifier: MIT
"""The harness notices what it is there to notice: differences, processes on the wrong side, crashes,
programs that do not end."""

import os
import time

import harness
import pytest

NOTE = "import witness; witness.note('main')\n"


def program(tmp_path, text):
    path = tmp_path / "program.py"
    path.write_text(NOTE + text)
    return path


def both(tmp_path, text, how="environment", **options):
    path = program(tmp_path, text)
    return harness.compare(tmp_path, lambda side: {"out": side.run(path, **options)[0]}, how)


@pytest.mark.parametrize("how", ["runner", "environment"])
def test_same(tmp_path, how):
    sides = both(tmp_path, "import os; print('hello', os.getcwd(), object())", how)
    for name, side in sides.items():
        assert {note["neve"] for note in side.notes()} == {name == "neve"}
        assert [note["role"] for note in side.notes()] == ["main", "exit"]


def test_a_difference(tmp_path):
    with pytest.raises(AssertionError, match="(?s)Neve behaves otherwise.*-stock\n.*\\+neve"):
        both(tmp_path, "import sys; print('neve' if 'neve' in sys.modules else 'stock')")


def test_a_process_on_the_wrong_side(tmp_path):
    with pytest.raises(AssertionError, match="process on the wrong side"):
        both(tmp_path, "import subprocess, sys, os; env = dict(os.environ, NEVE='0'); print(1)\n"
             "subprocess.run([sys.executable, '-c', 'import witness; witness.note(\"child\")'],"
             " env=env)")


def test_a_process_that_leaves_its_side(tmp_path):
    with pytest.raises(AssertionError, match="process on the wrong side.*after"):
        both(tmp_path, "import sys; print(1)\n"
             "if 'neve' in sys.modules: sys.modules['neve'].uninstall(); witness.note('after')")


def test_a_program_that_says_nothing(tmp_path):
    with pytest.raises(AssertionError, match="no process left a note"):
        harness.compare(tmp_path, lambda side: {"out": ""}, "runner")
    with pytest.raises(AssertionError, match="nothing that could be compared"):
        harness.check_same({}, {})


def test_a_crash_in_a_child(tmp_path):
    """Also where the program itself ends well."""
    with pytest.raises(AssertionError, match="Segmentation fault"):
        both(tmp_path, "import os, signal\nif os.fork() == 0: os.kill(os.getpid(), signal.SIGSEGV)"
             "\nelse: os.wait(); print('fine')")


def test_the_wrong_status(tmp_path):
    with pytest.raises(AssertionError, match="status 3"):
        both(tmp_path, "raise SystemExit(3)")


def test_a_program_that_hangs(tmp_path):
    """It is ended, and its children with it."""
    with pytest.raises(AssertionError, match="still running after 3 s"):
        both(tmp_path, "import os, time\nchild = os.fork()\n"
             "if child: open('child', 'w').write(str(child))\ntime.sleep(600)", timeout=3)
    child = int((tmp_path / "stock" / "child").read_text())

    def state():
        try:
            with open(f"/proc/{child}/stat", encoding="ascii") as file:
                return file.read().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return "gone"

    # It was killed, and dies when it gets the processor: it sleeps for much longer by itself.
    deadline = time.monotonic() + 60
    while state() not in ("Z", "X", "gone"):
        assert time.monotonic() < deadline, state()
        time.sleep(0.02)


def test_collections_are_counted_by_process(tmp_path):
    sides = both(tmp_path, "import gc, os\ngc.collect(); gc.collect()\n"
                 "if os.fork() == 0: gc.collect(); witness.note('child'); os._exit(0)\n"
                 "os.wait(); print(1)")
    for side in sides.values():
        [child], [main] = side.pids("child"), side.pids("main")
        assert side.full_collections(child) == 1 and side.full_collections(main) >= 2


def test_what_is_normalised(tmp_path):
    side = harness.Side("stock", tmp_path, "runner", ())
    text = (f"{side.folder}/file <object at 0x7f0012345678> [2026-01-02 03:04:05 +0000] "
            "took 1.25s, 3.5 seconds, 42 and 2.5")
    assert side.normalised(text) == ("FOLDER/file <object at 0xADDRESS> [DATE] took N s, N s, "
                                     "42 and 2.5")
    side.notes_file.write_text(f'{{"role": "x", "pid": {os.getpid()}, "neve": false}}\n')
    pid = os.getpid()
    assert side.without_pids(f"[{pid}] pid {pid}; 1{pid}") == f"[PID] pid PID; 1{pid}"
    assert side.without_pids(f"[1, {pid}], [{pid}, 1]") == f"[1, {pid}], [{pid}, 1]"
