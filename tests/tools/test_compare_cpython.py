# SPDX-License-Identifier: MIT
"""tools/test_cpython.py: how it reads outcomes, compares them, judges reruns and resumes."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

import test_cpython as tool  # noqa: E402

OUTPUT = """\
== CPython
0:00:00 Run tests sequentially
test_ok (test.test_x.T.test_ok) ... ok
test_prints (test.test_x.T.test_prints) ... printed
more
ok
test_skips (test.test_x.T.test_skips) ... skipped 'not here'
test_doc (test.test_x.T.test_doc)
What it does. ... ok
test_subs (test.test_x.T.test_subs) ...\x20
  test_subs (test.test_x.T.test_subs) (i=1) ... FAIL
test_xfail (test.test_x.T.test_xfail) ... expected failure
doctests (test.test_x.__test__)
Doctest: test.test_x.__test__.doctests ... ok
test_bad (test.test_x.T.test_bad) ... FAIL
test_worse (test.test_x.T.test_worse) ... ERROR

======================================================================
ERROR: test_worse (test.test_x.T.test_worse)
----------------------------------------------------------------------
Traceback (most recent call last):
ValueError: no

======================================================================
FAIL: test_subs (test.test_x.T.test_subs) (i=1)
----------------------------------------------------------------------
Traceback (most recent call last):
AssertionError: sub

======================================================================
FAIL: test_bad (test.test_x.T.test_bad)
With a docstring.
----------------------------------------------------------------------
Traceback (most recent call last):
AssertionError: 1 != 2

----------------------------------------------------------------------
Ran 9 tests in 0.1s

