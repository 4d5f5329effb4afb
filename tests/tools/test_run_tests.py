# SPDX-License-Identifier: MIT
"""tools/run_tests.py: how cases of pytest are counted, and which are run once more."""

import pathlib
import sys

import pytest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

import run_tests  # noqa: E402

FLAKY = """
    import pathlib
    def test_fails_the_first_time():
        seen = pathlib.Path({mark!r})
        first = not seen.exists()
        seen.touch()
        assert not first
"""
BROKEN = "def test_broken():\n    assert False\n"
GOOD = "def test_good():\n    pass\n"


@pytest.fixture
def tally(tmp_path, monkeypatch, capsys):
    """Write files of tests, run them as a stage: their Tally, and what was printed."""
    monkeypatch.setattr(run_tests, "LOGS", tmp_path / "logs")

    def judge(*texts):
        folder = tmp_path / "cases"
        folder.mkdir()
        for number, text in enumerate(texts):
            text = text.replace("\n    ", "\n").lstrip() if text.startswith("\n") else text
            (folder / f"test_{number}.py").write_text(text)
        result = run_tests.pytest_run("stage", run_tests.python_with_pytest(), str(folder),
                                      run_tests.clean_environment({}), 60)
        return result, capsys.readouterr().out

    return judge


def names(result):
    return [name.rpartition(".")[2] for name, _ in result.failures]


def test_what_passes_is_run_once(tally):
    result, output = tally(GOOD)
    assert (result.passed, result.failures, result.flaky, output) == (1, [], [], "")


def test_what_passes_the_second_time_is_named_and_counts_as_passed(tally, tmp_path):
    result, output = tally(GOOD, FLAKY.format(mark=str(tmp_path / "mark")))
    assert result.passed == 2 and result.failures == []
    assert [name.rpartition(".")[2] for name in result.flaky] == ["test_fails_the_first_time"]
    assert "assert not first" in output and "once more" in output


def test_what_fails_twice_is_a_failure(tally, tmp_path):
    result, _ = tally(GOOD, BROKEN, FLAKY.format(mark=str(tmp_path / "mark")))
    assert result.passed == 2 and names(result) == ["test_broken"] and len(result.flaky) == 1


def test_many_failures_are_not_run_again(tally, tmp_path):
    flaky = FLAKY.format(mark=str(tmp_path / "mark"))
    result, output = tally(flaky, *[BROKEN.replace("broken", f"broken_{i}")
                                    for i in range(run_tests.RERUN_LIMIT)])
    assert len(result.failures) == run_tests.RERUN_LIMIT + 1 and result.flaky == []
    assert "once more" not in output


@pytest.mark.parametrize("text", ["import os\ndef test_ends():\n    os._exit(0)\n",
                                  "import os\ndef test_ends():\n    os.abort()\n",
                                  "import nothing_of_this_name\n",
                                  ""])
def test_a_run_without_results_is_a_failure(tally, text):
    result, _ = tally(text)
    assert result.passed == 0 and len(result.failures) == 1 and result.flaky == []
