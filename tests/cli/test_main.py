# SPDX-License-Identifier: MIT
"""The program `neve` itself: help, version, commands that do not exist."""

import re
import subprocess

import pytest
from support import PROGRAM, ROOT


def test_help(neve):
    for words in (["--help"], ["-h"], ["--help", "nonsense"]):
        result = neve(*words)
        assert result.status == 0 and result.err == "", result
        assert result.out.startswith("usage: neve COMMAND") and "  run " in result.out
    result = neve("run", "--help")
    assert result.status == 0 and result.err == "" and result.out.startswith("usage: neve run")
    for option in ("--python", "--mode", "--pause-us", "--stats", "--stats-json", "-m module"):
        assert option in result.out
    assert neve("run", "--stats", "-h", "--nonsense").out == result.out
    assert max(map(len, result.out.splitlines())) <= 100


def test_the_options_of_the_runner_are_all_there(neve, runner):
    """What `python -m neve` takes, `neve run` passes on."""
    python = runner.neve("--help").out
    options = set(re.findall(r"^  (?:-., )?(--[a-z-]+)", python, re.MULTILINE)) - {"--version"}
    assert len(options) >= 5
    assert options <= set(re.findall(r"^  (?:-., )?(--[a-z-]+)", neve("run", "--help").out,
                                     re.MULTILINE))


def test_version(neve):
    text = (ROOT / "meson.build").read_text()
    version = re.search(r"version: '([^']+)'", text).group(1)
    for word in ("--version", "-V"):
        result = neve(word)
        assert (result.status, result.out, result.err) == (0, f"neve {version}\n", "")


@pytest.mark.parametrize("words, parts", [
    ([], ["no command", "neve --help"]),
    (["rum"], ["unknown command 'rum'", "neve --help"]),
    ([""], ["unknown command ''"]),
    (["--nonsense"], ["unknown option '--nonsense'"]),
    (["-x", "run"], ["unknown option '-x'"]),
])
def test_command_lines(neve, words, parts):
    result = neve(*words)
    assert result.status == 2 and result.out == "", result
    lines = result.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("neve: "), result
    assert all(part in lines[0] for part in parts), result


def test_output_that_cannot_be_written():
    done = subprocess.run(["sh", "-c", '"$0" --help >/dev/full', str(PROGRAM)],
                          capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "neve: cannot write to standard output\n"