FAILED (failures=2, errors=1)
"""

REPORT = """<testsuites><testsuite>
<testcase name="test.test_x.T.test_ok" status="run" result="completed"/>
<testcase name="test.test_x.T.test_skips"><skipped>not here</skipped></testcase>
<testcase name="test.test_x.T.test_bad"><failure>1 != 2</failure></testcase>
<testcase name="test.test_x.T.test_worse"><error>no</error></testcase>
<testcase name="test.test_x.T.test_xfail"><output>x</output></testcase>
<testcase />
</testsuite></testsuites>"""


def result(tests=None, state="passed", status=0, texts=None, last=None):
    return {"state": state, "status": status, "tests": tests or {}, "texts": texts or {},
            "last": last, "seconds": 1.0, "limit_s": 10}


def test_outcomes_from_verbose_output(tmp_path):
    run = tool.read_run(2, OUTPUT, tmp_path / "none.xml")
    name = "test.test_x.T.test_"
    assert run["tests"] == {
        name + "ok": "passed", name + "prints": "passed", name + "skips": "skipped",
        name + "doc": "passed", name + "subs": "failed", name + "xfail": "expected failure",
        "test.test_x.__test__.doctests": "passed", name + "bad": "failed",
        name + "worse": "error"}
    assert run["state"] == "failed"
    assert run["texts"][name + "bad"].endswith("AssertionError: 1 != 2")
    assert "ValueError" in run["texts"][name + "worse"]


def test_outcomes_from_the_report_and_failed_subtests_from_the_output(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    run = tool.read_run(2, OUTPUT, report)
    name = "test.test_x.T.test_"
    assert run["tests"] == {
        name + "ok": "passed", name + "skips": "skipped", name + "bad": "failed",
        name + "worse": "error", name + "xfail": "expected failure", name + "subs": "failed"}


def test_a_crash_names_the_test_that_ran(tmp_path):
    output = OUTPUT.split("test_bad")[0] + textwrap.dedent("""\
        test_bad (test.test_x.T.test_bad) ... Fatal Python error: Segmentation fault

        Current thread 0x1 (most recent call first):
          File "x.py", line 3 in test_bad
        """)
    run = tool.read_run(-signal.SIGSEGV, output, tmp_path / "none.xml")
    assert run["state"] == "crashed" and run["last"] == "test.test_x.T.test_bad"
    assert "test.test_x.T.test_bad" not in run["tests"]
    stock = result({"test.test_x.T.test_ok": "passed", "test.test_x.T.test_bad": "passed",
                    "test.test_x.T.test_later": "passed"})
    items = tool.compare(stock, run)
    whole = [item for item in items if item["test"] == tool.FILE]
    assert len(whole) == 1 and whole[0]["neve"] == "crashed"
    assert "SIGSEGV in test.test_x.T.test_bad; 2 tests" in whole[0]["text"]


@pytest.mark.parametrize("status,output,state", [
    (0, "a (b.c) ... ok\n", "passed"),
    (0, "test_x skipped -- No module named 'y'\n", "skipped"),
    (None, "a (b.c) ... ", "timed out"),
    (-6, "", "crashed"),
    (2, "", "failed"),
    (0, "a (b.c) ... ok\ntest_x failed (env changed)\n", "env changed"),
    (3, "1 test altered the execution environment:\n", "env changed"),
])
def test_states(tmp_path, status, output, state):
    assert tool.read_run(status, output, tmp_path / "none.xml")["state"] == state


@pytest.mark.parametrize("before,after,differs", [
    ("passed", "failed", True), ("passed", "error", True), ("passed", "skipped", True),
    ("passed", None, True), ("expected failure", "unexpected success", True),
    ("skipped", "failed", True), (None, "failed", True),
    ("passed", "passed", False), ("failed", "failed", False), ("failed", "error", False),
    ("failed", "passed", False), ("skipped", "passed", False), ("skipped", None, False),
    ("expected failure", "passed", False), (None, "passed", False),
])
def test_what_counts_as_worse(before, after, differs):
    stock = result({"t": before, "u": "passed"} if before else {"u": "passed"})
    neve = result({"t": after, "u": "passed"} if after else {"u": "passed"})
    assert [item["test"] for item in tool.compare(stock, neve)] == (["t"] if differs else [])


def test_states_of_files_are_compared():
    tests = {"t": "passed"}
    for state, status in (("crashed", -11), ("timed out", None), ("env changed", 0),
                          ("failed", 1)):
        assert tool.compare(result(tests), result(tests, state, status))
        assert not tool.compare(result(tests, state, status), result(tests, state, status))
        assert not tool.compare(result(tests, state, status), result(tests))
    # A failed test says it already.
    neve = result({"t": "failed"}, "failed", 2)
    assert [item["test"] for item in tool.compare(result(tests), neve)] == ["t"]


def test_reruns_decide_between_different_and_flaky():
    good, bad = result({"t": "passed"}), result({"t": "failed"})
    first = tool.compare(good, bad)
    assert tool.judge(first, [(good, bad)] * 3)[0][0]["test"] == "t"
    assert tool.judge(first, [(good, bad)] * 3)[1] == []
    different, flaky = tool.judge(first, [(good, bad), (good, good), (good, bad)])
    assert different == [] and flaky[0]["again"] == "2 of 3"
    different, flaky = tool.judge(first, [(bad, bad), (good, bad), (good, bad)])
    assert different == [] and flaky[0]["stock_again"] == "1 of 3"


def test_a_crash_that_stock_never_had_differs_however_rare():
    good, crash = result({"t": "passed"}), result({}, "crashed", -11)
    first = tool.compare(good, crash)
    different, flaky = tool.judge(first, [(good, good)] * 3)
    assert [item["test"] for item in different] == [tool.FILE] and not flaky
    different, flaky = tool.judge(first, [(crash, good)] * 3)
    assert not different and [item["test"] for item in flaky] == [tool.FILE]


def test_expected_differences_are_taken_out_and_named():
    entry = tool.Expected("test.test_x.*", "neve*", "3.1[12]", "the reason")
    other = tool.Expected("test.test_y.*", "*", "*", "never seen")
    items = [{"test": "test.test_x.T.t"}, {"test": "test.test_z.T.t"}]
    rest, known, used = tool.split_expected(items, [entry, other])
    assert rest == items[1:] and known[0]["reason"] == "the reason" and used == {entry}

    # Of a whole file its environment alone can be expected, never a crash.
    changed = tool.Expected("test.test_x." + tool.ENV_CHANGED, "*", "*", "the reason")
    whole = {"test": tool.FILE, "file": "test_x"}
    env, crash = dict(whole, neve="env changed"), dict(whole, neve="crashed")
    rest, known, _ = tool.split_expected([env, crash, dict(env, file="test_y")], [changed, entry])
    assert known == [dict(env, reason="the reason")] and rest == [crash, dict(env, file="test_y")]
    assert tool.expected_of("neve", "3.11", ["test_x"], [changed]) == [changed]

    def applying(configuration, minor, names):
        return tool.expected_of(configuration, minor, names, [entry, other])

    assert applying("neve-stress", "3.11", ["test.test_x.test_part", "test_y"]) == [entry, other]
    assert applying("neve", "3.11", ["test_x"]) == [entry]
    assert applying("other", "3.11", ["test_x"]) == applying("neve", "3.13", ["test_x"]) == []


def test_a_mode_reaches_neve_and_is_checked(tmp_path):
    suite = tool.Suite("python", tmp_path, tmp_path, 10, False, "incremental")
    assert suite.environment("neve-incremental", "/tmp")["NEVE_MODE"] == "incremental"
    assert "NEVE_MODE" not in suite.environment("stock", "/tmp")
    other = tool.Suite("python", tmp_path, tmp_path, 10, False)
    assert "NEVE_MODE" not in other.environment("neve", "/tmp")
    stats = tmp_path / "stats.json"
    for one in (suite, other):
        assert "in charge" in one.was_not_tested(stats)
    stats.write_text('{"mode": "incremental"}')
    assert suite.was_not_tested(stats) is None and other.was_not_tested(stats) is None
    stats.write_text('{"mode": "generational"}')
    assert "generational" in suite.was_not_tested(stats) and other.was_not_tested(stats) is None
    # Entries of the table may be for one mode.
    entry = tool.Expected("test.test_x.*", "*-incremental", "*", "the reason")
    assert tool.expected_of("neve-stress-incremental", "3.11", ["test_x"], [entry]) == [entry]
    assert tool.expected_of("neve", "3.11", ["test_x"], [entry]) == []


def test_choosing_parts_of_packages():
    names = ["test_gc", "test.test_io.test_general", "test.test_iox", "test_gcx"]
    assert tool.choose(names, ["test_io", "test_gc"]) == names[:2]


def test_results_are_taken_up_again(tmp_path):
    marks = {"stock": ["3.11.2"], "neve": ["3.11.2", "one"]}
    store = tool.Store(tmp_path, marks)
    store.put("stock", "test_x", result({"t": "passed"}))
    store.put("neve", "test_x", {"run": result({"t": "failed"}), "reruns": None})
    again = tool.Store(tmp_path, marks)
    assert again.get("stock", "test_x")["tests"] == {"t": "passed"}
    assert again.get("neve", "test_x")["reruns"] is None and not again.dropped
    # Another build of Neve: stock's hold, its own do not.
    newer = tool.Store(tmp_path, dict(marks, neve=["3.11.2", "two"]))
    assert newer.get("stock", "test_x") and newer.get("neve", "test_x") is None
    assert newer.dropped == ["neve"]
    assert tool.Store(tmp_path, marks, keep_stock=True).get("neve", "test_x") is None
    # Another interpreter: nothing holds.
    other = tool.Store(tmp_path, {"stock": ["3.11.3"], "neve": ["3.11.3", "one"]})
    assert other.get("stock", "test_x") is None and other.get("neve", "test_x") is None
    assert tool.Store(tmp_path, marks, fresh=True).get("stock", "test_x") is None


def test_a_results_file_that_was_cut_short_is_begun_afresh(tmp_path):
    (tmp_path / "results.json").write_text('{"format": 1, "marks')
    assert tool.Store(tmp_path, {"stock": 1}).get("stock", "test_x") is None


class FakeSuite:
    """Hands out prepared runs and notes what was asked."""

    def __init__(self, runs, limit_s=10):
        self.runs, self.asked, self.limit_s = runs, [], limit_s

    def run(self, name, configuration, patterns=(), log=None):
        self.asked.append((configuration, tuple(patterns)))
        return self.runs[configuration].pop(0)

    is_final = tool.Suite.is_final
    timeout_s = property(lambda self: self.limit_s)


def test_a_file_runs_on_both_and_again_only_when_worse(tmp_path):
    marks = {"stock": 1, "neve": 1}
    good, bad = result({"test.test_x.t": "passed"}), result({"test.test_x.t": "failed"})
    suite = FakeSuite({"stock": [good], "neve": [good]})
    said = []
    assert tool.run_file(suite, tool.Store(tmp_path, marks), "test_x", "neve", said.append) == \
        ([], [])
    assert [one for one, _ in suite.asked] == ["stock", "neve"] and "test_x" in said[0]
    # Nothing is asked for what the store holds.
    suite = FakeSuite({})
    tool.run_file(suite, tool.Store(tmp_path, marks), "test_x", "neve", said.append)
    assert suite.asked == []

    slow = dict(good, seconds=1000.0)
    suite = FakeSuite({"stock": [slow] * 4, "neve": [bad] * 4})
    different, flaky = tool.run_file(suite, tool.Store(tmp_path, marks, fresh=True), "test_x",
                                     "neve", said.append)
    assert [item["file"] for item in different] == ["test_x"] and not flaky
    assert len(suite.asked) == 8 and suite.asked[-1] == ("neve", ("*test_x.t",))


def test_an_interrupted_rerun_is_made_up_for(tmp_path):
    marks = {"stock": 1, "neve": 1}
    good, bad = result({"t": "passed"}), result({"t": "failed"})
    store = tool.Store(tmp_path, marks)
    store.put("stock", "test_x", good)
    store.put("neve", "test_x", {"run": bad, "reruns": None})
    suite = FakeSuite({"stock": [good] * 3, "neve": [good, bad, bad]})
    different, flaky = tool.run_file(suite, tool.Store(tmp_path, marks), "test_x", "neve",
                                     lambda text: None)
    assert not different and flaky[0]["again"] == "2 of 3"


def test_a_time_out_holds_for_shorter_limits_only(tmp_path):
    slow = result({}, "timed out", None)
    assert FakeSuite({}, limit_s=10).is_final(slow)
    assert FakeSuite({}, limit_s=5).is_final(slow)
    assert not FakeSuite({}, limit_s=20).is_final(slow)
    assert FakeSuite({}, limit_s=20).is_final(result())
    assert not FakeSuite({}).is_final(None)


def test_waiting_ends_the_process_group(tmp_path):
    # The child of the process would hold the file for a minute.
    pid_file = tmp_path / "pid"
    code = ("import subprocess, sys, time, faulthandler; faulthandler.enable()\n"
            "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
            f"open({str(pid_file)!r}, 'w').write(str(p.pid))\n"
            "time.sleep(60)")
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log,
                                   start_new_session=True)
        while not pid_file.exists() or not pid_file.read_text():
            time.sleep(0.01)
            assert process.poll() is None
        assert tool.wait(process, 0.01) is None
    assert "time.sleep" in (tmp_path / "log").read_text() or \
        "Fatal Python error" in (tmp_path / "log").read_text()
    child = int(pid_file.read_text())
    # Killed; it may be waiting for its new parent to reap it.
    for _ in range(1000):
        try:
            state = pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            break
        if state == "Z":
            break
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
        pytest.fail("the child lives")


@pytest.mark.parametrize("writes", [True, False])
def test_a_run_that_neve_did_not_end_is_a_failure(tmp_path, writes):
    # A regression test runner may start itself anew, without Neve.
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\n" + ("touch ${3#*=}\n" if writes else "")
                      + "echo 'test_a (test.test_x.T.test_a) ... ok'\n")
    python.chmod(0o755)
    suite = tool.Suite(str(python), tmp_path, tmp_path, 30, False)
    assert suite.run("test_x", "stock")["state"] == "passed"
    run = suite.run("test_x", "neve")
    assert run["state"] == ("passed" if writes else "failed")
    assert run["tests"] == {"test.test_x.T.test_a": "passed"}


def test_counts():
    counts = tool.count([result({"a": "passed", "b": "skipped", "c": "error"}),
                         result({}, "crashed", -11), result({"d": "expected failure"})])
    assert counts == {"files": 3, "passed": 2, "failed": 1, "skipped": 1, "crashed": 1,
                      "timed out": 0}


@pytest.mark.parametrize("words", [["--jobs", "0"], ["--timeout", "0"], ["--nonsense"], ["word"]])
def test_wrong_command_lines(words):
    done = subprocess.run([sys.executable, "-B", str(TOOLS / "test_cpython.py"), *words],
                          capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr


def test_results_file_is_json(tmp_path):
    store = tool.Store(tmp_path, {"stock": 1})
    store.put("stock", "test_x", result())
    assert json.loads((tmp_path / "results.json").read_text())["runs"]["stock"]["test_x"]
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
