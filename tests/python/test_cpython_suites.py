# SPDX-License-Identifier: MIT
"""CPython's own tests of what Neve replaces: each test that passes on stock passes on Neve."""

import json

import harness
import pytest

SUITES = ["test_gc", "test_weakref", "test_generators", "test_descr", "test_dict"]

# Notes each test as it begins, so that one that crashes the process is known.
DRIVER = """
    import json, sys, unittest

    class Result(unittest.TextTestResult):
        def note(self, test, outcome):
            file.write(json.dumps([test.id(), outcome]) + "\\n"); file.flush()
        def startTest(self, test):
            super().startTest(test); self.note(test, "started")
        def addSuccess(self, test):
            super().addSuccess(test); self.note(test, "passed")
        def addFailure(self, test, error):
            super().addFailure(test, error); self.note(test, "failed")
        def addError(self, test, error):
            super().addError(test, error); self.note(test, "error")
        def addSkip(self, test, reason):
            super().addSkip(test, reason); self.note(test, "skipped")
        def addExpectedFailure(self, test, error):
            super().addExpectedFailure(test, error); self.note(test, "expected failure")

    if __name__ == "__main__":
        name, path = sys.argv[1:3]
        if len(sys.argv) > 3:
            import neve
            assert neve.is_installed()
        sys.argv[1:] = []
        with open(path, "w") as file:
            suite = unittest.defaultTestLoader.loadTestsFromName("test." + name)
            unittest.TextTestRunner(resultclass=Result, verbosity=2).run(suite)
            file.write(json.dumps(["end", "passed"]) + "\\n")
"""


def outcomes(path):
    """Test id -> outcome; what began and did not end stays "started"."""
    found = {}
    for line in path.read_text().splitlines():
        test, outcome = json.loads(line)
        # A passing test with failing subtests has both outcomes: the worse counts.
        if outcome == "started" or found.get(test) in (None, "started"):
            found[test] = outcome
    return found


@pytest.mark.skipif(not harness.has_module("test.test_gc"),
                    reason="CPython's tests are missing: install libpython3-testsuite")
@pytest.mark.parametrize("suite", SUITES)
def test_suite(runner, suite):
    driver = runner.script(DRIVER)
    stock_run = runner.stock(driver, suite, "stock.json", timeout=900)
    neve_run = runner.neve(driver, suite, "neve.json", "neve", timeout=900)
    stock, neve = (outcomes(runner.folder / name) for name in ("stock.json", "neve.json"))
    assert stock.get("end") == "passed", stock_run
    passed = [test for test, outcome in stock.items() if outcome == "passed"]
    assert len(passed) > 10, stock_run
    worse = {test: neve.get(test, "never began") for test in passed if neve.get(test) != "passed"}
    assert not worse, (f"{json.dumps(worse, indent=1)}\nstatus {neve_run.status}\n"
                       f"{neve_run.err[-8000:]}")
    assert neve_run.status == stock_run.status == 0


def test_the_regression_test_runner(runner):
    # `python -m test` replaces, counts and forks much by itself.
    if not harness.has_module("test.test_gc"):
        pytest.skip("CPython's tests are missing: install libpython3-testsuite")
    result = runner.neve("-m", "test", "test_tuple", "test_iter", "test_set", "test_list",
                         timeout=600)
    assert result.status == 0, result
    assert "Result: SUCCESS" in result.out or "Tests result: SUCCESS" in result.out, result
